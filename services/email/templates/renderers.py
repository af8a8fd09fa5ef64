"""A few renderer processes for what operators wrote. One that takes too long, too much, or ends is replaced;
the service lives."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from crown import logs, metrics
from crown.rendering import Links
from services.email.templates.renderer import LENGTH, Done, Job
from services.email.templates.text import FAILED, TIMEOUT, TOO_LARGE, Rendered, TemplateError, Text

log = logs.get(__name__)

# Seconds until a renderer that says nothing is killed. It ends itself after one second of the processor; this is for
# one that got none.
WALL_MOST_S = 4.0
_START_MOST_S = 10.0
# Longer than this nobody waits for one that is free.
_WAIT_MOST_S = 5.0
_END_MOST_S = 2.0


class RenderersBusy(Exception):
    """There was no renderer for this; nothing is wrong with the template."""


class Renderers:
    """Up to `most` processes, started when they are first needed. `close` ends them."""

    def __init__(self, most: int = 2) -> None:
        self._free: asyncio.LifoQueue[_Renderer | None] = asyncio.LifoQueue()
        for _ in range(most):
            self._free.put_nowait(None)
        self._running: set[_Renderer] = set()
        # Killed, and perhaps not gone yet.
        self._ending: list[_Renderer] = []

    async def render(self, text: Text, values: Mapping[str, Any], links: Links) -> Rendered:
        """What the template says. Raises TemplateError, and RenderersBusy."""
        done = await self._do(Job(text, dict(values), links.public_url, list(links.hosts)))
        assert done.rendered is not None
        return done.rendered

    async def close(self) -> None:
        """Ends the processes."""
        ending = [*self._running, *self._ending]
        for renderer in ending:
            renderer.kill()
        for renderer in ending:
            await renderer.ended(_END_MOST_S)
        self._running.clear()
        self._ending.clear()

    async def _do(self, job: Job) -> Done:
        raw = msgspec.msgpack.encode(job)
        try:
            done = await self._once(raw)
        except _Ended:
            # Of something else than this job, perhaps while it was idle. Twice in a row is no accident.
            try:
                done = await self._once(raw)
            except _Ended:
                raise TemplateError(FAILED) from None
        if done.reason:
            raise TemplateError(done.reason, tuple(done.flaws))
        return done

    async def _once(self, raw: bytes) -> Done:
        renderer = await self._take()
        try:
            renderer = renderer or await self._start()
            return await renderer.ask(raw)
        except BaseException:
            # Nobody knows what it would answer next.
            if renderer is not None:
                self._lose(renderer)
                renderer = None
            raise
        finally:
            self._free.put_nowait(renderer)

    def _lose(self, renderer: _Renderer) -> None:
        renderer.kill()
        self._running.discard(renderer)
        self._ending = [one for one in [*self._ending, renderer] if one.status() is None]

    async def _take(self) -> _Renderer | None:
        try:
            async with asyncio.timeout(_WAIT_MOST_S):
                return await self._free.get()
        except TimeoutError:
            raise RenderersBusy from None

    async def _start(self) -> _Renderer:
        try:
            renderer = await _Renderer.start()
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            log.error("renderer_not_started", error=type(error).__name__)
            raise RenderersBusy from error
        self._running.add(renderer)
        return renderer


class _Ended(Exception):
    """A renderer is gone, and nobody knows why."""


class _Renderer:
    """One process, at the other end of a socket."""

    def __init__(
        self, process: subprocess.Popen[bytes], out: asyncio.StreamReader, into: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._out, self._in = out, into
        self._decoder = msgspec.msgpack.Decoder(Done)

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @classmethod
    async def start(cls) -> _Renderer:
        """Starts one, with nothing of our environment but where modules are. Raises OSError, TimeoutError and
        IncompleteReadError."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.to_thread(_spawned, theirs)
        renderer = cls(process, *await asyncio.open_unix_connection(sock=ours))
        try:
            async with asyncio.timeout(_START_MOST_S):
                await renderer._read()
        except BaseException:
            renderer.kill()
            raise
        return renderer

    async def ask(self, raw: bytes) -> Done:
        """Does one job. Raises TemplateError where the job ended it, and _Ended where something else did."""
        try:
            async with asyncio.timeout(WALL_MOST_S):
                self._in.write(LENGTH.pack(len(raw)) + raw)
                await self._in.drain()
                return self._decoder.decode(await self._read())
        except TimeoutError:
            why = TIMEOUT
        except (asyncio.IncompleteReadError, ConnectionError, msgspec.DecodeError):
            why = await self._why_ended()
        log.warning("renderer_lost", reason=why or "ended")
        metrics.RENDERERS_LOST.labels(why or "ended").inc()
        if not why:
            raise _Ended
        raise TemplateError(why)

    async def _read(self) -> bytes:
        head = await self._out.readexactly(LENGTH.size)
        return await self._out.readexactly(LENGTH.unpack(head)[0])

    async def _why_ended(self) -> str:
        """What that says of the template; empty where nothing."""
        # Its end of the socket is closed, so that it has ended or is just about to.
        match await self.ended(_END_MOST_S):
            case code if code == -signal.SIGPROF:
                return TIMEOUT
            case code if code in {-signal.SIGABRT, -signal.SIGSEGV}:
                # Out of memory or stack where no exception could be made of it.
                return TOO_LARGE
            case _:
                return ""

    def status(self) -> int | None:
        """How it ended; None where it has not."""
        return self._process.poll()

    async def ended(self, within_s: float) -> int | None:
        """How it ended, as soon as it has; None where it does not."""
        with suppress(subprocess.TimeoutExpired):
            return await asyncio.to_thread(self._process.wait, within_s)
        return None

    def kill(self) -> None:
        """Ends it at once."""
        self._in.close()
        self._process.kill()


def _spawned(theirs: socket.socket) -> subprocess.Popen[bytes]:
    """A process that speaks over `theirs`. Not by asyncio: uvloop forks, and what grpc does at a fork ends some
    of the children."""
    return subprocess.Popen(
        (sys.executable, "-m", "services.email.templates.renderer"),
        stdin=theirs.fileno(),
        stdout=theirs.fileno(),
        stderr=subprocess.DEVNULL,
        env={"PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)},
        start_new_session=True,
    )
