"""The only wiring: composition root, command line, servers. No business rule belongs here."""
