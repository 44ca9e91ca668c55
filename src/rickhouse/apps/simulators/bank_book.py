"""The simulated bank's books: holds, a double-entry ledger, answers by idempotency key, an optional journal on disk.

Pure but for the journal. What a token makes the bank do, and HTTP, belong in `bank`.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, Final, Literal

import msgspec

Status = Literal["HELD", "CHALLENGE", "REFUSED", "TAKEN", "FREED"]
Op = Literal[
    "hold", "challenge", "refuse", "pass", "fail", "take", "free", "return", "queue", "settle", "bar"
]

CARDHOLDERS: Final = "cardholders"
SET_ASIDE: Final = "set_aside"
MERCHANT: Final = "merchant"


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that the bank did: all that is needed to do it again after a restart. `asked` is the fingerprint of the
    request under `key`, `amount` is in cents."""

    op: Op
    hold: str = ""
    key: str = ""
    asked: str = ""
    amount: int = 0
    ccy: str = ""
    order: str = ""
    instrument: str = ""
    reason: str = ""
    name: str = ""


class Hold(msgspec.Struct):
    """Money set aside, or not. `returned` includes what is still queued."""

    name: str
    key: str
    amount: int
    ccy: str
    order: str
    instrument: str
    status: Status
    reason: str = ""
    taken: int = 0
    returned: int = 0
    queued: int = 0


class Entry(msgspec.Struct, frozen=True):
    """Cents that went from one account to another."""

    op: Op
    hold: str
    debit: str
    credit: str
    amount: int
    ccy: str


class Return(msgspec.Struct):
    """Money given back, or queued to be."""

    name: str
    hold: str
    amount: int
    status: Literal["QUEUED", "RETURNED"]


class Answer(msgspec.Struct, frozen=True):
    """What a key was answered, and the fingerprint of what it had asked."""

    asked: str
    status: int
    body: bytes


class CardView(msgspec.Struct, frozen=True):
    """What is shown of a card."""

    scheme: str
    tail: str


class HoldView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A hold as the API shows it; amounts have two decimals."""

    hold: str
    status: str
    key: str
    amount: str
    ccy: str
    order: str
    card: CardView
    reason: str = ""
    challenge_url: str = ""
    take: str = ""
    taken: str = "0.00"
    returned: str = "0.00"


class ReturnView(msgspec.Struct, frozen=True):
    """A return as the API shows it."""

    returning: str = msgspec.field(name="return")
    status: str
    amount: str
    ccy: str


class Book:
    """Everything the bank knows. With `journal`, it is read back at the start, and each line is on disk before its
    answer is given."""

    def __init__(self, public_url: str, journal: Path | None = None) -> None:
        self._public_url = public_url
        self._encode = msgspec.json.Encoder().encode
        self._file: BinaryIO | None = None
        self.holds: dict[str, Hold] = {}
        self.by_key: dict[str, Hold] = {}
        self.returns: dict[str, Return] = {}
        self.answers: dict[str, Answer] = {}
        self.barred: set[str] = set()
        self.entries: list[Entry] = []
        self._balances: dict[str, dict[str, int]] = {}
        if journal is not None:
            self._file = self._read_back(journal)

    def close(self) -> None:
        """Close the journal."""
        if self._file is not None:
            self._file.close()

    def record(self, line: Line) -> Answer:
        """Do what `line` says, once and for all, and keep the answer under its key."""
        if self._file is not None:
            self._file.write(self._encode(line) + b"\n")
            self._file.flush()
        return self._apply(line)

    def next_hold(self) -> str:
        """The name of the next hold."""
        return f"hld_{len(self.holds) + 1:08d}"

    def next_return(self) -> str:
        """The name of the next return."""
        return f"rtn_{len(self.returns) + 1:08d}"

    def balances(self) -> dict[str, dict[str, int]]:
        """Cents per currency and account; those of a currency sum to zero."""
        return self._balances

    def view(self, hold: Hold) -> HoldView:
        """The hold as it stands."""
        return HoldView(
            hold=hold.name,
            status=hold.status,
            key=hold.key,
            amount=two_decimals(hold.amount),
            ccy=hold.ccy,
            order=hold.order,
            card=_CARDS.get(hold.instrument, _VISA),
            reason=hold.reason,
            challenge_url=f"{self._public_url}/challenges/{hold.name}" if hold.status == "CHALLENGE" else "",
            take=hold.name.replace("hld_", "tke_") if hold.status == "TAKEN" else "",
            taken=two_decimals(hold.taken),
            returned=two_decimals(hold.returned - hold.queued),
        )

    def _apply(self, line: Line) -> Answer:
        if line.op in ("hold", "challenge", "refuse"):
            answer = self._open(line)
        elif line.op == "bar":
            self.barred.add(line.name)
            answer = Answer(line.asked, 200, b'{"status":"BARRED"}')
        elif line.op in ("return", "queue", "settle"):
            answer = self._give_back(line)
        else:
            answer = self._move(line)
        if line.key:
            self.answers[line.key] = answer
        return answer

    def _open(self, line: Line) -> Answer:
        status, code = _OPENED[line.op]
        hold = Hold(
            line.hold, line.key, line.amount, line.ccy, line.order, line.instrument, status, line.reason
        )
        self.holds[hold.name] = self.by_key[hold.key] = hold
        if status == "HELD":
            self._enter(line.op, hold, CARDHOLDERS, SET_ASIDE, hold.amount)
        return Answer(line.asked, code, self._encode(self.view(hold)))

    def _move(self, line: Line) -> Answer:
        hold = self.holds[line.hold]
        match line.op:
            case "pass":
                hold.status = "HELD"
                self._enter("pass", hold, CARDHOLDERS, SET_ASIDE, hold.amount)
            case "fail":
                hold.status, hold.reason = "REFUSED", "CHALLENGE_FAILED"
            case "take":
                hold.status, hold.taken = "TAKEN", line.amount
                self._enter("take", hold, SET_ASIDE, MERCHANT, line.amount)
                self._enter("free", hold, SET_ASIDE, CARDHOLDERS, hold.amount - line.amount)
            case _:
                if hold.status == "HELD":
                    self._enter("free", hold, SET_ASIDE, CARDHOLDERS, hold.amount)
                if hold.status in ("HELD", "CHALLENGE"):
                    hold.status = "FREED"
        return Answer(line.asked, 200, self._encode(self.view(hold)))

    def _give_back(self, line: Line) -> Answer:
        hold = self.holds[line.hold]
        if line.op == "settle":
            given = self.returns[line.name]
            given.status = "RETURNED"
            hold.queued -= given.amount
        else:
            status: Literal["QUEUED", "RETURNED"] = "QUEUED" if line.op == "queue" else "RETURNED"
            given = self.returns[line.name] = Return(line.name, hold.name, line.amount, status)
            hold.returned += line.amount
            hold.queued += line.amount if line.op == "queue" else 0
        if given.status == "RETURNED":
            self._enter("return", hold, MERCHANT, CARDHOLDERS, given.amount)
        return Answer(line.asked, 200, self._encode(self.view_return(given)))

    def view_return(self, given: Return) -> ReturnView:
        """The return as it stands."""
        return ReturnView(
            returning=given.name,
            status=given.status,
            amount=two_decimals(given.amount),
            ccy=self.holds[given.hold].ccy,
        )

    def _enter(self, op: Op, hold: Hold, debit: str, credit: str, amount: int) -> None:
        if amount:
            self.entries.append(Entry(op, hold.name, debit, credit, amount, hold.ccy))
            accounts = self._balances.setdefault(hold.ccy, {CARDHOLDERS: 0, SET_ASIDE: 0, MERCHANT: 0})
            accounts[debit] -= amount
            accounts[credit] += amount

    def _read_back(self, journal: Path) -> BinaryIO:
        """Do again what the journal says; a last line that was cut off by a kill was never answered, so it goes."""
        written = journal.read_bytes() if journal.exists() else b""
        whole = written[: written.rfind(b"\n") + 1]
        decode = msgspec.json.Decoder(Line).decode
        for text in whole.splitlines():
            self._apply(decode(text))
        file = journal.open("ab")
        file.truncate(len(whole))
        return file


def two_decimals(cents: int) -> str:
    """`8900` as `89.00`."""
    return f"{cents // 100}.{cents % 100:02d}"


_OPENED: Final[dict[str, tuple[Status, int]]] = {
    "hold": ("HELD", 201),
    "challenge": ("CHALLENGE", 202),
    "refuse": ("REFUSED", 402),
}
_VISA: Final = CardView("VISA", "4242")
_CARDS: Final = {"tok_3ds": CardView("MC", "3220"), "tok_decline": CardView("VISA", "0002")}
