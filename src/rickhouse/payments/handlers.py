"""What the payments slice does by itself from time to time. It follows no other slice's events."""

from __future__ import annotations

from typing import Final

from rickhouse.payments.service import PaymentsService
from rickhouse.platform.jobs import Periodic

RESOLVE_EVERY_S: Final = 1.0


def periodics(service: PaymentsService) -> tuple[Periodic, ...]:
    """Attempts, captures, voids and refunds whose outcome is open are asked about until it is known."""
    return (Periodic("payments.resolve_due", RESOLVE_EVERY_S, service.resolve_due),)
