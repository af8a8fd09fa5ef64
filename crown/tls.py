"""TLS between the parts of the suite: who a process is to the others, and who may call it. Its certificate, its key
and the suite's authority lie in one folder, as cert-manager makes them, and are read again as they change: nobody is
restarted for a certificate that was renewed."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from grpc_health.v1 import health

from crown import ids, logs, metrics, problem
from crown.errors import NotAllowed
from crown.settings import ProcessSettings, SettingsError

log = logs.get(__name__)

CERTIFICATE, KEY, AUTHORITY = "tls.crt", "tls.key", "ca.crt"
# Seconds between two looks at the files, while there is somebody to show them to.
LOOK_S = 1.0
# Seconds that calls get which are under way with a certificate that has been renewed since.
FORMER_S = 30.0
_HEALTH = f"/{health.SERVICE_NAME}/"

Stub = TypeVar("Stub")


@dataclass(frozen=True, slots=True)
class Papers:
    """The certificate with those that lead to the authority, its key, and the authority, each in PEM."""

    certificate: bytes
    key: bytes
    authority: bytes


class Identity:
    """The papers in `folder`, read again as they change; the last good ones where they cannot be. Threads may share
    it."""

    def __init__(self, folder: Path, now: Callable[[], float] = time.monotonic) -> None:
        """Raises OSError or ValueError where the papers are no good."""
        self.folder = folder
        self._now = now
        self._lock = threading.Lock()
        self._looked = now()
        self._stamp = _stamp(folder)
        self._papers = _read(folder)
        self._readable = True
        self._tell_end()

    def papers(self) -> Papers:
        """What to show now."""
        with self._lock:
            if self._now() - self._looked >= LOOK_S:
                self._looked = self._now()
                self._look()
            return self._papers

    def _look(self) -> None:
        try:
            # Taken before the reading: what is written meanwhile is read at the next look.
            stamp = _stamp(self.folder)
            if stamp == self._stamp:
                return
            self._papers, self._stamp = _read(self.folder), stamp
        except (OSError, ValueError) as error:
            if self._readable:
                log.error("certificate_unreadable", why=_why(error))
            self._readable = False
            return
        self._readable = True
        self._tell_end()
        log.info("certificate_renewed")

    def _tell_end(self) -> None:
        shown = x509.load_pem_x509_certificate(self._papers.certificate)
        metrics.CERTIFICATE_END.set(shown.not_valid_after_utc.timestamp())

    def server_credentials(self) -> grpc.ServerCredentials:
        """What a gRPC server shows; whoever calls it has to show a certificate of the authority."""
        shown = self.papers()

        def changed() -> grpc.ServerCertificateConfiguration | None:
            nonlocal shown
            papers = self.papers()
            if papers is shown:
                return None
            shown = papers
            return _configuration(papers)

        # Asked at every new connection.
        return grpc.dynamic_ssl_server_credentials(
            _configuration(shown),
            changed,  # type: ignore[arg-type]  # None is for no change
            require_client_authentication=True,
        )

    def server_context(self) -> ssl.SSLContext:
        """The same for a server that is not gRPC's, as the papers are now. Raises OSError (ssl.SSLError is one)."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self.folder / AUTHORITY))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(self.folder / CERTIFICATE, self.folder / KEY)
        return context


@functools.cache
def identity_in(folder: str) -> Identity:
    """The papers in `folder`, the same for everybody in this process. Raises SettingsError."""
    try:
        return Identity(Path(folder))
    except (OSError, ValueError) as error:
        raise SettingsError([f"CROWN_TLS_FOLDER: {_why(error)}"]) from None


def identity(settings: ProcessSettings) -> Identity | None:
    """Who this process is to the others; None where they speak in the clear. Raises SettingsError."""
    return identity_in(settings.tls_folder) if settings.tls_folder else None


class Link:
    """A gRPC channel to another part, which has to be `name` or what its address says, made anew with every
    certificate that we get: a channel of gRPC keeps the one that it was made with."""

    def __init__(
        self,
        address: str,
        identity: Identity | None,
        name: str,
        options: Iterable[tuple[str, Any]] = (),
    ) -> None:
        self._address = address
        self._identity = identity
        self._options = (*options, *_expecting(address, name))
        self._papers: Papers | None = None
        self._channel: grpc.aio.Channel | None = None
        # What was made of this channel, by what made it.
        self._stubs: dict[Callable[[grpc.aio.Channel], Any], Any] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def channel(self) -> grpc.aio.Channel:
        """The channel for the next call; what is under way on a former one ends there."""
        papers = None if self._identity is None else self._identity.papers()
        if self._channel is None or papers is not self._papers:
            if self._channel is not None:
                self._end(self._channel)
            self._papers = papers
            self._channel = open_channel(self._address, papers, self._options)
            self._stubs.clear()
        return self._channel

    def stub(self, make: Callable[[grpc.aio.Channel], Stub]) -> Stub:
        """What `make` makes of the channel for the next call: once for each channel. `make` is a class of stubs, or a
        function that lives as long as the link."""
        channel = self.channel()
        if make not in self._stubs:
            self._stubs[make] = make(channel)
        return cast("Stub", self._stubs[make])

    async def close(self) -> None:
        """Ends the connections and what is under way on them."""
        for task in self._ending:
            task.cancel()
        if self._channel is not None:
            await self._channel.close()

    def _end(self, former: grpc.aio.Channel) -> None:
        task = asyncio.ensure_future(former.close(FORMER_S))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


def open_channel(address: str, papers: Papers | None, options: Iterable[tuple[str, Any]]) -> grpc.aio.Channel:
    """A channel that shows `papers`, or one in the clear."""
    if papers is None:
        return grpc.aio.insecure_channel(address, options=tuple(options))
    credentials = grpc.ssl_channel_credentials(papers.authority, papers.key, papers.certificate)
    return grpc.aio.secure_channel(address, credentials, options=tuple(options))


def _expecting(address: str, name: str) -> tuple[tuple[str, str], ...]:
    """What a server has to be called: what its address says, and `name` where that is but a number."""
    host = address.removeprefix("dns:///").rpartition(":")[0].strip("[]")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return ()
    return (("grpc.ssl_target_name_override", name),)


class Callers(grpc.aio.ServerInterceptor):
    """Lets in who is called one of `names` by a certificate; health is told to all that have one."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names
        self._guarded: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """As gRPC asks for each call: its handler, behind the check."""
        method: str = handler_call_details.method
        if (found := self._guarded.get(method)) is not None:
            return found
        handler = await continuation(handler_call_details)
        if handler is None or method.startswith(_HEALTH):
            return handler
        return self._guarded.setdefault(method, self._guard(handler))

    def _guard(self, handler: Any) -> grpc.RpcMethodHandler[Any, Any]:
        if handler.unary_unary is not None:
            inner = handler.unary_unary

            async def unary(request: Any, context: Any) -> Any:
                await self._admit(context)
                return await inner(request, context)

            return grpc.unary_unary_rpc_method_handler(
                unary, handler.request_deserializer, handler.response_serializer
            )
        answers, make = (
            (handler.stream_stream, grpc.stream_stream_rpc_method_handler)
            if handler.request_streaming
            else (handler.unary_stream, grpc.unary_stream_rpc_method_handler)
        )

        async def stream(given: Any, context: Any) -> Any:
            await self._admit(context)
            async with aclosing(answers(given, context)) as found:
                async for answer in found:
                    yield answer

        return make(stream, handler.request_deserializer, handler.response_serializer)

    async def _admit(self, context: Any) -> None:
        shown = {name.decode("ascii", "replace") for name in context.auth_context().get("peer_dns", ())}
        if not self._names & shown:
            log.warning("caller_refused", caller=told(shown))
            refused = NotAllowed("no caller of this service: its certificate names somebody else")
            await context.abort(refused.code, refused.message, problem.trailers(refused, ids.fresh_request()))


def callers(text: str) -> frozenset[str]:
    """The names in `a,b,c`."""
    return frozenset(filter(None, (part.strip() for part in text.split(","))))


def names(certificate: Mapping[str, Any] | None) -> frozenset[str]:
    """Whom a certificate names, as `getpeercert` of Python's ssl tells of it."""
    found = (certificate or {}).get("subjectAltName", ())
    return frozenset(value for kind, value in found if kind == "DNS")


def told(shown: Iterable[str]) -> str:
    """Names for the log."""
    return ",".join(sorted(shown)) or "nobody"


def _configuration(papers: Papers) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(papers.key, papers.certificate)], root_certificates=papers.authority
    )


def _stamp(folder: Path) -> tuple[tuple[int, int], ...]:
    found = ((folder / name).stat() for name in (CERTIFICATE, KEY, AUTHORITY))
    return tuple((one.st_ino, one.st_mtime_ns) for one in found)


def _read(folder: Path) -> Papers:
    papers = Papers(*((folder / name).read_bytes() for name in (CERTIFICATE, KEY, AUTHORITY)))
    own = x509.load_pem_x509_certificates(papers.certificate)[0]
    # Caught in between two writes, one may be newer than the other.
    if load_pem_private_key(papers.key, None).public_key() != own.public_key():
        raise ValueError(f"{KEY} is not the key of {CERTIFICATE}")
    x509.load_pem_x509_certificates(papers.authority)
    return papers


def _why(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"cannot read {CERTIFICATE}, {KEY} and {AUTHORITY} there ({error.strerror})"
    return f"{error}" if str(error).startswith(KEY) else f"{CERTIFICATE}, {KEY} and {AUTHORITY} must be PEM"
