"""A person with unmistakable values passes through the vault; afterwards the values are nowhere to be read.

The search is itself on trial: whichever field is stored in clear, it has to find it.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import subprocess
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import msgspec
import pytest
import structlog

from rickhouse.customers.contract import Address, Person
from rickhouse.customers.providers.sandbox.client import SandboxBureau
from rickhouse.customers.providers.sandbox.codec import request_of
from rickhouse.customers.service import CustomersService
from rickhouse.kernel.errors import Condition
from rickhouse.kernel.ids import OrderId
from rickhouse.platform.crypto import DataKey
from rickhouse.platform.db import Database
from rickhouse.platform.embedded import EmbeddedPostgres
from rickhouse.platform.http import HttpClient, close_clients
from rickhouse.platform.keyfile import KeyFile
from rickhouse.platform.logs import describe
from rickhouse.platform.telemetry import render_metrics
from tests.customers.age_bureau import question_about
from tests.simulators.bureau import simulated_bureau

CANARY: Final = Person(
    name="Zephyrine Quillfeather",
    email="Zq.Canary@wobblethorpe.example",
    phone="+12025550173",
    birth_date=date(1971, 11, 23),
    address=Address(
        line1="77 Bandersnatch Crescent",
        line2="Belfry Quuxley",
        city="Xanthopolis",
        region="US-ND",
        postal_code="58699-4242",
        country="US",
    ),
)
WORDS: Final = (
    "zephyrine",
    "quillfeather",
    "zq.canary",
    "wobblethorpe",
    "2025550173",
    "1971-11-23",
    "19711123",
    "bandersnatch",
    "quuxley",
    "xanthopolis",
    "58699-4242",
    "586994242",
)
"""What is looked for, in lower case; two birth dates and two postal codes, for those who write them another way."""

SEALED_FIELDS: Final = ("name", "email", "phone", "birth_date", "line1", "line2", "city", "postal_code")


def canaries_in(text: str) -> list[str]:
    """The words that stand in `text`, as they are, in hexadecimal (as a dump shows bytes) or in Base64."""
    lower = text.lower()
    return [
        word
        for word in WORDS
        if word in lower
        or any(form.encode().hex() in lower for form in _cases(word))
        or any(encoded in text for form in _cases(word) for encoded in _base64(form))
    ]


def _cases(word: str) -> set[str]:
    return {word, word.upper(), word.capitalize(), word.title()}


def _base64(word: str) -> Iterator[str]:
    """The middle of the word's Base64 at each of the three places where it can begin."""
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + word.encode()).decode()
        yield encoded[4 if shift else 0 : -4]


def dump(cluster: EmbeddedPostgres, url: str) -> str:
    """Every schema and table of the database, as pg_dump writes them."""
    done = subprocess.run(
        [str(cluster.bin_dir / "pg_dump"), "--dbname", url], check=True, capture_output=True, text=True
    )
    assert "COPY customers.customers" in done.stdout
    assert "COPY customers_keys.data_keys" in done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def bureau_url() -> Iterator[str]:
    """A simulator of the module's own."""
    with simulated_bureau() as url:
        yield url


@pytest.fixture
async def service(
    open_slice: Callable[[str], Awaitable[Database]], bureau_url: str, tmp_path: Path
) -> AsyncGenerator[CustomersService]:
    """A vault with a key file of its own and the simulated bureau."""
    keys = KeyFile.load(tmp_path / "keys" / "customers.json")
    bureau = SandboxBureau(HttpClient(bureau_url, name="age bureau", timeout_s=2.0))
    yield CustomersService(await open_slice("customers"), keys=keys, bureau=bureau)
    await close_clients()


@pytest.fixture
async def log(caplog: pytest.LogCaptureFixture) -> AsyncGenerator[Callable[[], str]]:
    """Every line that anything logs at debug level, whatever library it comes from."""
    caplog.set_level(logging.DEBUG)
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    with structlog.testing.capture_logs() as lines:
        yield lambda: f"{caplog.text}\n{lines!r}"
    loop.set_debug(False)


def changed(**changes: Any) -> Person:  # noqa: ANN401  a field of any type
    """The canary with these fields; the address's are given like the person's."""
    moved = {name: changes.pop(name) for name in Address.__struct_fields__ if name in changes}
    address = msgspec.structs.replace(CANARY.address, **moved)
    return msgspec.structs.replace(CANARY, address=address, **changes)


async def journey(service: CustomersService) -> list[object]:
    """All that the vault offers to other slices, done with the canary; the answer of each step."""
    order_id = OrderId.new()
    found = await service.register(order_id, CANARY)
    return [
        found,
        await service.register(order_id, CANARY),
        await service.register(OrderId.new(), CANARY),
        await service.register(OrderId.new(), changed(line1="78 Bandersnatch Crescent")),
        await service.is_of_age(found.customer_id, 21, date(2026, 1, 1)),
        await service.prove_age(found.customer_id, 21),
        await service.prove_age(found.customer_id, 21),
    ]


async def errors_on_the_way(service: CustomersService, db: Database) -> list[Exception]:
    """What goes wrong with the canary in hand: refused fields, a bureau in trouble, rows that do not open."""
    attempts: list[Awaitable[object]] = [
        service.register(OrderId.new(), changed(**wrong))
        for wrong in (
            {"name": f"{CANARY.name}\nCanary"},
            {"email": f"{CANARY.email}@twice"},
            {"email": "zq.canary@wobblethorpe"},
            {"email": "zq.canary@xn--zz.wobblethorpe.example"},
            {"phone": "2025550173"},
            {"birth_date": date(2971, 11, 23)},
            {"line1": "Bandersnatch\0"},
            {"line2": "Quuxley" * 50},
            {"city": "Xanthopolis\x07"},
            {"region": "US-XANTHOPOLIS"},
            {"country": "XANTHOPOLIS"},
            {"postal_code": "58699-4242-1"},
        )
    ]
    for trouble in ("Error", "Drop", "Garbage", "Perhaps"):
        troubled = changed(name=f"Zephyrine Quillfeather {trouble}")
        customer_id = (await service.register(OrderId.new(), troubled)).customer_id
        attempts.append(service.prove_age(customer_id, 21))
    broken = (await service.register(OrderId.new(), changed(name="Zephyrine Broken"))).customer_id
    await db.execute("update customers set email = name where customer_id = $1", broken)
    attempts.append(service.masked(broken))
    outcomes = await asyncio.gather(*attempts, return_exceptions=True)
    errors = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert len(errors) == len(attempts)
    return errors


def all_that_an_error_tells(error: Exception) -> str:
    """Its words, its representation, its facts, its line in the log, and the same of what caused it."""
    told: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        facts = cause.facts if isinstance(cause, Condition) else {}
        told.append(f"{cause} {cause!r} {cause.args!r} {facts} {describe(cause)}")
        cause = cause.__cause__ or cause.__context__
    return "\n".join(told)


async def test_no_canary_is_stored(
    service: CustomersService, cluster: EmbeddedPostgres, database_url: str
) -> None:
    await journey(service)
    dumped = await asyncio.to_thread(dump, cluster, database_url)
    assert dumped.count("customers.age_proven") == 1
    assert canaries_in(dumped) == []


@pytest.mark.parametrize("clear", SEALED_FIELDS)
async def test_search_finds_any_field_that_is_stored_in_clear(
    service: CustomersService,
    cluster: EmbeddedPostgres,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    clear: str,
) -> None:
    seal = DataKey.seal

    def leak(key: DataKey, row: UUID, field: str, text: str) -> bytes:
        return text.encode() if field == clear else seal(key, row, field, text)

    monkeypatch.setattr(DataKey, "seal", leak)
    await service.register(OrderId.new(), CANARY)
    dumped = await asyncio.to_thread(dump, cluster, database_url)
    assert canaries_in(dumped) != []


async def test_no_canary_is_logged_shown_or_told(
    service: CustomersService, open_slice: Callable[[str], Awaitable[Database]], log: Callable[[], str]
) -> None:
    answers = await journey(service)
    errors = await errors_on_the_way(service, await open_slice("customers"))
    question = msgspec.structs.replace(
        question_about(CANARY.name), birth_date=CANARY.birth_date, address=CANARY.address
    )
    shown: list[object] = [
        *answers,
        *vars(service).values(),
        CANARY,
        CANARY.address,
        question,
        request_of(question),
    ]
    assert canaries_in(f"{shown!r} {[str(thing) for thing in shown]}") == []
    assert [found for error in errors for found in canaries_in(all_that_an_error_tells(error))] == []
    assert canaries_in(render_metrics().decode()) == []
    assert canaries_in(log()) == []


async def test_search_finds_a_canary_that_is_logged(log: Callable[[], str]) -> None:
    logging.getLogger("asyncpg").debug("parameters: %s", CANARY.email)
    structlog.get_logger("rickhouse.customers").debug("registered", customer=CANARY.name)
    assert canaries_in(log()) == ["zephyrine", "quillfeather", "zq.canary", "wobblethorpe"]


@pytest.mark.parametrize("word", WORDS)
def test_search_finds_every_word_however_it_is_written(word: str) -> None:
    spellings = (word, word.upper(), word.encode().hex(), word.title().encode().hex().upper())
    encoded = [base64.b64encode(before + word.encode() + b"...").decode() for before in (b"", b".", b"..")]
    for written in (*spellings, *encoded):
        assert canaries_in(f"row 7: {written};") == [word]
