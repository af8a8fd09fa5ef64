"""The bus: one connection to NATS, streams as crown/subjects.py says, publishing that answers when the bytes
are fsynced, and atomic batches. Pulling stands in crown/pull.py."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from crown import logs, metrics, subjects, tracing, vitals
from crown.errors import BusUnavailable, IntakeFull, OutcomeUnknown
from crown.settings import Settings

log = logs.get(__name__)

BATCH_MOST = 1_000
_PIPELINED = 250
_API = "$JS.API"
# JetStream's codes for a stream at its bound.
_FULL = {10077, 10167}
_API_TIMEOUT_S = 5.0
# What a stream is made with and keeps.
_LASTING = frozenset({"num_replicas", "persist_mode"})
# Seconds after which a first connection is given up: whoever supervises us tries again, and sees that we do.
_CONNECT_TIMEOUT_S = 4.0
# Two of these unanswered, and the link is taken for dead.
_PING_INTERVAL_S = 5.0
# Seconds in which another server of a cluster takes over a link that was lost, as when one is told to go.
_TAKE_OVER_S = 0.5
_LOOK_S = 0.02
# Seconds between two tries to make streams and consumers what they have to be after a reconnect.
_RECOVER_PAUSE_S = 1.0
# Where NATS tells a user what it may do, and what it says to one who did something else.
RIGHTS = "$SYS.REQ.USER.INFO"
_RIGHTS_TIMEOUT_S = 2.0
_FORBIDDEN = re.compile(r'permissions violation for (publish|subscription) to "([^"]*)"', re.IGNORECASE)
_NO_STREAM = 10059
_NO_CONSUMER = 10014


class _Error(msgspec.Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class PubAck(msgspec.Struct):
    """JetStream's word that a message, or a whole batch, is stored."""

    stream: str = ""
    seq: int = 0
    duplicate: bool = False
    count: int = 0
    error: _Error | None = None


class _Publish(msgspec.Struct):
    allow: list[str] | None = None


class _Permissions(msgspec.Struct):
    publish: _Publish = msgspec.field(default_factory=_Publish)


class _User(msgspec.Struct):
    permissions: _Permissions = msgspec.field(default_factory=_Permissions)


class _Rights(msgspec.Struct):
    """What the server answers to a user who asks what it may do; nothing said is nothing forbidden."""

    data: _User = msgspec.field(default_factory=_User)


class BusError(Exception):
    """JetStream refused; `err_code` is its number for why."""

    def __init__(self, err_code: int, description: str) -> None:
        super().__init__(f"{description} ({err_code})")
        self.err_code = err_code


_PUB_ACK = msgspec.json.Decoder(PubAck)
_RIGHTS_TOLD = msgspec.json.Decoder(_Rights)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to publish."""

    subject: str
    data: bytes
    headers: Mapping[str, str] | None = None


class Bus:
    """A connection to NATS with JetStream. `closed` is set when it is lost for good: end the process then."""

    def __init__(self, client: Client, streams: Sequence[Mapping[str, Any]]) -> None:
        self.client = client
        self.closed = asyncio.Event()
        self._streams = streams
        # Who waits for an answer: the subject that was asked, and where the answer goes.
        self._acks: dict[str, tuple[str, asyncio.Future[Msg]]] = {}
        self._tokens = itertools.count()
        self._inbox = ""
        # Whether this user may make streams and consumers.
        self._makes = True
        self._on_reconnect: list[Callable[[], Awaitable[None]]] = []
        self._recovery: asyncio.Task[None] | None = None
        self._last_error = ""
        # When the link was lost, in monotonic seconds; None while it stands.
        self._lost: float | None = None
        self._pipeline = asyncio.Lock()

    @classmethod
    async def connect(cls, settings: Settings, name: str) -> Bus:
        """Connects, and makes the streams what crown/subjects.py says where the user may. Raises BusUnavailable."""
        bus = cls(Client(), subjects.streams(settings.stream_max_bytes, settings.stream_replicas))
        try:
            await bus._connect(settings, name)
            await bus.ensure()
        except (BusError, BusUnavailable):
            await bus.client.close()
            raise
        metrics.BUS.set(1)
        return bus

    async def _connect(self, settings: Settings, name: str) -> None:
        try:
            # The client by itself would try for ever, also with a wrong password.
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await self.client.connect(
                    servers=[part.strip() for part in settings.nats_url.split(",")],
                    name=name,
                    user=settings.nats_user or None,
                    password=settings.nats_password.get_secret_value() or None,
                    # Each user hears answers below a prefix of its own, so that none reads those of another.
                    inbox_prefix=inbox_prefix(settings.nats_user),
                    # The defaults give up for good after two minutes and notice a dead link after four.
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=0.5,  # type: ignore[arg-type]
                    ping_interval=_PING_INTERVAL_S,  # type: ignore[arg-type]
                    max_outstanding_pings=2,
                    connect_timeout=3,
                    pending_size=8 << 20,
                    error_cb=self._on_error,
                    disconnected_cb=self._on_disconnected,
                    reconnected_cb=self._on_reconnected,
                    closed_cb=self._on_closed,
                )
                self._inbox = self.client.new_inbox()
                await self.client.subscribe(f"{self._inbox}.*", cb=self._on_ack)
                await vitals.answer(self.client, name)
                self._makes = await self._may_make()
        except (nats.errors.Error, OSError, TimeoutError) as error:
            why = self._last_error or type(error).__name__
            raise BusUnavailable(f"cannot connect to NATS, which NATS_URL names ({why})") from error

    @property
    def connected(self) -> bool:
        """True while the link to NATS stands."""
        return bool(self.client.is_connected)

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

    async def healthy(self) -> bool:
        """`connected`, as health checks ask it."""
        return self.connected

    def on_reconnect(self, action: Callable[[], Awaitable[None]]) -> None:
        """Runs `action` after each reconnect."""
        self._on_reconnect.append(action)

    async def close(self) -> None:
        """Drains subscriptions and publishes, then closes."""
        self._on_reconnect.clear()
        if self._recovery is not None:
            self._recovery.cancel()
        try:
            async with asyncio.timeout(_API_TIMEOUT_S):
                await self.client.drain()
        except (nats.errors.Error, TimeoutError) as error:
            log.warning("bus_drain_failed", error=type(error).__name__)
            await self.client.close()

    # -- streams and consumers

    async def api(self, call: str, request: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A call of JetStream's API. Raises BusError with its error code; BusUnavailable."""
        body = msgspec.json.encode(request) if request is not None else b""
        try:
            answer = await self._answer(Outgoing(f"{_API}.{call}", body), {}, _API_TIMEOUT_S)
        except TimeoutError as error:
            raise BusUnavailable("JetStream does not answer in time") from error
        if _nobody(answer):
            raise BusUnavailable("JetStream does not answer: nobody listens")
        found: dict[str, Any] = msgspec.json.decode(answer.data)
        if "error" in found:
            raise BusError(found["error"].get("err_code", 0), found["error"].get("description", ""))
        return found

    async def ensure(self) -> None:
        """Makes every stream what it has to be; one that is so already is left alone. Who may not make streams leaves
        it to `prepare`, which may."""
        if not self._makes:
            return
        for wanted in self._streams:
            await self._ensure_stream({"storage": "file", "retention": "limits", **wanted})

    async def _ensure_stream(self, wanted: dict[str, Any]) -> None:
        name = wanted["name"]
        try:
            found = (await self.api(f"STREAM.INFO.{name}"))["config"]
        except BusError as error:
            if error.err_code != _NO_STREAM:
                raise
            # Two services may come here at once: the second finds the same settings and is content.
            await self.api(f"STREAM.CREATE.{name}", wanted)
            return
        # Moving a stream between one server and several is the operator's: what it holds has to be copied.
        changed = {k: v for k, v in wanted.items() if k not in _LASTING and found.get(k) != v}
        if changed:
            log.warning("stream_changed", stream=name, settings=sorted(changed))
            await self.api(f"STREAM.UPDATE.{name}", {**found, **changed})

    async def ensure_consumer(self, consumer: subjects.Consumer) -> None:
        """Makes `consumer` what it has to be; work that is under way goes on. Who may not make consumers looks
        whether it is there, and raises BusUnavailable where it is not."""
        if not self._makes:
            await self._look_for(consumer)
            return
        request = {"stream_name": consumer.stream, "config": consumer.settings()}
        await self.api(f"CONSUMER.DURABLE.CREATE.{consumer.stream}.{consumer.name}", request)

    async def _look_for(self, consumer: subjects.Consumer) -> None:
        try:
            await self.api(f"CONSUMER.INFO.{consumer.stream}.{consumer.name}")
        except BusError as error:
            if error.err_code not in {_NO_STREAM, _NO_CONSUMER}:
                raise
            raise BusUnavailable(
                f"{consumer.stream} has no consumer {consumer.name}: `python -m services.ingest prepare` makes it"
            ) from error

    async def _may_make(self) -> bool:
        """Whether the server lets this user make streams and consumers. True where it does not say."""
        try:
            answer = await self.client.request(RIGHTS, b"", timeout=_RIGHTS_TIMEOUT_S)
        except (nats.errors.Error, TimeoutError):
            return True
        allowed = _RIGHTS_TOLD.decode(answer.data).data.permissions.publish.allow
        wanted = f"{_API}.STREAM.CREATE.{subjects.DEAD}"
        return allowed is None or any(subjects.covers(pattern, wanted) for pattern in allowed)

    # -- publishing

    async def publish(self, message: Outgoing, timeout_s: float = 2.0) -> PubAck:
        """Publishes and waits until it is stored. Raises IntakeFull, BusUnavailable or BusError where it is
        not, OutcomeUnknown where nobody can say: publish the same again then."""
        return await self._confirm(message, {}, timeout_s)

    async def publish_batch(self, messages: list[Outgoing], timeout_s: float = 5.0) -> None:
        """Publishes 1 to 1,000 messages of one stream: all are stored, or none. Raises as `publish`."""
        if len(messages) == 1:
            await self.publish(messages[0], timeout_s)
            return
        batch = os.urandom(12).hex()
        whole = b"".join(
            _command(message, f"Nats-Batch-Id: {batch}\r\nNats-Batch-Sequence: {number}\r\n")
            for number, message in enumerate(messages[:-1], 1)
        )
        last = {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(len(messages)), "Nats-Batch-Commit": "1"}
        await self._write(whole)
        await self._confirm(messages[-1], last, timeout_s)

    async def publish_many(self, messages: Iterable[Outgoing]) -> None:
        """Publishes any number of messages of one stream, in batches, one after another. Raises as
        `publish`; the batches before the one that failed are stored."""
        pending = iter(messages)
        while part := list(itertools.islice(pending, BATCH_MOST)):
            await self.publish_batch(part)

    async def publish_all(self, messages: Iterable[Outgoing], timeout_s: float = 5.0) -> None:
        """Publishes any number of messages to a stream that takes no batches and refuses nothing. Raises as
        `publish`; then some may be stored. The server stores what one connection brings in its order, so that it is
        asked for its word about the last of each few hundred only: a word for each costs more than all else."""
        pending = iter(messages)
        # So many of this process at a time: the server drops what comes when 10,000 wait to be stored, and what is
        # urgent waits behind those that came before it.
        async with self._pipeline:
            while part := list(itertools.islice(pending, _PIPELINED)):
                await self._write(b"".join(_command(message, "") for message in part[:-1]))
                await self._confirm(part[-1], {}, timeout_s)

    async def tell(self, messages: Iterable[Outgoing]) -> None:
        """Publishes, in one write, to those who listen at this moment: nothing keeps it and nobody confirms it.
        Raises BusUnavailable where the link is down."""
        whole = b"".join(_command(message, "") for message in messages)
        if whole:
            await self._write(whole)
            await self.client._flush_pending()

    async def _write(self, commands: bytes) -> None:
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

    async def _confirm(self, message: Outgoing, headers: Mapping[str, str], timeout_s: float) -> PubAck:
        try:
            return _read_ack(await self._answer(message, headers, timeout_s))
        except TimeoutError:
            raise OutcomeUnknown("the bus did not confirm in time") from None

    async def _answer(self, message: Outgoing, headers: Mapping[str, str], timeout_s: float) -> Msg:
        """What comes back for `message`. Raises TimeoutError, and BusUnavailable where it cannot be sent or NATS does
        not let this user publish there."""
        token = str(next(self._tokens))
        future: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._acks[token] = message.subject, future
        try:
            async with asyncio.timeout(timeout_s):
                await self._send(message, headers, f"{self._inbox}.{token}")
                return await future
        finally:
            self._acks.pop(token, None)

    async def _on_ack(self, message: Msg) -> None:
        _, future = self._acks.get(message.subject.rpartition(".")[2], ("", None))
        if future is not None and not future.done():
            future.set_result(message)

    # -- the link

    async def _on_error(self, error: Exception) -> None:
        words = str(error) if isinstance(error, nats.errors.Error) else ""
        if found := _FORBIDDEN.search(words):
            self._note_forbidden(found[1], found[2])
            return
        # The server's own words say more than how the link then broke.
        self._last_error = words or self._last_error or type(error).__name__
        log.warning("bus_error", error=words or type(error).__name__)

    def _note_forbidden(self, act: str, subject: str) -> None:
        """NATS does not let this user do what our code does: whoever set up its rights has to hear of it, and who
        waits for an answer that will not come."""
        metrics.BUS_FORBIDDEN.labels(act).inc()
        log.error("bus_forbidden", act=act, subject=_shortened(subject))
        for asked, future in self._acks.values():
            if asked.lower() == subject.lower() and not future.done():
                future.set_exception(BusUnavailable("NATS does not let this user publish there"))

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
        """Brings streams, which may be gone with their disk, and consumers back."""
        left = [self.ensure, *self._on_reconnect]
        while left and self.connected:
            try:
                await left[0]()
                left.pop(0)
            except (BusError, BusUnavailable) as error:
                log.warning("bus_recovery_waits", error=str(error))
                await asyncio.sleep(_RECOVER_PAUSE_S)

    async def _on_closed(self) -> None:
        metrics.BUS.set(0)
        self.closed.set()


def _command(message: Outgoing, headers: str) -> bytes:
    """`message` as NATS reads it from the wire. The client's own way checks each name and value of each header
    again, which costs more than all else that is done with a notification of a batch."""
    rest = "".join(f"{name}: {value}\r\n" for name, value in (message.headers or {}).items())
    if not headers and not rest:
        return b"PUB %b %d\r\n%b\r\n" % (message.subject.encode(), len(message.data), message.data)
    head = f"NATS/1.0\r\n{headers}{rest}\r\n".encode()
    size = len(head)
    return b"HPUB %b %d %d\r\n%b%b\r\n" % (
        message.subject.encode(),
        size,
        size + len(message.data),
        head,
        message.data,
    )


def inbox_prefix(user: str) -> str:
    """Below what `user` of NATS hears answers; without one, what everybody takes."""
    return f"_INBOX_{user}" if user else "_INBOX"


def _shortened(subject: str) -> str:
    """A subject without what it says of people, which stands behind the kind of topic."""
    return ".".join(subject.split(".")[: 6 if subject.startswith("$") else 3])


def _nobody(message: Msg) -> bool:
    """Whether the answer is the server's own word that nobody listens there."""
    return bool(message.headers) and (message.headers or {}).get("Status") == "503"


def _read_ack(message: Msg) -> PubAck:
    if _nobody(message):
        raise BusUnavailable("no stream takes this subject now")
    ack = _PUB_ACK.decode(message.data)
    if ack.error is not None:
        if ack.error.err_code in _FULL:
            raise IntakeFull("the stream is full; retry later")
        raise BusError(ack.error.err_code, ack.error.description)
    return ack
