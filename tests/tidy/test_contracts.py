"""Every method that a slice offers is held by the contract suite, joined and split."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Protocol, get_args, get_type_hints

import msgspec
from msgspec import Meta

from rickhouse.catalog.contract import Catalog
from rickhouse.compliance.contract import Compliance
from rickhouse.customers.contract import Customers
from rickhouse.inventory.contract import Inventory
from rickhouse.orders.contract import Orders
from rickhouse.payments.contract import Payments
from tests.tidy.house import ROOT, Breach, Rule, Source, breaches, python_files


def covered_by(suites: Iterable[Source]) -> Rule:
    """The rule that each public method of a contract's Protocol is called in its slice's suite, on both sides."""
    called = {
        suite.path.stem: {node.attr for node in ast.walk(suite.tree) if isinstance(node, ast.Attribute)}
        for suite in suites
        if any(isinstance(node, ast.Name) and node.id == "SIDES" for node in ast.walk(suite.tree))
    }

    def contract_coverage(source: Source) -> Iterator[Breach]:
        found = re.fullmatch(r"src/rickhouse/([a-z]+)/contract\.py", str(source.path))
        if found is None:
            return
        suite = f"test_{found[1]}"
        for name, method in protocol_methods(source):
            if method.name not in called.get(suite, ()):
                yield Breach(
                    method.lineno,
                    f"{name}.{method.name} is not called on both sides in tests/contracts/{suite}.py",
                )

    return contract_coverage


def one_protocol(source: Source) -> Iterator[Breach]:
    """A contract offers one Protocol."""
    if source.path.name != "contract.py":
        return
    names = [
        node.name for node in ast.walk(source.tree) if isinstance(node, ast.ClassDef) and _is_protocol(node)
    ]
    if len(names) != 1:
        yield Breach(0, f"a contract has one Protocol, this one has {names}")


def bounds_of(contract: type) -> list[str]:
    """Where the arguments and answers of a contract's methods are bounded by their types.

    A bound is checked where bytes are decoded, so it would refuse in a call between processes what the service itself
    judges in a call inside one.
    """
    found: list[str] = []
    for name, method in vars(contract).items():
        if inspect.iscoroutinefunction(method):
            for hint_name, hint in get_type_hints(method, include_extras=True).items():
                found += [
                    f"{contract.__name__}.{name}: {hint_name} {bound}" for bound in _bounds(hint, set())
                ]
    return found


def _bounds(hint: object, seen: set[object]) -> Iterator[str]:
    for part in get_args(hint):
        if isinstance(part, Meta):
            yield f"has {part}"
        else:
            yield from _bounds(part, seen)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct) and hint not in seen:
        seen.add(hint)
        for name, field in get_type_hints(hint, include_extras=True).items():
            yield from (f".{name} {bound}" for bound in _bounds(field, seen))


def protocol_methods(source: Source) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Each public method of each Protocol, with the Protocol's name."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ClassDef) and _is_protocol(node):
            for item in node.body:
                if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) and not item.name.startswith("_"):
                    yield node.name, item


def _is_protocol(node: ast.ClassDef) -> bool:
    return any(ast.unparse(parent).split(".")[-1] == "Protocol" for parent in node.bases)


def test_every_contract_method_is_covered() -> None:
    assert breaches(covered_by(python_files("tests/contracts")), python_files("src")) == []


def test_every_contract_has_one_protocol() -> None:
    assert breaches(one_protocol, python_files("src")) == []


def test_no_contract_bounds_what_its_service_judges() -> None:
    contracts = (Catalog, Compliance, Customers, Inventory, Orders, Payments)
    assert {path.parent.name for path in (ROOT / "src/rickhouse").glob("*/contract.py")} == {
        contract.__module__.split(".")[1] for contract in contracts
    }
    assert [bound for contract in contracts for bound in bounds_of(contract)] == []


_CONTRACT = "class Stock(Protocol):\n    async def hold(self) -> None: ...\n    async def release(self) -> None: ...\n"


def test_an_uncovered_method_is_found() -> None:
    contract = Source.snippet("src/rickhouse/inventory/contract.py", _CONTRACT)
    call = "async def test(stock):\n    await stock.{}()\n"
    sided = "pytest.fixture(params=SIDES)\n"
    suites = [
        Source.snippet("tests/contracts/test_inventory.py", sided + call.format("hold")),
        Source.snippet("tests/contracts/test_catalog.py", sided + call.format("release")),
    ]
    one_sided = [Source.snippet("tests/contracts/test_inventory.py", call.format("hold"))]

    assert breaches(covered_by(suites), [contract]) == [
        (
            "src/rickhouse/inventory/contract.py:3: Stock.release is not called on both sides in "
            "tests/contracts/test_inventory.py"
        )
    ]
    assert len(breaches(covered_by(one_sided), [contract])) == 2


def test_a_second_protocol_is_found() -> None:
    contract = Source.snippet(
        "src/rickhouse/inventory/contract.py", _CONTRACT + "class Other(Protocol): ...\n"
    )

    assert breaches(one_protocol, [contract]) == [
        "src/rickhouse/inventory/contract.py:0: a contract has one Protocol, this one has ['Stock', 'Other']"
    ]


class Cask(msgspec.Struct):
    """A bound inside a struct inside a tuple."""

    label: Annotated[str, Meta(max_length=5)]


class Cooper(Protocol):
    """A contract with two bounds."""

    async def fill(self, casks: tuple[Cask, ...], litres: Annotated[int, Meta(ge=1)] | None) -> Cask | None:
        """Twice bounded, and once in the answer."""
        ...


def test_a_bound_is_found_wherever_it_hides() -> None:
    found = [bound.partition(" has ")[0] for bound in bounds_of(Cooper)]

    assert found == ["Cooper.fill: casks .label", "Cooper.fill: litres", "Cooper.fill: return .label"]
