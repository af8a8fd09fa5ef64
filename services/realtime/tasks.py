"""Tasks that nobody waits for, owned by one group."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from crown import logs

log = logs.get(__name__)

Spawn = Callable[[Coroutine[Any, Any, None]], object]


def spawner(group: asyncio.TaskGroup) -> Spawn:
    """A function that runs work in `group`. One piece of work that fails is logged, and does not end the others
    and with them the process."""

    def spawn(work: Coroutine[Any, Any, None]) -> object:
        return group.create_task(_guarded(work))

    return spawn


async def _guarded(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except Exception as error:
        log.error("task_failed", exc_info=error)
