"""Calls of the running suite as commands make them: through the gateway, with a token of the stack, and with the
suite's errors as one clear line."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc

from crown.client.calls import OPTIONS, Calls
from crown.errors import CrownError
from stack.control import Stack
from stack.errors import StackError
from stack.plan import GATEWAY

A = TypeVar("A")
Call = Callable[[grpc.aio.Channel, Calls], Awaitable[A]]


def address(stack: Stack) -> str:
    """Where the gateway is. Raises StackError where the stack is down."""
    if stack.supervisor_pid() is None:
        raise StackError("the stack is not up: `crown up` first")
    return stack.address(GATEWAY)


def ask(stack: Stack, token: str, call: Call[A]) -> A:
    """What `call` answers. Raises StackError with what the suite says."""
    return asyncio.run(asked(address(stack), token, call))


async def asked(target: str, token: str, call: Call[A]) -> A:
    """The same within a loop, for who asks several times."""
    async with grpc.aio.insecure_channel(target, options=OPTIONS) as channel:
        try:
            return await call(channel, Calls(lambda: token))
        except CrownError as error:
            raise StackError(f"{error.message} ({error.reason})") from error
