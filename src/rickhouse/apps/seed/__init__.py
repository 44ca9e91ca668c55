"""A believable distillery to try the house with. What a real shop sells never belongs here."""
