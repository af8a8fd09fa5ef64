"""StatusService: whether every part of the suite is ready, and who is not."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from crown.errors import DOMAIN, NotReady
from crown.notification.v1 import status_service_pb2 as pb
from crown.stopping import pause
from crown.tls import Identity, Link

_STATUS = health_pb2.HealthCheckResponse
_LIMIT_S = 1.0
_MIRROR_PERIOD_S = 5.0
# Who answers.
_OWN = "ingest-api"
# A peer that was not there when it was asked first is looked for again soon: the usual pause grows to minutes.
_OPTIONS = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500))
# Which services a peer serves, by its role: what the gateway's health answers for them.
_SERVED = {
    "email": ("EmailService", "EmailCallbackService", "TemplateService"),
    "push": ("PushService", "DeviceService"),
    "sms": ("SmsService", "SmsCallbackService"),
    "realtime": ("RealtimeService",),
}


_NUMBERED = re.compile(r"-[0-9]+\Z")


class StatusService:
    """The servicer. Asks each part's own health, and the parts at once; `own` says whether this process is ready."""

    def __init__(
        self,
        addresses: Mapping[str, str],
        identity: Identity | None = None,
        own: Callable[[], bool] = lambda: True,
    ) -> None:
        self._own = own
        self._links = {
            name: Link(address, identity, _role(name), _OPTIONS) for name, address in addresses.items()
        }

    async def GetReadiness(self, _request: pb.GetReadinessRequest, _context: Any) -> pb.GetReadinessResponse:
        """Answers where all are ready; raises NotReady naming who is not."""
        names = sorted(self._links)
        ready = await asyncio.gather(*(self._ask(name) for name in names))
        away = [name for name, up in zip(names, ready, strict=True) if not up]
        missing = ", ".join(away if self._own() else [_OWN, *away])
        if missing:
            raise NotReady(f"not ready: {missing}", metadata={"not_ready": missing})
        return pb.GetReadinessResponse(ready=names)

    async def mirror(self, told: health.aio.HealthServicer, stopping: asyncio.Event) -> None:
        """Tells the peers' health by the names of their services, until `stopping` is set: the gateway has one
        health service for the suite."""
        peers = [peer for peer in self._links if _role(peer) in _SERVED]
        while not stopping.is_set():
            ready = dict.fromkeys((_role(peer) for peer in peers), False)
            for peer in peers:
                # One that serves is enough: the gateway sends calls there.
                ready[_role(peer)] = await self._ask(peer) or ready[_role(peer)]
            for role, up in ready.items():
                for service in _SERVED[role]:
                    await told.set(f"{DOMAIN}.{service}", _STATUS.SERVING if up else _STATUS.NOT_SERVING)
            await pause(stopping, _MIRROR_PERIOD_S if all(ready.values()) else _MIRROR_PERIOD_S / 5)

    async def _ask(self, name: str) -> bool:
        stub = self._links[name].stub(health_pb2_grpc.HealthStub)
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=_LIMIT_S)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    async def close(self) -> None:
        """Closes the connections."""
        await asyncio.gather(*(link.close() for link in self._links.values()))


def _role(peer: str) -> str:
    """What a peer is one of: email-2 is one of email."""
    return _NUMBERED.sub("", peer)
