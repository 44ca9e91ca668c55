"""Stories are told on a seeded house of their own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.journeys.stack import Stack, seeded

NewStack = Callable[..., Awaitable[Stack]]


@pytest.fixture
async def new_stack(new_database: Callable[[], str], tmp_path: Path) -> AsyncGenerator[NewStack]:
    """Make a seeded house whose server is not started yet; settings are given as environment variables."""
    async with AsyncExitStack() as opened:

        async def make(**settings: str) -> Stack:
            stack = await opened.enter_async_context(Stack(new_database(), tmp_path, **settings))
            stack.start("seed", "seed")
            assert stack.wait("seed") == 0
            return stack

        yield make


@pytest.fixture
async def stack(new_stack: NewStack) -> Stack:
    """A seeded house with one server process and the job worker running."""
    made = await new_stack()
    made.start("work", "work")
    await made.serve()
    return made


@pytest.fixture(scope="module")
async def house(
    new_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[Stack]:
    """A seeded house with one server process and the job worker, which the tests of a module share."""
    async with seeded(new_database(), tmp_path_factory.mktemp("house")) as stack:
        await stack.serve()
        yield stack
