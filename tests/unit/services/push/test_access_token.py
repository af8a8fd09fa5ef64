"""The token that FCM wants, against the sandbox's token endpoint."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.push.fcm.access_token import AccessToken, TokenUnavailable


class Clock:
    """Time that the test moves."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def token(sandbox: Any, clock: Clock) -> AsyncIterator[AccessToken]:
    found = AccessToken(sandbox.account, clock)
    yield found
    await found.close()


async def test_many_ask_once(token: AccessToken) -> None:
    found = await asyncio.gather(*(token.current() for _ in range(50)))
    assert len(set(found)) == 1
    assert found[0].startswith("ya29.")
    assert await token.current() == found[0]


async def test_it_is_replaced_before_it_expires_and_nobody_waits(
    token: AccessToken, clock: Clock, sandbox: Any
) -> None:
    first = await token.current()
    clock.ahead_s = 3_400
    await sandbox.script(provider="oauth", answer={"delay_s": 0.2}, times=1)
    began = time.perf_counter()
    assert await token.current() == first
    assert time.perf_counter() - began < 0.1
    assert token._refreshing is not None
    await token._refreshing
    assert await token.current() != first


async def test_the_loop_runs_on_while_a_token_is_fetched(token: AccessToken, sandbox: Any) -> None:
    await sandbox.script(provider="oauth", answer={"delay_s": 0.3}, times=1)
    asked = asyncio.create_task(token.current())
    turns = 0
    while not asked.done():
        await asyncio.sleep(0.01)
        turns += 1
    assert turns > 15


async def test_one_that_fcm_refused_is_replaced(token: AccessToken) -> None:
    first = await token.current()
    token.reject("another")
    assert await token.current() == first
    token.reject(first)
    assert await token.current() != first


async def test_refused(token: AccessToken, sandbox: Any, clock: Clock) -> None:
    await sandbox.script(provider="oauth", answer={"status": 401}, times=1)
    with pytest.raises(TokenUnavailable):
        await token.current()
    # At once again: nobody is asked.
    with pytest.raises(TokenUnavailable):
        await token.current()
    clock.ahead_s = 1.5
    assert await token.current()


async def test_an_old_one_serves_while_no_new_one_is_to_be_had(
    token: AccessToken, sandbox: Any, clock: Clock
) -> None:
    first = await token.current()
    await sandbox.script(provider="oauth", answer={"status": 400})
    clock.ahead_s = 3_400
    await token.current()
    assert token._refreshing is not None
    await token._refreshing
    assert await token.current() == first
    clock.ahead_s = 3_700
    with pytest.raises(TokenUnavailable):
        await token.current()


async def test_a_caller_who_leaves_does_not_stop_the_refresh(token: AccessToken, sandbox: Any) -> None:
    await sandbox.script(provider="oauth", answer={"delay_s": 0.2}, times=1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await token.current()
    assert await token.current()
