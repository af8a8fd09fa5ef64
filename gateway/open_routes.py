"""What the gateway leads to beside the calls of the contract, and who gets there. A route that is neither a call's
nor listed here fails a test."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OpenRoute:
    """`path` as the route of envoy.yaml has it, a whole path or a beginning; `who` gets there, to `what`."""

    path: str
    who: str
    what: str


ROUTES = (
    OpenRoute("/healthz", "anyone", "Whether the gateway itself is up."),
    OpenRoute(
        "/socket/",
        "who has a token; topics by their rules",
        "The socket: the service reads the token, which a browser cannot put into a header.",
    ),
    OpenRoute(
        "/socket/longpoll",
        "who has a token; topics by their rules",
        "The same where no WebSocket gets through; a session belongs to who holds its name.",
    ),
    OpenRoute("/demo", "anyone, where GATEWAY_WEB has the pages served", "A page without data of its own."),
    OpenRoute("/console", "anyone, where GATEWAY_WEB has the pages served", "The same: it asks for a token."),
    OpenRoute(
        "/openapi", "anyone, where GATEWAY_WEB has the pages served", "The description of every call by REST."
    ),
    OpenRoute("/grpc.health.v1.Health/Check", "anyone", "Whether a service is up, asked as gRPC asks."),
    OpenRoute("/grpc.", "anyone", "gRPC's own services, health and reflection: they tell of no person."),
)
