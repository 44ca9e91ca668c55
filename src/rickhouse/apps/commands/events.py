"""Commands about events that were parked: seeing them, and handling them again."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from rickhouse.apps.compose import compose
from rickhouse.apps.databases import SLICES, opened
from rickhouse.apps.refusals import Told
from rickhouse.apps.terminal import Config, Slice, say, settings_of, with_database
from rickhouse.kernel.errors import Condition
from rickhouse.kernel.events import Position
from rickhouse.platform.db import Database
from rickhouse.platform.events import Subscriber, Subscription, list_parked
from rickhouse.platform.events import replay as read_again
from rickhouse.platform.logs import describe
from rickhouse.platform.settings import Settings

_POSITION: Final = re.compile(r"(\d{1,18})-(\d{1,18})")


def events_parked(*slices: Slice, config: Config = None) -> None:
    """Show the events that a slice failed to handle: subscription, position, kind, subject, when, and why."""

    async def show(settings: Settings) -> None:
        for name in slices or SLICES:
            async with opened(settings, name) as database:
                page = await list_parked(database)
                while page:
                    for parked in page:
                        event = parked.recorded
                        place = f"{event.position.xid}-{event.position.seq}"
                        why = f"{parked.parked_at:%Y-%m-%d %H:%M:%S}  {parked.error}"
                        say(f"{parked.subscription} {place}  {event.kind}  {event.subject}  {why}")
                    page = await list_parked(database, after=page[-1])

    asyncio.run(show(with_database(settings_of(config))))


def events_retry(subscription: str, position: str, *, config: Config = None) -> None:
    """Handle one parked event now; it stays parked where that fails again.

    Parameters
    ----------
    subscription
        As `rickhouse events parked` shows it.
    position
        As `rickhouse events parked` shows it.
    """
    place = _position(position)

    async def retry(settings: Settings) -> None:
        async with _subscribed(settings, subscription) as (database, found):
            try:
                await Subscriber(database, found).retry_parked(place)
            except Condition:
                raise
            except Exception as error:
                raise Told(f"{subscription} fails at {position} again: {describe(error)}.") from error

    asyncio.run(retry(with_database(settings_of(config))))
    say(f"{subscription} has handled {position}")


def events_replay(subscription: str, *, after: str = "0-0", config: Config = None) -> None:
    """Let a subscription handle its events once more, in the worker; what it had parked of them is forgotten.

    Parameters
    ----------
    subscription
        Such as orders.hold_expired.
    after
        The position to go on from; the beginning of the log if unsaid.
    """
    place = _position(after)

    async def rewind(settings: Settings) -> None:
        async with _subscribed(settings, subscription) as (database, _):
            await read_again(database, subscription, place)

    asyncio.run(rewind(with_database(settings_of(config))))
    say(f"{subscription} goes on from {after}")


@asynccontextmanager
async def _subscribed(settings: Settings, name: str) -> AsyncGenerator[tuple[Database, Subscription]]:
    """The subscription of that name and the database of its effects, in a house that is open. Raises Told."""
    house = compose(settings, settings.web.slices)
    known = {found.name: (room.database, found) for room in house.rooms for found in room.subscriptions}
    if name not in known:
        raise Told(f"There is no subscription {name!r} here; there is {', '.join(sorted(known)) or 'none'}.")
    await house.open()
    try:
        yield known[name]
    finally:
        await house.close()


def _position(text: str) -> Position:
    """Raises Told."""
    found = _POSITION.fullmatch(text)
    if found is None:
        raise Told(f"{text!r} is not a position such as 812-7.")
    return Position(int(found[1]), int(found[2]))
