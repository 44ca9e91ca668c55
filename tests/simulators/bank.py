"""The simulated bank as the process that it is: started on a free port, asked for its books, killed and started again.

`bank` is a fixture for any suite: import it in that suite's conftest.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from rickhouse.kernel.wire import HttpReply
from rickhouse.payments.port import LedgerLine
from rickhouse.payments.providers.sandbox import codec

_STOP_S_MAX = 10.0


class BankProcess:
    """A running bank. `ledger_file` survives `kill` and `start`; without it a new process knows nothing."""

    def __init__(self, ledger_file: Path | None = None, *, fences: bool = True) -> None:
        self._ledger_file = ledger_file
        self._fences = fences
        self._process: subprocess.Popen[str] | None = None
        self.url = "http://127.0.0.1:0"

    def start(self) -> None:
        """Start, on the same port as before, and wait until it listens."""
        port = urlsplit(self.url).port or 0
        ledger = None if self._ledger_file is None else str(self._ledger_file)
        code = (
            "from pathlib import Path; from rickhouse.apps.simulators import bank; "
            f"bank.run('127.0.0.1', {port}, ledger={ledger!r} and Path({ledger!r}), fences={self._fences})"
        )
        self._process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        told = self._process.stdout.readline()
        if not told.startswith("bank listening on "):
            raise RuntimeError("the simulated bank did not start")
        self.url = told.removeprefix("bank listening on ").strip()

    def stop(self) -> None:
        """End it as a service manager would."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Let it accept connections and say nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """End a pause."""
        self._signal(signal.SIGCONT)

    def books(self) -> dict[str, Any]:
        """Entries, balances, holds and barred keys, as the bank tells them."""
        found: dict[str, Any] = json.loads(self.ask("GET", "/ledger").body)
        return found

    def ledger(self, *order_refs: str) -> tuple[LedgerLine, ...]:
        """The bank's own list in the port's words, one line per key; of some orders, or of all."""
        return codec.ledger(self.ask("GET", _ledger_of(order_refs)))

    def lines_of(self, *order_refs: str) -> list[dict[str, Any]]:
        """The holds that were asked for with these orders."""
        found: list[dict[str, Any]] = json.loads(self.ask("GET", _ledger_of(order_refs)).body)["holds"]
        return found

    def meet_challenge(self, action_url: str, answer: str) -> int:
        """What the buyer does at `action_url`: `pass` or `fail`; answers the status."""
        return self.ask("POST", urlsplit(action_url).path, f"answer={answer}".encode()).status

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> HttpReply:
        """One request over a connection of its own."""
        connection = HTTPConnection(urlsplit(self.url).netloc, timeout=10)
        try:
            connection.request(method, path, body, headers or {})
            reply = connection.getresponse()
            return HttpReply(
                reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()
            )
        finally:
            connection.close()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with process:
            process.send_signal(number)
            process.send_signal(signal.SIGCONT)
            process.wait(_STOP_S_MAX)


def _ledger_of(order_refs: tuple[str, ...]) -> str:
    return f"/ledger?{urlencode({'order': order_refs}, doseq=True)}" if order_refs else "/ledger"


@contextmanager
def simulated_bank(ledger_file: Path | None = None, *, fences: bool = True) -> Generator[BankProcess]:
    """A bank of one's own; see `rickhouse.apps.simulators.bank.run`."""
    process = BankProcess(ledger_file, fences=fences)
    process.start()
    try:
        yield process
    finally:
        process.stop()


@pytest.fixture(scope="module")
def bank() -> Iterator[BankProcess]:
    """A bank that the tests of a module share."""
    with simulated_bank() as process:
        yield process
