"""The order, from the first quote to confirmation or cancellation. The order is the saga."""
