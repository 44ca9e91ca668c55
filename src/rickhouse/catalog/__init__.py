"""What the distillery sells: products, bottlings, prices. Stock and law never belong here."""
