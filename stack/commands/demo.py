"""`crown demo`: sends one notification on every channel through the gateway, as a service would, then looks
where each has arrived. It prints only what it found there."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from rich.console import Console

from stack.control import Stack
from stack.errors import StackError
from stack.phoenix import Socket, joined
from stack.plan import GATEWAY
from stack.settings import LOOPBACK
from stack.stamps import moment
from stack.state import Health

USER = "user123"
ARRIVAL_LIMIT_S = 15.0

_LOOK_INTERVAL_S = 0.02
_CALL_LIMIT = aiohttp.ClientTimeout(total=10)


@dataclass(frozen=True, slots=True)
class Sent:
    """A notification that was accepted. `time` is when it was posted, in seconds since 1970."""

    type: str
    notification_id: str
    time: float
    accepted_ms: float


@dataclass(frozen=True, slots=True)
class Arrival:
    """Where a notification was found; `time` is when it got there, in seconds since 1970."""

    sent: Sent
    place: str
    time: float

    @property
    def after_ms(self) -> float:
        """From the POST to the arrival."""
        return (self.time - self.sent.time) * 1000


# Answers where and when a notification arrived; None while it has not.
Look = Callable[[Sent], Awaitable[tuple[str, float] | None]]


class Suite:
    """The running suite, from outside."""

    def __init__(self, stack: Stack, http: aiohttp.ClientSession) -> None:
        ports = stack.settings.ports
        self._http = http
        self._gateway = stack.address(GATEWAY)
        self._sandbox = f"http://{LOOPBACK}:{ports.sandbox}"
        self._mailbox = f"http://{LOOPBACK}:{ports.mailbox_http}"
        self._sender = {
            "Authorization": f"Bearer {stack.token(service='demo', scopes=['notifications.send'])}"
        }
        self._user_token = stack.token(user=USER)
        self._frames: dict[str, float] = {}

    def looks(self) -> dict[str, Look]:
        """Where to look for each type, in the order in which they are shown."""
        return {
            "real_time": self.frame,
            "push": self.push,
            "email": self.mail,
            "sms": self.sms,
            "in_app": self.inbox,
        }

    async def send(self, type_: str) -> Sent:
        """Sends one notification. Raises StackError with what the gateway refused."""
        data = {"title": "New Message", "message": f"A {type_} notification", "action_url": "/messages/123"}
        body = {"type": type_, "user_id": USER, "data": data}
        posted, began = time.time(), time.perf_counter()
        answer = await self._json("POST", "/api/v1/notifications", self._sender, json=body)
        return Sent(type_, answer["notification_id"], posted, (time.perf_counter() - began) * 1000)

    @asynccontextmanager
    async def socket(self) -> AsyncIterator[None]:
        """The user's socket, open and joined, while the block runs. Raises StackError."""
        async with joined(self._http, self._gateway, USER, self._user_token) as socket:
            reading = asyncio.create_task(self._read(socket))
            yield
            reading.cancel()

    async def frame(self, sent: Sent) -> tuple[str, float] | None:
        """The frame that the socket got."""
        arrived = self._frames.get(sent.notification_id)
        return None if arrived is None else (f"WebSocket frame on user:{USER}", arrived)

    async def push(self, sent: Sent) -> tuple[str, float] | None:
        """The message that Firebase, played by the sandbox, accepted."""
        return await self._effect(sent, "push at the sandbox, for device")

    async def sms(self, sent: Sent) -> tuple[str, float] | None:
        """The text message that Twilio, played by the sandbox, accepted."""
        return await self._effect(sent, "SMS at the sandbox, for")

    async def mail(self, sent: Sent) -> tuple[str, float] | None:
        """The letter in the mailbox."""
        found = await self._get(f"{self._mailbox}/messages?notification_id={sent.notification_id}")
        for letter in found["messages"]:
            return f"e-mail in the mailbox, for {', '.join(letter['to'])}", _seconds(letter["time"])
        return None

    async def inbox(self, sent: Sent) -> tuple[str, float] | None:
        """The entry in the history that the user reads, and when it was there to be read."""
        path = f"/api/v1/users/{USER}/notifications?page=1&limit=20"
        found = await self._json("GET", path, {"Authorization": f"Bearer {self._user_token}"})
        listed = {entry["notification_id"] for entry in found["notifications"]}
        return (f"entry in the inbox of {USER}", time.time()) if sent.notification_id in listed else None

    async def state(self, sent: Sent) -> str:
        """What the suite says became of it."""
        found = await self._json("GET", f"/api/v1/notifications/{sent.notification_id}", self._sender)
        states = [
            " ".join((one["state"], one["reason"])).strip() for one in found["notification"]["deliveries"]
        ]
        return ", ".join(states) or str(found["notification"]["status"])

    async def _effect(self, sent: Sent, what: str) -> tuple[str, float] | None:
        found = await self._get(f"{self._sandbox}/ledger?notification_id={sent.notification_id}")
        for effect in found["effects"]:
            return f"{what} {effect['recipient']}", _seconds(effect["time"])
        return None

    async def _read(self, socket: Socket) -> None:
        async for event, payload in socket:
            if event == "notification":
                self._frames.setdefault(payload["notification_id"], time.time())

    async def _json(self, method: str, path: str, headers: dict[str, str], **body: Any) -> Any:
        return await self._get(f"http://{self._gateway}{path}", method, headers=headers, **body)

    async def _get(self, url: str, method: str = "GET", **given: Any) -> Any:
        try:
            async with self._http.request(method, url, **given) as answer:
                if answer.status != 200:
                    text = (await answer.text())[:300]
                    raise StackError(f"{method} {url.partition('?')[0]} answered {answer.status}: {text}")
                return await answer.json()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise StackError(f"{method} {url.partition('?')[0]}: {error or 'no answer in time'}") from error


async def arrival(sent: Sent, look: Look) -> Arrival | None:
    """The arrival of a notification; None where it has not arrived in time."""
    limit = time.monotonic() + ARRIVAL_LIMIT_S
    while (found := await look(sent)) is None:
        if time.monotonic() > limit:
            return None
        await asyncio.sleep(_LOOK_INTERVAL_S)
    return Arrival(sent, *found)


async def tour(stack: Stack, console: Console) -> list[str]:
    """Sends, looks and prints. Answers what did not arrive, a line each."""
    async with aiohttp.ClientSession(timeout=_CALL_LIMIT) as http:
        suite = Suite(stack, http)
        async with suite.socket():
            _head(console, stack.address(GATEWAY))
            tours = [_one(suite, type_, look, console) for type_, look in suite.looks().items()]
            missing = await asyncio.gather(*tours)
    return [line for line in missing if line]


async def _one(suite: Suite, type_: str, look: Look, console: Console) -> str:
    sent = await suite.send(type_)
    found = await arrival(sent, look)
    if found is None:
        return f"{type_} ({sent.notification_id}: {await suite.state(sent)})"
    console.print(
        f"[bold]{type_:<10}[/]{sent.accepted_ms:>9.1f} ms [green]{found.after_ms:>9.1f} ms[/]  "
        f"[dim]{sent.notification_id}[/]  {found.place}"
    )
    return ""


def _head(console: Console, gateway: str) -> None:
    console.print(
        f"One notification of each type for {USER}, posted to http://{gateway}/api/v1/notifications"
    )
    console.print(f"[dim]{'type':<10}{'accepted':>12} {'arrived':>12}  {'notification_id':<36}  where[/]")


def _seconds(stamp: str) -> float:
    return moment(stamp).timestamp()


def _must_be_up(stack: Stack) -> None:
    if stack.supervisor_pid() is None:
        raise StackError("the stack is not up: `crown up` first")
    for name in (GATEWAY, "mailbox", "sandbox"):
        if stack.of(name).health is Health.EXTERNAL:
            raise StackError(f"the demo looks into {name}, which this stack takes from elsewhere")


def main() -> None:
    """Runs the tour against the stack of this environment. Raises StackError where something is missing."""
    stack = Stack()
    _must_be_up(stack)
    # Wide where nobody has a terminal: a line of a table must not be broken.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    began = time.monotonic()
    missing = asyncio.run(tour(stack, console))
    if missing:
        raise StackError(f"did not arrive within {ARRIVAL_LIMIT_S:g} s: {'; '.join(missing)}")
    console.print(f"Five of five arrived; the tour took {time.monotonic() - began:.1f} s.")
