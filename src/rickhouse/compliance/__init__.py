"""Whether a sale is lawful, why, and by which source. Personal data never belongs here."""
