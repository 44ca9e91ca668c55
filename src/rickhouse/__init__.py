"""Rickhouse: the backend for selling craft spirits."""

__version__ = "0.1.0"
