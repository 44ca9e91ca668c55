"""The floor of machinery: database, events, web, rpc, jobs, crypto. No rule of the spirits trade belongs here."""
