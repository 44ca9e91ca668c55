"""Money that moves: attempts, gateways, double-entry postings. Card numbers never belong here."""
