"""Calls of the suite's RPCs, as crown/client/calls.py makes them, without asyncio."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator
from typing import TypeVar, cast

import grpc

from crown.client import refusals
from crown.client.calls import OPTIONS, USUAL, Metadata, Patience, last, pause_s
from crown.errors import CrownError, InProgress, OutcomeUnknown, Unavailable

__all__ = ["OPTIONS", "USUAL", "Calls", "Metadata", "Patience", "TokenSource", "refusal"]

Q = TypeVar("Q")
A = TypeVar("A")

# Answers a token without "Bearer". Asked before every attempt: it keeps the token.
TokenSource = Callable[[], str]


class Calls:
    """Makes calls for one caller; threads may share it."""

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

    def unary(
        self,
        method: grpc.UnaryUnaryMultiCallable[Q, A],
        request: Q,
        *,
        timeout_s: float | None = None,
        metadata: Metadata = (),
        repeatable: bool = True,
    ) -> A:
        """The answer. What certainly did not happen is tried again until the time is over, and what may have
        happened only where it is `repeatable`. Raises CrownError, of the last attempt; OutcomeUnknown where
        an earlier one may have happened and no later one says more."""
        until = time.monotonic() + (self.patience.call_s if timeout_s is None else timeout_s)
        attempt = 0
        unknown: OutcomeUnknown | None = None
        while True:
            attempt += 1
            try:
                return self._attempt(method, request, until - time.monotonic(), metadata)
            except (Unavailable, InProgress, OutcomeUnknown) as error:
                if isinstance(error, OutcomeUnknown):
                    unknown = error
                pause = pause_s(attempt, error.retry_after_s, self.chance)
                if (unknown and not repeatable) or time.monotonic() + pause >= until:
                    raise last(error, unknown) from error.__cause__
            time.sleep(pause)

    def stream(self, method: grpc.UnaryStreamMultiCallable[Q, A], request: Q) -> Generator[A, None, None]:
        """What comes, until the caller stops or it breaks off. Nothing is tried again. Raises CrownError."""
        call = method(request, metadata=self.authorization())
        try:
            yield from call
        except grpc.RpcError as error:
            raise refusal(error) from error
        finally:
            call.cancel()

    def authorization(self) -> Metadata:
        """The metadata that says who calls."""
        token = self._token()
        return (("authorization", f"Bearer {token}"),) if token else ()

    def _attempt(
        self, method: grpc.UnaryUnaryMultiCallable[Q, A], request: Q, left_s: float, metadata: Metadata
    ) -> A:
        timeout_s = max(min(self.patience.attempt_s, left_s), 0.0)
        try:
            return method(request, timeout=timeout_s, metadata=(*metadata, *self.authorization()))
        except grpc.RpcError as error:
            raise refusal(error) from error


def refusal(error: grpc.RpcError) -> CrownError:
    """What a call failed with: what grpc raises is the call itself."""
    return refusals.from_call(cast(refusals.Failure, error))
