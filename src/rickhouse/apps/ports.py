"""Whether a port can be listened on, told before anything is started."""

from __future__ import annotations

import errno
import socket

from rickhouse.apps.refusals import Told


class PortTaken(Told):
    """Something else listens where we were told to."""


def require_free_port(host: str, port: int) -> None:
    """Raises PortTaken when nothing can listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortTaken(
                    f"Port {port} on {host} is taken: stop what listens there, or choose another with "
                    f"RICKHOUSE_WEB__PORT."
                ) from error
            raise PortTaken(f"Cannot listen on {host}:{port}: {error.strerror}.") from error
