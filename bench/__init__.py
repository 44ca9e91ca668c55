"""Measurements of the whole house beside its limits: `python -m bench`. Nothing of the house depends on them."""
