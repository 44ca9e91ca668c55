"""What the command line says of itself."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rickhouse.apps.terminal import program


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The command in an environment below the working directory; it is what runs now."""
    binaries = tmp_path / ".venv" / "bin"
    binaries.mkdir(parents=True)
    monkeypatch.setattr(sys, "executable", str(binaries / "python"))
    monkeypatch.setenv("PATH", "/usr/bin")
    monkeypatch.chdir(tmp_path)
    command = binaries / "rickhouse"
    command.touch(mode=0o755)
    return command


def test_program_is_what_can_be_typed_here(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert program() == ".venv/bin/rickhouse"

    monkeypatch.setenv("PATH", str(installed.parent))
    assert program() == "rickhouse"

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setenv("PATH", "/usr/bin")
    monkeypatch.chdir(elsewhere)
    assert program() == str(installed)


def test_program_is_the_module_where_no_command_is_installed(installed: Path) -> None:
    installed.unlink()

    assert program() == ".venv/bin/python -m rickhouse"
