"""A house brought up to be measured: every process as in production, on a database that is deleted afterwards.

What is asked of it belongs to each measurement.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
from msgspec.structs import replace

from bench.cpu import Meter
from bench.table import say
from rickhouse.apps.compose import compose
from rickhouse.apps.databases import EMBEDDED_DATABASE, SLICES, bring_up_to_date
from rickhouse.apps.house import House, token_key
from rickhouse.apps.scopes import SHOP_SCOPES
from rickhouse.apps.seed.load import ProductEntry, plant, read_distillery, seed
from rickhouse.catalog.labelling import gtin_check_digit
from rickhouse.catalog.service import CatalogService
from rickhouse.inventory.service import InventoryService
from rickhouse.kernel.ids import ProductId, VariantId
from rickhouse.platform.embedded import (
    EmbeddedError,
    EmbeddedPostgres,
    default_data_root,
    reset,
    start_embedded,
)
from rickhouse.platform.settings import Settings, load_settings
from rickhouse.platform.telemetry import share_metrics

WORKERS: Final = 2
PRODUCTS: Final = 24
"""Bottlings on sale without a purchase limit; as many as one page of the catalogue shows."""

STOCK: Final = 1_000_000
"""Bottles of each of them: more than any run sells."""

SHELF: Final = "tax_paid"
"""The seeded warehouse that everything is sold from."""

SERVER: Final = "server"
JOBS: Final = "job worker"
POSTGRES: Final = "PostgreSQL"
BANK: Final = "bank simulator"
BUREAU: Final = "age bureau simulator"
OURS: Final = (SERVER, JOBS, POSTGRES)
"""The parts whose CPU seconds are the house's own."""

APART: Final = (BANK, BUREAU)
"""The simulators, which stand for other people's machines."""

_READY_WITHIN_S: Final = 60.0
_STOP_WITHIN_S: Final = 20.0
_TOKEN_TTL_S: Final = 86_400


@dataclass(frozen=True)
class MeasuredHouse:
    """A running house. `token` is a shop's; `variants` can be bought without end; `meter` reads every part's CPU."""

    settings: Settings
    postgres: EmbeddedPostgres
    parts: Mapping[str, int]
    token: str
    variants: tuple[VariantId, ...]
    meter: Meter

    @property
    def port(self) -> int:
        """Where the API listens, on 127.0.0.1."""
        return self.settings.web.port

    @property
    def admin_url(self) -> str:
        """The database, as its administrator."""
        return self.settings.database.url

    def release(self, bottles: int) -> VariantId:
        """Put a new bottling with that many bottles on sale."""
        return asyncio.run(_plant(self.settings, 1, bottles))[0]


@contextmanager
def measured_house() -> Generator[MeasuredHouse]:
    """Bring everything up, and take everything down. Raises EmbeddedError, RuntimeError (a part does not start)."""
    home = default_data_root()
    _clear_what_was_left(home.name)
    root = home.with_name(f"{home.name}-bench-{os.getpid()}")
    with ExitStack() as stack:
        stack.callback(reset, root)
        say("starting PostgreSQL with the settings of production")
        postgres = start_embedded(root)
        share_metrics(root / "metrics")
        environment = _environment(root, postgres)
        settings = load_settings(environ=environment)
        say("migrating and seeding")
        asyncio.run(bring_up_to_date(settings, SLICES, lambda _line: None))
        variants = asyncio.run(_seed(settings))
        commands = {
            BANK: ("simulate", "bank", "--port", settings.payments.bank_url.rpartition(":")[2]),
            BUREAU: ("simulate", "bureau", "--port", settings.customers.bureau_url.rpartition(":")[2]),
            JOBS: ("work",),
            SERVER: ("serve",),
        }
        say(f"starting the simulators, the job worker and the server with {WORKERS} workers")
        running = {
            part: stack.enter_context(_running(command, environment)) for part, command in commands.items()
        }
        _wait_ready(settings.web.port, running)
        parts = {part: process.pid for part, process in running.items()}
        parts[POSTGRES] = _postmaster(postgres)
        token = token_key(settings).issue("bench", SHOP_SCOPES, _TOKEN_TTL_S)
        yield MeasuredHouse(settings, postgres, parts, token, variants, Meter(parts))


def _clear_what_was_left(name: str) -> None:
    """Delete the data of runs that were killed. Another account's are its own affair."""
    for left in default_data_root().parent.glob(f"{name}-bench-*"):
        runner = left.name.rpartition("-")[2]
        if runner.isdecimal() and not psutil.pid_exists(int(runner)) and left.stat().st_uid == os.geteuid():
            with suppress(EmbeddedError):
                reset(left)


def _environment(root: Path, postgres: EmbeddedPostgres) -> dict[str, str]:
    """This environment without the user's own settings, and with those of the measurement."""
    config = root / "bench.toml"
    config.touch()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RICKHOUSE_")}
    return {
        **inherited,
        # An empty one, so that no settings file of the user's is found.
        "RICKHOUSE_CONFIG": str(config),
        "RICKHOUSE_DATA_DIR": str(root),
        "RICKHOUSE_DATABASE__URL": postgres.url(EMBEDDED_DATABASE),
        "RICKHOUSE_WEB__PORT": str(_free_port()),
        "RICKHOUSE_WEB__WORKERS": str(WORKERS),
        "RICKHOUSE_PAYMENTS__BANK_URL": f"http://127.0.0.1:{_free_port()}",
        "RICKHOUSE_CUSTOMERS__BUREAU_URL": f"http://127.0.0.1:{_free_port()}",
        "RICKHOUSE_COMPLIANCE__PERMITS": '{"US-ND": "BENCH"}',
        "RICKHOUSE_LOG__LEVEL": "warning",
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _seed(settings: Settings) -> tuple[VariantId, ...]:
    house = compose(settings, SLICES)
    await house.open()
    try:
        await seed(house)
    finally:
        await house.close()
    return await _plant(settings, PRODUCTS, STOCK)


async def _plant(settings: Settings, count: int, bottles: int) -> tuple[VariantId, ...]:
    """Put `count` new products of one bottling each on sale, with `bottles` of each on the shelf."""
    house = compose(settings, SLICES)
    await house.open()
    try:
        return await _plant_in(house, count, bottles)
    finally:
        await house.close()


async def _plant_in(house: House, count: int, bottles: int) -> tuple[VariantId, ...]:
    distillery = read_distillery()
    pattern = next(
        product
        for product in distillery.products
        if product.status == "active" and product.spirit_class == "whiskey"
    )
    products = tuple(_product(pattern, bottles) for _ in range(count))
    planted = replace(
        distillery,
        warehouses=tuple(entry for entry in distillery.warehouses if entry.key == SHELF),
        products=products,
    )
    currency = house.settings.orders.currency
    catalog = CatalogService(house.database("catalog"), currency=currency)
    await plant(planted, catalog, InventoryService(house.database("inventory")), currency)
    return tuple(product.variants[0].variant_id for product in products)


def _product(pattern: ProductEntry, bottles: int) -> ProductEntry:
    """Another one like `pattern`, with a name, a SKU and a GTIN of its own and nothing that limits its sale."""
    variant_id = VariantId.new()
    number = variant_id.uuid.int % 10**12
    digits = f"{number:012d}"
    variant = replace(
        pattern.variants[0],
        variant_id=variant_id,
        sku=f"BENCH-{number}",
        gtin=f"{digits}{gtin_check_digit(digits)}",
        purchase_limit=None,
        release_from=None,
        stock={SHELF: bottles},
    )
    return replace(pattern, product_id=ProductId.new(), name=f"Bench Whiskey {number}", variants=(variant,))


@contextmanager
def _running(command: tuple[str, ...], environment: Mapping[str, str]) -> Generator[subprocess.Popen[bytes]]:
    """`rickhouse <command>` in a process group of its own, stopped at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "rickhouse", *command],
        env={**environment, "PROMETHEUS_MULTIPROC_DIR": os.environ["PROMETHEUS_MULTIPROC_DIR"]},
        # Standard output is for the tables.
        stdout=sys.stderr,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_WITHIN_S)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_ready(port: int, running: Mapping[str, subprocess.Popen[bytes]]) -> None:
    ends = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < ends:
        for part, process in running.items():
            if process.poll() is not None:
                raise RuntimeError(f"the {part} stopped with exit code {process.returncode}")
        with (
            suppress(urllib.error.URLError, OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=2) as reply,
        ):
            if reply.status == 200:
                return
        time.sleep(0.1)
    raise RuntimeError(f"the server was not ready within {_READY_WITHIN_S:.0f} s")


def _postmaster(postgres: EmbeddedPostgres) -> int:
    pid = postgres.pid()
    if pid is None:
        raise RuntimeError("PostgreSQL has stopped")
    return pid
