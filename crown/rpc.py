"""The server that every service runs: its RPCs behind the door, health, reflection, metrics, and a drain on
SIGTERM. `run` is the whole life of a process."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NoReturn

import grpc
import uvloop
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from crown import (
    auth,
    backtrace,
    catalogue,
    failpoint,
    logs,
    loop_lag,
    metrics,
    reflection,
    reporting,
    tls,
    tracing,
    uncaught,
)
from crown.door import Check, Door
from crown.errors import CrownError
from crown.open_streams import OpenStreams
from crown.revocations import Revocations
from crown.settings import ProcessSettings, SettingsError, TokenSettings, exit_with

log = logs.get(__name__)

HEALTH_PERIOD_S = 5.0
# What health says of the process alone: that its loop turns. Whoever restarts what hangs asks for this and not for
# the whole, which says no while a store is away: a restart does not bring that back.
ALIVE = "alive"
# Objects made and not freed between two looks for cycles.
_GARBAGE_MOST = 20_000
# Seconds between telling the world that we are going and refusing new calls: balancers need to notice.
GOING_S = 0.2
# Seconds that a process that is done waits for its last spans to get to the collector.
_LAST_SPANS_S = 1.0
_OPTIONS = (
    ("grpc.max_receive_message_length", 5 << 20),
    ("grpc.max_metadata_size", 16 << 10),
    ("grpc.so_reuseport", 1),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.max_concurrent_streams", 1_000),
    # Long-lived callers are moved to other replicas now and then.
    ("grpc.max_connection_age_ms", 1_800_000),
    ("grpc.max_connection_age_grace_ms", 60_000),
)

# True while the process can do its work; polled, and told as gRPC health.
Healthy = Callable[[], Awaitable[bool]]


class HealthServer:
    """A gRPC server with health and reflection, for a process that nobody calls for anything else."""

    def __init__(self, settings: ProcessSettings, authenticator: auth.Authenticator | None = None) -> None:
        self._settings = settings
        self._identity = tls.identity(settings)
        guards: list[grpc.aio.ServerInterceptor] = []
        if self._identity:
            guards.append(tls.Callers(tls.callers(settings.tls_callers)))
        if settings.reflection == "operator":
            guards.append(reflection.ForOperators(authenticator))
        self._server = grpc.aio.server(options=_OPTIONS, interceptors=guards)
        self._probed: grpc.aio.Server | None = None
        self.health = health.aio.HealthServicer()
        self._names: list[str] = [health.SERVICE_NAME, reflection.SERVICE_NAME]
        self._own: list[str] = [""]
        self._ready: bool | None = None
        # Set when new calls are about to be refused.
        self.going = asyncio.Event()

    def describe(self, names: Iterable[str]) -> None:
        """Makes reflection list these services too; the gateway's one answers for the whole suite."""
        self._names.extend(name for name in names if name not in self._names)

    @asynccontextmanager
    async def serving(self, healthy: Healthy) -> AsyncIterator[None]:
        """Serves while the block runs, and tells health as `healthy` sees it; drains when the block ends."""
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        reflection.enable(self._names, self._server)
        credentials = self._identity.server_credentials() if self._identity else None
        self._listen(self._server, "CROWN_GRPC_PORT", self._settings.grpc_port, credentials)
        if self._settings.health_port:
            self._probed = grpc.aio.server(options=_OPTIONS)
            health_pb2_grpc.add_HealthServicer_to_server(self.health, self._probed)
            self._listen(self._probed, "CROWN_HEALTH_PORT", self._settings.health_port, None)
        await self.health.set(ALIVE, health_pb2.HealthCheckResponse.SERVING)
        for name in self._own:
            # Until the first look, which may take a while, nobody is to send us anything.
            await self.health.set(name, health_pb2.HealthCheckResponse.NOT_SERVING)
        await self._server.start()
        if self._probed is not None:
            await self._probed.start()
        watch = asyncio.create_task(self._watch(healthy), name="health")
        try:
            yield
        finally:
            watch.cancel()
            await self.health.enter_graceful_shutdown()
            await asyncio.sleep(GOING_S)
            self.going.set()
            await self._server.stop(self._settings.grace_s)
            if self._probed is not None:
                await self._probed.stop(0)

    def _listen(
        self, server: grpc.aio.Server, setting: str, port: int, credentials: grpc.ServerCredentials | None
    ) -> None:
        address = f"{self._settings.bind}:{port}"
        try:
            if credentials is None:
                server.add_insecure_port(address)
            else:
                server.add_secure_port(address, credentials)
        except RuntimeError:
            raise SettingsError([f"{setting}: cannot listen on {address}; is the port taken?"]) from None

    async def _watch(self, healthy: Healthy) -> None:
        while True:
            try:
                async with asyncio.timeout(HEALTH_PERIOD_S * 0.9):
                    ready = await healthy()
            except Exception as error:
                # Whatever keeps us from telling is a reason to say no.
                log.warning("health_check_failed", error=type(error).__name__)
                ready = False
            await self._tell(ready)
            await asyncio.sleep(HEALTH_PERIOD_S if ready else HEALTH_PERIOD_S / 5)

    @property
    def ready(self) -> bool:
        """What was last told; False until then."""
        return bool(self._ready)

    async def _tell(self, ready: bool) -> None:
        if ready == self._ready:
            return
        self._ready = ready
        metrics.READY.set(ready)
        log.info("health_changed", ready=ready)
        known = health_pb2.HealthCheckResponse
        for name in self._own:
            await self.health.set(name, known.SERVING if ready else known.NOT_SERVING)


class Server(HealthServer):
    """A gRPC server with health, reflection, and RPCs behind the door. `add` the servicers, then `serving`."""

    def __init__(self, settings: TokenSettings, revocations: Revocations | None) -> None:
        """Tokens that `revocations` know of are refused; None where nobody is served but by health and reflection,
        or there is no bus to hear of them."""
        keys = auth.Keys(settings.jwks)
        self.authenticator = auth.Authenticator(keys, settings.jwt_issuer, settings.jwt_audience)
        super().__init__(settings, self.authenticator)
        streams = OpenStreams()
        self.authenticator.on_withdrawn(streams.withdraw)
        self._door = Door(self.authenticator, going=self.going, streams=streams)
        self._revocations = revocations
        if revocations is not None:
            self.authenticator.refuse(revocations.refuses)
            revocations.on_disconnect(streams.cut_off)

    @asynccontextmanager
    async def serving(self, healthy: Healthy) -> AsyncIterator[None]:
        """See HealthServer; meanwhile the keys of tokens are as they are published, and what was revoked is known.
        Raises BusUnavailable where that cannot be read."""
        watches = [self.authenticator.watch()]
        if self._revocations is not None:
            await self._revocations.start()
            watches.append(self._revocations.watch())
        tasks = [asyncio.create_task(watch, name="trust") for watch in watches]
        try:
            async with super().serving(healthy):
                yield
        finally:
            for task in tasks:
                task.cancel()

    def add(
        self, service: ServiceDescriptor, servicer: object, checks: Mapping[str, Check] | None = None
    ) -> None:
        """Serves the RPCs of `service`; `checks` as the door takes them."""
        self._server.add_generic_rpc_handlers((self._door.handlers(service, servicer, checks or {}),))
        self._own.append(service.full_name)
        self.describe([service.full_name])


async def until(stopping: asyncio.Event, lost: asyncio.Event) -> None:
    """Returns when `stopping` is set. Ends the process where `lost` is set first: a connection that is gone
    for good cannot be mended from within, and whoever supervises us starts anew."""
    waits = {asyncio.create_task(event.wait()) for event in (stopping, lost)}
    _, left = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in left:
        wait.cancel()
    if lost.is_set() and not stopping.is_set():
        log.error("connection_lost")
        os._exit(1)


def run(name: str, settings_type: type[Any], main: Callable[[Any, asyncio.Event], Awaitable[None]]) -> None:
    """The life of a service process: settings, logs, metrics, then `main(settings, stopping)`, which returns
    once `stopping` is set (by SIGTERM or SIGINT) and its work is drained."""
    try:
        settings = settings_type.load()
        logs.set_up(
            name, settings.log_level, reporting.reporter(name, settings.sentry_dsn.get_secret_value())
        )
        uncaught.hear()
        failpoint.arm(settings.failpoint)
        # Not every process works with the bus and the stores.
        catalogue.lay_over(getattr(settings, "catalogue", ""))
        _must_read_keys(getattr(settings, "jwks", ""))
        _serve_metrics(name, settings)
        with _traced(name, settings):
            uvloop.run(_until_stopped(main, settings))
    except SettingsError as error:
        exit_with(error)
    except OSError as error:
        log.error("ended", exc_info=error)
        os._exit(1)
    except (CrownError, ExceptionGroup) as error:
        _end(error)
    # Threads of libraries must not keep a drained process alive.
    reporting.flush()
    os._exit(0)


def _must_read_keys(source: str) -> None:
    problem = auth.problem_of(source) if source else ""
    if problem:
        raise SettingsError([f"CROWN_JWKS: {problem}"])


def _serve_metrics(name: str, settings: ProcessSettings) -> None:
    try:
        metrics.serve(name, settings.metrics_port, settings.bind)
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise SettingsError(["CROWN_BIND: is no address of this machine"]) from None
        where = f"{settings.bind}:{settings.metrics_port}"
        raise SettingsError(
            [f"CROWN_METRICS_PORT: cannot listen on {where} ({error.strerror}); is the port taken?"]
        ) from None


@contextmanager
def _traced(name: str, settings: ProcessSettings) -> Iterator[None]:
    """Has spans sent to the collector, where there is one, while the block runs."""
    if not settings.otlp_endpoint:
        yield
        return
    # Late: without a collector nothing of it is loaded.
    from crown import otlp

    headers = otlp.pairs(settings.otlp_headers.get_secret_value())
    exporter = otlp.Exporter(settings.otlp_endpoint, headers, otlp.resource(name, settings.otlp_resource))
    tracing.record(exporter, settings.trace_ratio)
    try:
        yield
    finally:
        exporter.close(_LAST_SPANS_S)


def _end(error: Exception) -> NoReturn:
    """Ends the process where it cannot work, with one line; whoever supervises us tries again."""
    while isinstance(error, ExceptionGroup):
        # The first is the cause; the others followed from it.
        error = error.exceptions[0]
    if isinstance(error, CrownError):
        log.error("ended", reason=error.reason, why=backtrace.word(error))
    else:
        log.error("ended", exc_info=error)
    reporting.flush()
    os._exit(1)


async def _until_stopped(main: Callable[[Any, asyncio.Event], Awaitable[None]], settings: Any) -> None:
    stopping = asyncio.Event()
    # What is loaded by now stays, and calls make much garbage that is no cycle: by default the collector would
    # go through all of it again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE_MOST, 20, 50)
    uncaught.hear_loop()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    with loop_lag.measured(metrics.LOOP_LAG.observe), logs.repeats_told():
        await main(settings, stopping)
    log.info("stopped")
