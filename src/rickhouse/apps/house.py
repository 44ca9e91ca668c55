"""A house: the slices that one process serves, and what they bring with them.

Which service is which belongs in `compose`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from litestar.handlers import HTTPRouteHandler

from rickhouse.apps.databases import SLICES, database_of
from rickhouse.platform.db import Database
from rickhouse.platform.embedded import claim_data_root
from rickhouse.platform.events import Feed, LogFeed, Subscription
from rickhouse.platform.http import HttpClient, close_clients
from rickhouse.platform.jobs import Periodic, Task
from rickhouse.platform.rpc import rpc_client, rpc_routes
from rickhouse.platform.settings import Settings, SettingsError
from rickhouse.platform.tokens import TokenKey

Contract = TypeVar("Contract")
Step = Callable[[], Awaitable[object]]

_SERVICE_TOKEN_TTL_S: Final = 3600


def token_key(settings: Settings) -> TokenKey:
    """The key that signs and checks bearer tokens, made at first use."""
    return TokenKey.load(own_file(settings, settings.token_key_file))


def own_file(settings: Settings, path: Path) -> Path:
    """`path`, after the data directory that it may lie in has been marked as ours. Raises EmbeddedError."""
    if path.is_relative_to(settings.data_root):
        claim_data_root(settings.data_root)
    return path


class Room(NamedTuple):
    """What one slice does by itself. The job worker runs it; a web server does not."""

    database: Database
    periodics: tuple[Periodic, ...]
    tasks: tuple[Task, ...]
    subscriptions: tuple[Subscription, ...]


class House:
    """The slices that this process serves, each behind its contract, and what they bring: routes, jobs, databases."""

    def __init__(self, settings: Settings, served: Sequence[str]) -> None:
        self.settings = settings
        self.served = tuple(served)
        self.tokens = token_key(settings)
        self.handlers: list[HTTPRouteHandler] = []
        self.rooms: list[Room] = []
        self.databases: dict[str, Database] = {}
        self.on_open: list[Step] = []
        self.on_close: list[Step] = []
        self._service_token: tuple[str, float] = ("", 0.0)

    async def open(self) -> None:
        """Make the pools; a database that is away is waited for when it is needed."""
        for database in self.databases.values():
            await database.open()
        for step in self.on_open:
            await step()

    async def close(self) -> None:
        """Let what runs end, then close every connection."""
        for step in self.on_close:
            await step()
        await close_clients()
        for database in self.databases.values():
            await database.close()

    @property
    def probes(self) -> Mapping[str, Callable[[], Awaitable[bool]]]:
        """Whether each thing that this process depends on answers."""
        return {f"database {name}": database.answers for name, database in self.databases.items()}

    def database(self, slice_name: str) -> Database:
        """The slice's database, one pool a process."""
        if slice_name not in self.databases:
            self.databases[slice_name] = database_of(self.settings, slice_name)
        return self.databases[slice_name]

    def room(
        self,
        slice_name: str,
        handlers: Iterable[HTTPRouteHandler],
        *,
        periodics: Iterable[Periodic] = (),
        tasks: Iterable[Task] = (),
        subscriptions: Iterable[Subscription] = (),
    ) -> None:
        """Take in what a served slice brings."""
        self.handlers.extend(handlers)
        self.rooms.append(
            Room(self.database(slice_name), tuple(periodics), tuple(tasks), tuple(subscriptions))
        )

    def offer(self, contract: type[Contract], slice_name: str, service: Contract) -> Contract:
        """Open a slice's contract, and its event log, to the other processes of a divided house."""
        if self.divided:
            self.handlers.extend(rpc_routes(contract, slice_name, service))
            self.handlers.extend(rpc_routes(Feed, f"{slice_name}_events", LogFeed(self.database(slice_name))))
        return service

    def remote(self, contract: type[Contract], slice_name: str, suffix: str = "") -> Contract:
        """A neighbour in another process. Raises SettingsError when nothing says where."""
        base_url = self.settings.remotes.get(slice_name)
        if base_url is None:
            raise SettingsError(
                f"The slice {slice_name} is neither served here nor named in remotes: set "
                f'RICKHOUSE_REMOTES=\'{{"{slice_name}": "http://…"}}\'.'
            )
        name = f"{slice_name}{suffix}"
        return rpc_client(contract, name, HttpClient(base_url, name=name), self.service_token)

    def feed(self, slice_name: str) -> Feed:
        """The event log of a slice, here or elsewhere."""
        if self.serves(slice_name):
            return LogFeed(self.database(slice_name))
        return self.remote(Feed, slice_name, "_events")

    def serves(self, slice_name: str) -> bool:
        """Whether the slice runs in this process."""
        return slice_name in self.served

    @property
    def divided(self) -> bool:
        """Whether slices run in processes of their own."""
        return set(self.served) != set(SLICES)

    def service_token(self) -> str:
        """The bearer token by which this process calls the others; renewed before it expires."""
        token, ends = self._service_token
        if time.monotonic() > ends:
            scopes = frozenset(f"rpc:{name}{part}" for name in SLICES for part in ("", "_events"))
            token = self.tokens.issue("rickhouse", scopes, _SERVICE_TOKEN_TTL_S)
            self._service_token = (token, time.monotonic() + _SERVICE_TOKEN_TTL_S / 2)
        return token
