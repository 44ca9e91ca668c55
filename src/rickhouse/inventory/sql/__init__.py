"""Every SQL statement of the inventory slice: holds, and what staff do with stock. Deciding which one to run belongs to
the service.

Locks are taken in one order, so that nobody waits in a circle: an order's hold, then stock, then allowances, and rows
of one table in the order of their keys. (A new hold is written after its stock is locked, when no row of it can be
locked by anybody.) A statement that plans from what it sees, and then meets a row that somebody changed meanwhile,
writes nothing and answers nothing: ask again, and the fresh view says why.
"""
