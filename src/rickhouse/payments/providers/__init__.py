"""Gateways, one folder each: a pure codec and a thin client. They do not know each other."""
