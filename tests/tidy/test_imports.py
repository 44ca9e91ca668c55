"""Each rule of `.importlinter` bites, and the services that are split by verb are known to all of them."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

import pytest

from tests.tidy.house import ROOT, python_files

_LINT: Final = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"


class Trespass(NamedTuple):
    """An import that a rule forbids."""

    rule: str
    module: str
    code: str


TRESPASSES: Final = (
    Trespass("apps > slices > platform > kernel", "kernel/money.py", "import rickhouse.platform.db"),
    Trespass("apps > slices > platform > kernel", "platform/db.py", "import rickhouse.orders.contract"),
    Trespass("slices meet only at contract.py", "orders/checkout.py", "import rickhouse.inventory.service"),
    Trespass("order inside a room", "orders/sql.py", "import rickhouse.orders.checkout"),
    Trespass("order inside a room", "orders/bookkeeping.py", ""),
    Trespass("contract, port and model do no I/O", "orders/model.py", "import rickhouse.platform.db"),
    Trespass("contract, port and model do no I/O", "payments/port.py", "import aiohttp"),
    Trespass("contract, port and model do no I/O", "payments/providers/sandbox/codec.py", "import aiohttp"),
    Trespass("only sql.py and platform touch the driver", "orders/checkout.py", "import asyncpg"),
    Trespass(
        "only sql.py and platform touch the driver", "payments/providers/sandbox/client.py", "import asyncpg"
    ),
    Trespass("sql.py is called by its service only", "orders/routes.py", "import rickhouse.orders.sql"),
    Trespass("sql.py is called by its service only", "apps/compose.py", "import rickhouse.orders.sql"),
    Trespass(
        "providers are chosen by apps only",
        "payments/service.py",
        "import rickhouse.payments.providers.sandbox.client",
    ),
    Trespass(
        "providers do not know each other",
        "payments/providers/sandbox/client.py",
        "import rickhouse.payments.providers.other.client",
    ),
    Trespass("remote client knows only the contract", "platform/rpc.py", "import rickhouse.orders.contract"),
    Trespass("contracts do not know each other", "orders/contract.py", "import rickhouse.catalog.contract"),
)


@pytest.fixture(scope="module")
def skeleton(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The house with every file empty, and providers enough to break each rule."""
    top = tmp_path_factory.mktemp("skeleton")
    (top / ".importlinter").write_text((ROOT / ".importlinter").read_text(encoding="utf-8"), encoding="utf-8")
    paths = {source.path.relative_to("src/rickhouse") for source in python_files("src")}
    for vendor in ("sandbox", "other"):
        paths |= {PurePosixPath(f"payments/providers/{vendor}/{name}.py") for name in ("codec", "client")}
    paths |= {PurePosixPath(trespass.module) for trespass in TRESPASSES if trespass.code}
    packages = {parent / "__init__.py" for path in paths for parent in path.parents}
    for path in paths | packages:
        place = top / "rickhouse" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    # The door itself, which slices may use: without it the linter takes the rule for a mistake.
    (top / "rickhouse/inventory/service.py").write_text("import rickhouse.catalog.contract", encoding="utf-8")
    return top


def _broken(top: Path) -> list[str]:
    """The names of the rules that are broken in the package under `top`."""
    command = [sys.executable, "-c", _LINT]
    done = subprocess.run(
        command, cwd=top, env={"PYTHONPATH": str(top)}, capture_output=True, text=True, check=False
    )
    assert "Contracts" in done.stdout, done.stdout + done.stderr
    return re.findall(r"^(.+) BROKEN(?: \(.+\))?$", done.stdout, re.MULTILINE)


def test_the_empty_house_breaks_no_rule(skeleton: Path) -> None:
    assert _broken(skeleton) == []


@pytest.mark.parametrize("trespass", TRESPASSES, ids=lambda trespass: f"{trespass.module}-{trespass.code}")
def test_a_trespass_is_found(trespass: Trespass, skeleton: Path) -> None:
    place = skeleton / "rickhouse" / trespass.module
    existed = place.exists()
    place.write_text(trespass.code, encoding="utf-8")
    try:
        assert trespass.rule in _broken(skeleton)
    finally:
        place.unlink()
        if existed:
            place.touch()


def test_every_rule_has_a_trespass_of_its_own() -> None:
    rules = configparser.ConfigParser()
    rules.read(ROOT / ".importlinter", encoding="utf-8")
    names = {
        rules[section]["name"] for section in rules.sections() if section.startswith("importlinter:contract:")
    }

    assert {trespass.rule for trespass in TRESPASSES} == names


def test_services_split_by_verb_are_known_to_every_rule_about_services() -> None:
    rules = configparser.ConfigParser()
    rules.read(ROOT / ".importlinter", encoding="utf-8")
    room = rules["importlinter:contract:room"]["layers"].split("(service)")[1].split("(sql)")[0]
    expected = {"rickhouse.*.service"} | {f"rickhouse.*.{name}" for name in re.findall(r"\w+", room)}

    assert set(rules["importlinter:contract:sqlcaller"]["allowed_importers"].split()) == expected
    assert expected <= set(rules["importlinter:contract:sqlhome"]["source_modules"].split())
