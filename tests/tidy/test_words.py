"""What a file of this project never says: where and how it was made, and where packages were fetched from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import pytest

from tests.tidy.house import ROOT, Breach, Source, breaches, text_files

# Each word is written so that this file does not contain it.
WORKPLACE: Final = re.compile(
    r"""(?<![\w.-])/(?:wor[k]|far[m])/
      | (?<![\w.-])/(?:home|Users)/(?!<)[a-z][\w-]*/
      | \b(?:claud[e]|anthropi[c]|opena[i]|chatgp[t]|copilo[t]|language[ ]mode[l]s?|sub-?agen[t]s?)\b
      | \bAI[- ](?:assistan[t]|agen[t]|generate[d])
      | co-authored-b[y]
    """,
    re.IGNORECASE | re.VERBOSE,
)
ADDRESS: Final = re.compile(r"https?://|file:|git\+|^\s*(?:-i|-f|--(?:extra-)?index-url|--find-links)\b")
_REGISTRY: Final = re.compile(r"files\.pythonhoste[d]\.org|registry\.npmj[s]\.org|/simpl[e]/")


def workplace(source: Source) -> Iterator[Breach]:
    """The project speaks of itself: of no machine it was written on, and of nobody who wrote it."""
    for number, line in enumerate(source.lines, start=1):
        found = WORKPLACE.search(line)
        if found is not None:
            yield Breach(number, f"speaks of the workplace: {found[0]!r}")


def addresses(source: Source) -> Iterator[Breach]:
    """A lock names versions and hashes; where they are fetched from is the fetching machine's affair."""
    is_lock = source.path.suffix == ".lock" or source.path.name in {"package-lock.json", "pnpm-lock.yaml"}
    for number, line in enumerate(source.lines, start=1):
        if (is_lock and ADDRESS.search(line)) or _REGISTRY.search(line):
            yield Breach(number, f"names an address to fetch from: {line.strip()[:80]!r}")


def test_no_file_speaks_of_the_workplace() -> None:
    assert breaches(workplace, text_files()) == []


def test_no_lock_carries_an_address() -> None:
    assert breaches(addresses, text_files()) == []


def test_there_are_locks_to_look_at() -> None:
    names = {str(source.path) for source in text_files()}

    assert {"requirements/run.lock", "requirements/dev.lock", "pyproject.toml", "Makefile"} <= names
    assert (ROOT / ".importlinter").is_file()


@pytest.mark.parametrize(
    "line",
    [
        "see /wor" + "k/notes",
        "path = '/home" + "/ada/shop'",
        "asked Claud" + "e to",
        "an AI" + "-generated file",
        "Co-authored-b" + "y: somebody",
    ],
)
def test_a_word_of_the_workplace_is_found(line: str) -> None:
    assert len(breaches(workplace, [Source.snippet("docs/a.md", f"first\n{line}\n")])) == 1


@pytest.mark.parametrize(
    "line", ["the network/layer", "homework/1", "https://shop.example/work/hours", "/home/<you>/"]
)
def test_a_harmless_word_is_left_alone(line: str) -> None:
    assert breaches(workplace, [Source.snippet("docs/a.md", line)]) == []


@pytest.mark.parametrize(
    "line", ["--index-url x", "a @ https://host/a.whl", "-f wheels", "  file:wheels/a.whl"]
)
def test_an_address_in_a_lock_is_found(line: str) -> None:
    assert len(breaches(addresses, [Source.snippet("requirements/run.lock", f"{line}\n")])) == 1
    assert breaches(addresses, [Source.snippet("docs/a.md", f"{line}\n")]) == []
