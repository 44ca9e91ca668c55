"""The bank simulator as a gateway. No real money ever goes through here."""
