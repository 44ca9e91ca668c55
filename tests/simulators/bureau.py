"""The age bureau's simulator as the process that it is."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager

_START_S_MAX = 20.0


@contextmanager
def simulated_bureau(slow_s: float = 15.0) -> Generator[str]:
    """Run `rickhouse.apps.simulators.bureau` on a free port; answers its base URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    code = f"from rickhouse.apps.simulators import bureau; bureau.run('127.0.0.1', {port}, slow_s={slow_s})"
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        _await_listening(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _await_listening(port: int, process: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + _START_S_MAX
    while time.monotonic() < ends and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError("the age bureau's simulator did not start")
