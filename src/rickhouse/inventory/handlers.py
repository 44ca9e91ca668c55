"""What the inventory slice does by itself from time to time."""

from __future__ import annotations

from typing import Final

from rickhouse.inventory.service import InventoryService
from rickhouse.platform.jobs import Periodic

EXPIRE_EVERY_S: Final = 1.0
"""Bottles of an abandoned checkout are back on sale well within 5 s of their time."""


def periodics(service: InventoryService) -> tuple[Periodic, ...]:
    """Holds whose time is over are ended."""
    return (Periodic("inventory.expire_holds", EXPIRE_EVERY_S, service.expire_holds),)
