"""Every SQL statement of the orders slice."""
