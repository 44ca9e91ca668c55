"""Commands that run a simulated vendor."""

from __future__ import annotations

from pathlib import Path

from rickhouse.apps.simulators import bank, bureau


def simulate_bank(*, host: str = "127.0.0.1", port: int = 8090, ledger: Path | None = None) -> None:
    """A bank with its own ledger and magic tokens, in its own process."""
    bank.run(host, port, ledger=ledger)


def simulate_bureau(*, host: str = "127.0.0.1", port: int = 8091) -> None:
    """An age bureau with magic names, in its own process."""
    bureau.run(host, port)
