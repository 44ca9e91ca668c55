"""The pure floor: money, ids, units, clock, errors, events. No I/O and no async ever belong here."""
