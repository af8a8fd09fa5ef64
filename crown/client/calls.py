"""Calls of the suite's RPCs as a caller wants them: with its token, within a deadline, repeated where that is
safe, and with errors of crown/errors.py. What the RPCs are stands in the modules beside this one; the same without
asyncio is crown/client/sync/calls.py."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import grpc

from crown.client import refusals
from crown.errors import CrownError, InProgress, OutcomeUnknown, Unavailable

Q = TypeVar("Q")
A = TypeVar("A")

# Answers a token without "Bearer", at once or after a while. Asked before every attempt: it keeps the token.
TokenSource = Callable[[], str | Awaitable[str]]
Metadata = tuple[tuple[str, str], ...]

FIRST_PAUSE_S = 0.1
MOST_PAUSE_S = 2.0

OPTIONS = (
    ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
    # A link that died in silence is noticed within forty seconds, also while nothing is under way.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # By default a server that comes back is found up to two minutes later.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Retries stand here, and nowhere below.
    ("grpc.enable_retries", 0),
    ("grpc.max_receive_message_length", 16 << 20),
)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a call may take in all, and how much of that one attempt may take, in seconds. An attempt has
    to be shorter, else an answer that got lost leaves no time to ask again."""

    call_s: float = 15.0
    attempt_s: float = 5.0


USUAL = Patience()


class Calls:
    """Makes calls for one caller."""

    def __init__(
        self, token: TokenSource, patience: Patience = USUAL, chance: random.Random | None = None
    ) -> None:
        self._token = token
        self.patience = patience
        self.chance = chance or random.Random()

    def within(self, seconds: float) -> Calls:
        """The same, with this long for each call in all."""
        patience = Patience(seconds, min(self.patience.attempt_s, seconds))
        return Calls(self._token, patience, self.chance)

    async def unary(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Q, A],
        request: Q,
        *,
        timeout_s: float | None = None,
        metadata: Metadata = (),
        repeatable: bool = True,
    ) -> A:
        """The answer. What certainly did not happen is tried again until the time is over, and what may have
        happened only where it is `repeatable`. Raises CrownError, of the last attempt; OutcomeUnknown where
        an earlier one may have happened and no later one says more."""
        loop = asyncio.get_running_loop()
        until = loop.time() + (self.patience.call_s if timeout_s is None else timeout_s)
        attempt = 0
        unknown: OutcomeUnknown | None = None
        while True:
            attempt += 1
            try:
                return await self._attempt(method, request, until - loop.time(), metadata)
            except (Unavailable, InProgress, OutcomeUnknown) as error:
                if isinstance(error, OutcomeUnknown):
                    unknown = error
                pause = pause_s(attempt, error.retry_after_s, self.chance)
                if (unknown and not repeatable) or loop.time() + pause >= until:
                    raise last(error, unknown) from error.__cause__
            await asyncio.sleep(pause)

    async def stream(
        self, method: grpc.aio.UnaryStreamMultiCallable[Q, A], request: Q
    ) -> AsyncGenerator[A, None]:
        """What comes, until the caller stops or it breaks off. Nothing is tried again. Raises CrownError."""
        call = method(request, metadata=await self.authorization())
        try:
            async for answer in call:
                yield answer
        except grpc.aio.AioRpcError as error:
            raise refusals.from_call(error) from error
        finally:
            call.cancel()

    async def authorization(self) -> Metadata:
        """The metadata of a long stream. Raises Unavailable where there is no token in time."""
        return await self._authorization(self.patience.attempt_s)

    async def _attempt(
        self, method: grpc.aio.UnaryUnaryMultiCallable[Q, A], request: Q, left_s: float, metadata: Metadata
    ) -> A:
        timeout_s = max(min(self.patience.attempt_s, left_s), 0.0)
        try:
            authorized = await self._authorization(timeout_s)
            return await method(request, timeout=timeout_s, metadata=(*metadata, *authorized))
        except grpc.aio.AioRpcError as error:
            raise refusals.from_call(error) from error

    async def _authorization(self, timeout_s: float) -> Metadata:
        token = self._token()
        if not isinstance(token, str):
            try:
                async with asyncio.timeout(timeout_s):
                    token = await token
            except TimeoutError:
                raise Unavailable(f"there was no token within {timeout_s:g} s") from None
        return (("authorization", f"Bearer {token}"),) if token else ()


def pause_s(attempt: int, asked_s: float | None, chance: random.Random) -> float:
    """Seconds to wait after the failed attempt number `attempt` (1, 2, …): anything up to 0.1, 0.2, 0.4 …
    2 s, so that callers who failed together do not come back together; what the callee asked for on top."""
    own = chance.uniform(0.0, min(FIRST_PAUSE_S * 2.0 ** min(attempt - 1, 10), MOST_PAUSE_S))
    return own + max(asked_s or 0.0, 0.0)


def last(error: CrownError, unknown: OutcomeUnknown | None) -> CrownError:
    """What to raise: a refusal says nothing of the attempt before it, whose outcome nobody knows."""
    if unknown is None or isinstance(error, OutcomeUnknown):
        return error
    return OutcomeUnknown(f"{unknown.message}; then: {error.message}")
