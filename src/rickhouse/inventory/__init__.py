"""Where the bottles are: warehouses, stock, holds, the movement ledger. Prices never belong here."""
