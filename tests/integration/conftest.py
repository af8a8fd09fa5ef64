"""One set of real servers for the whole run; a rig of its own, with empty streams and store, for each file."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from stack.control import Stack
from stack.errors import StackError
from tests.integration.local import Local
from tests.integration.rig import Rig

# One whose ports are free is taken, so that runs on one machine do not meet.
PORT_BASES = range(20_000, 20_900, 100)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """mongod, nats and valkey."""
    home = tmp_path_factory.mktemp("servers")
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("CROWN_", "NATS_", "DATABASE_", "REDIS_")):
                patch.delenv(name)
        stack = _up(home)
        try:
            yield stack
        finally:
            stack.down()
            shutil.rmtree(home / str(stack.settings.ports.base) / "data", ignore_errors=True)


def _up(home: Path) -> Stack:
    trouble: StackError | None = None
    # Not all from the first one on: two runs that begin at once would take turns failing.
    first = os.getpid() % len(PORT_BASES)
    for base in (*PORT_BASES[first:], *PORT_BASES[:first]):
        stack = Stack(base, home=home, only=["mongod", "nats", "valkey"])
        try:
            stack.up()
        except StackError as error:
            trouble = error
        else:
            return stack
    assert trouble is not None
    raise trouble


@pytest.fixture(scope="module")
async def rig(
    servers: Stack, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Rig]:
    """The servers, with nothing in them of the files before."""
    name = request.path.stem.removeprefix("test_")
    made = Rig(servers, tmp_path_factory.mktemp(name), f"crown_{name}")
    await made.empty()
    yield made
    await made.close()


@pytest.fixture(scope="module")
async def local(rig: Rig) -> AsyncIterator[Local]:
    """The shared package in this process, connected."""
    made = await Local.connect(rig)
    yield made
    await made.close()
