"""The link to NATS: how it is made, noticed to be gone, and made again, and questions over it. Of streams it knows
nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from crown import backtrace, logs, metrics, tracing, vitals
from crown.bus import rights
from crown.bus.errors import BusError
from crown.bus.messages import Outgoing
from crown.bus.replies import Replies
from crown.errors import BusUnavailable
from crown.settings import Settings

log = logs.get(__name__)

# Seconds after which a first connection is given up: whoever supervises us tries again, and sees that we do.
_CONNECT_TIMEOUT_S = 4.0
_CLOSE_TIMEOUT_S = 5.0
# Two of these unanswered, and the link is taken for dead.
_PING_INTERVAL_S = 5.0
_RECONNECT_PAUSE_S = 0.5
# Seconds in which another server of a cluster takes over a link that was lost, as when one is told to go.
_TAKE_OVER_S = 0.5
_LOOK_S = 0.02
# Seconds between two tries of what has to be done after a reconnect.
_RECOVER_PAUSE_S = 1.0


class Connection:
    """A link to NATS. `closed` is set when it is lost for good: end the process then."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.closed = asyncio.Event()
        # Whether this user may make streams and consumers.
        self.makes = True
        self._replies = Replies()
        self._on_reconnect: list[Callable[[], Awaitable[None]]] = []
        self._recovery: asyncio.Task[None] | None = None
        self._last_error = ""
        # When the link was lost, in monotonic seconds; None while it stands.
        self._lost: float | None = None

    async def open(self, settings: Settings, name: str) -> None:
        """Connects as `name`. Raises BusUnavailable."""
        try:
            # The client by itself would try for ever, also with a wrong password.
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await self.client.connect(
                    servers=[part.strip() for part in settings.nats_url.split(",")],
                    name=name,
                    user=settings.nats_user or None,
                    password=settings.nats_password.get_secret_value() or None,
                    inbox_prefix=rights.inbox_prefix(settings.nats_user),
                    # The defaults give up for good after two minutes and notice a dead link after four.
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=_RECONNECT_PAUSE_S,  # type: ignore[arg-type]
                    ping_interval=_PING_INTERVAL_S,  # type: ignore[arg-type]
                    max_outstanding_pings=2,
                    connect_timeout=3,
                    pending_size=8 << 20,
                    error_cb=self._on_error,
                    disconnected_cb=self._on_disconnected,
                    reconnected_cb=self._on_reconnected,
                    closed_cb=self._on_closed,
                )
                await self._replies.listen(self.client)
                await vitals.answer(self.client, name)
                self.makes = await rights.may_make(self.client)
        except (nats.errors.Error, OSError, TimeoutError) as error:
            why = self._last_error or type(error).__name__
            raise BusUnavailable(f"cannot connect to NATS, which NATS_URL names ({why})") from error

    @property
    def connected(self) -> bool:
        """True while the link to NATS stands."""
        return bool(self.client.is_connected)

    async def healthy(self) -> bool:
        """`connected`, as health checks ask it."""
        return self.connected

    async def back(self) -> bool:
        """Waits for a link that was lost just now, and says whether it stands again. At once where it has been gone
        for longer, or was not gone at all: False."""
        if self.connected:
            return False
        limit = (self._lost or time.monotonic()) + _TAKE_OVER_S
        # The client sets no event when its link goes: its callback comes some moments later.
        while not self.connected and time.monotonic() < limit:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_S)
        return self.connected

    @property
    def server_id(self) -> str:
        """Names this run of the server that the link leads to."""
        # The client keeps what the server said of itself, and has no public way to ask for this.
        return str(self.client._server_info.get("server_id", ""))

    def on_reconnect(self, action: Callable[[], Awaitable[None]]) -> None:
        """Runs `action` after each reconnect, behind those that were given before; again a second later where it
        raises BusError or BusUnavailable."""
        self._on_reconnect.append(action)

    async def close(self) -> None:
        """Drains subscriptions and publishes, then closes."""
        self._on_reconnect.clear()
        if self._recovery is not None:
            self._recovery.cancel()
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self.client.drain()
        except (nats.errors.Error, TimeoutError) as error:
            log.warning("bus_drain_failed", error=type(error).__name__)
            await self.client.close()

    async def ask(self, message: Outgoing, headers: Mapping[str, str], timeout_s: float) -> Msg:
        """What comes back for `message`. Raises TimeoutError, and BusUnavailable where it cannot be sent or NATS does
        not let this user publish there."""
        reply, answer = self._replies.expect(message.subject)
        try:
            async with asyncio.timeout(timeout_s):
                await self._send(message, headers, reply)
                return await answer
        finally:
            self._replies.forget(reply)

    async def write(self, commands: bytes) -> None:
        """Puts commands of NATS's protocol behind those on their way out. Raises BusUnavailable where the link is
        down."""
        if not self.connected:
            raise BusUnavailable("the bus is away")
        await self.client._send_command(commands)

    async def _send(self, message: Outgoing, headers: Mapping[str, str], reply: str) -> None:
        if not self.connected:
            # The client would keep it and send it later, though the caller has long been told "no".
            raise BusUnavailable("the bus is away")
        together = {tracing.HEADER: tracing.current(), **headers, **(message.headers or {})}
        try:
            await self.client.publish(message.subject, message.data, reply, headers=together)
        except nats.errors.Error as error:
            raise BusUnavailable(f"the bus is away ({type(error).__name__})") from error

    async def _on_error(self, error: Exception) -> None:
        words = str(error) if isinstance(error, nats.errors.Error) else ""
        if found := rights.forbidden(words):
            act, subject = found
            rights.note_forbidden(act, subject)
            self._replies.refuse(subject)
            return
        # The server's own words say more than how the link then broke.
        self._last_error = words or self._last_error or type(error).__name__
        log.warning("bus_error", error=words or type(error).__name__)

    async def _on_disconnected(self) -> None:
        metrics.BUS.set(0)
        self._lost = time.monotonic()
        log.warning("bus_disconnected")

    async def _on_reconnected(self) -> None:
        metrics.BUS.set(1)
        self._lost = None
        log.info("bus_reconnected")
        if self._recovery is not None:
            self._recovery.cancel()
        # Not here: the client waits for this callback, and JetStream may still be starting.
        self._recovery = asyncio.create_task(self._recover(), name="recover bus")

    async def _recover(self) -> None:
        left = list(self._on_reconnect)
        while left and self.connected:
            try:
                await left[0]()
                left.pop(0)
            except (BusError, BusUnavailable) as error:
                log.warning("bus_recovery_waits", error=backtrace.word(error))
                await asyncio.sleep(_RECOVER_PAUSE_S)

    async def _on_closed(self) -> None:
        metrics.BUS.set(0)
        self.closed.set()
