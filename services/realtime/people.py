"""Who is connected to this process, on any transport: a person's connections are found without looking at all
others, and counted over all nodes."""

from __future__ import annotations

import asyncio
from typing import Protocol

from crown import logs
from crown.auth import Principal
from crown.revocations import Disconnect
from services.realtime import closecodes
from services.realtime.closecodes import Close
from services.realtime.tasks import Spawn

log = logs.get(__name__)

_REGISTER_TIMEOUT_S = 2.0


class Present(Protocol):
    """One client that is connected, on any transport."""

    @property
    def id(self) -> str:
        """What it is called, on every node."""

    @property
    def principal(self) -> Principal:
        """Who it is."""

    def close(self, why: Close) -> None:
        """Closes it; nothing where it is closing."""


class Registry(Protocol):
    """The connections of people on all nodes."""

    async def register(self, user_id: str, socket_id: str) -> int:
        """Notes a connection, and answers how many the person has with it on nodes that live."""

    def unregister(self, user_id: str, socket_id: str) -> None:
        """Forgets a connection, soon; nothing where it is not known."""


class People:
    """The connections of people; those of services and operators are not counted. Each person may have
    `most_each`, 0 is no limit: on all nodes where a registry counts them, else here."""

    def __init__(self, spawn: Spawn, most_each: int = 0, registry: Registry | None = None) -> None:
        self._spawn = spawn
        self._most_each = most_each
        self._registry = registry
        self._here: dict[str, set[Present]] = {}
        self._uncounted = False

    def __len__(self) -> int:
        """How many people there are."""
        return len(self._here)

    def of(self, user_id: str) -> list[Present]:
        """A person's connections."""
        return list(self._here.get(user_id, ()))

    def end(self, what: Disconnect) -> None:
        """Closes a person's connections, or those of one session of theirs. Those of services and operators are not
        here."""
        for connection in self.of(what.subject):
            if what.concerns(connection.principal):
                connection.close(closecodes.REVOKED if what.revoked else closecodes.AGAIN)

    def arrive(self, connection: Present) -> None:
        """Takes one in; closes it at once or soon where it is one too many."""
        principal = connection.principal
        if principal.use != "user":
            return
        here = self._here.setdefault(principal.subject, set())
        here.add(connection)
        if self._registry is None:
            self._judge(connection, len(here))
        else:
            self._spawn(self._register(self._registry, principal.subject, connection, len(here)))

    def leave(self, connection: Present) -> None:
        """Lets one go."""
        user_id = connection.principal.subject
        here = self._here.get(user_id, set())
        if connection not in here:
            return
        here.remove(connection)
        if not here:
            del self._here[user_id]
        if self._registry is not None:
            self._registry.unregister(user_id, connection.id)

    def _judge(self, connection: Present, count: int) -> None:
        if self._most_each and count > self._most_each:
            connection.close(closecodes.TOO_MANY)

    async def _register(self, registry: Registry, user_id: str, connection: Present, here: int) -> None:
        # Beside the handshake and the joins, which must not wait for it.
        try:
            async with asyncio.timeout(_REGISTER_TIMEOUT_S):
                count = await registry.register(user_id, connection.id)
            self._tell(counted=True)
        except Exception as error:
            self._tell(counted=False, error=type(error).__name__)
            count = here
        if connection in self._here.get(user_id, ()):
            self._judge(connection, count)
        else:
            registry.unregister(user_id, connection.id)

    def _tell(self, counted: bool, error: str = "") -> None:
        if counted and self._uncounted:
            log.info("connections_counted")
        elif not counted and not self._uncounted:
            log.warning("connections_uncounted", error=error)
        self._uncounted = not counted
