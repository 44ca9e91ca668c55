"""Every method that a slice offers is held by the contract suite, joined and split."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator

from tests.tidy.house import Breach, Rule, Source, breaches, python_files


def covered_by(suite: Iterable[Source]) -> Rule:
    """The rule that each public method of a contract's Protocol is called somewhere in `suite`."""
    called = {
        node.attr for source in suite for node in ast.walk(source.tree) if isinstance(node, ast.Attribute)
    }

    def contract_coverage(source: Source) -> Iterator[Breach]:
        if re.fullmatch(r"src/rickhouse/[a-z]+/contract\.py", str(source.path)) is None:
            return
        for name, method in protocol_methods(source):
            if method.name not in called:
                yield Breach(method.lineno, f"{name}.{method.name} is not called in tests/contracts")

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


_CONTRACT = "class Stock(Protocol):\n    async def hold(self) -> None: ...\n    async def release(self) -> None: ...\n"


def test_an_uncovered_method_is_found() -> None:
    contract = Source.snippet("src/rickhouse/inventory/contract.py", _CONTRACT)
    suite = [
        Source.snippet(
            "tests/contracts/test_inventory.py", "async def test(stock):\n    await stock.hold()\n"
        )
    ]

    assert breaches(covered_by(suite), [contract]) == [
        "src/rickhouse/inventory/contract.py:3: Stock.release is not called in tests/contracts"
    ]
    assert len(breaches(covered_by([]), [contract])) == 2


def test_a_second_protocol_is_found() -> None:
    contract = Source.snippet(
        "src/rickhouse/inventory/contract.py", _CONTRACT + "class Other(Protocol): ...\n"
    )

    assert breaches(one_protocol, [contract]) == [
        "src/rickhouse/inventory/contract.py:0: a contract has one Protocol, this one has ['Stock', 'Other']"
    ]
