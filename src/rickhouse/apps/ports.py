"""Whether a port can be listened on, told before anything is started."""

from __future__ import annotations

import errno
import socket
from typing import Final

from rickhouse.apps.refusals import Told

WEB_PORT: Final = "RICKHOUSE_WEB__PORT"
BANK_URL: Final = "RICKHOUSE_PAYMENTS__BANK_URL"
BUREAU_URL: Final = "RICKHOUSE_CUSTOMERS__BUREAU_URL"
"""The variables that say where each part listens."""


class PortTaken(Told):
    """Something else listens where we were told to."""


def require_free_port(host: str, port: int, setting: str) -> None:
    """Raises PortTaken when nothing can listen there; `setting` is the variable that names another place."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortTaken(
                    f"Port {port} on {host} is taken: stop what listens there, or choose another with {setting}."
                ) from error
            raise PortTaken(f"Cannot listen on {host}:{port}: {error.strerror}.") from error
