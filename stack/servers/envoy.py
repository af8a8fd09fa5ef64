"""Envoy, the gateway. What it does with a request stands in gateway/; this file only runs it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import gateway
from stack import probes
from stack.layout import Layout, write_private
from stack.process import Process
from stack.servers import binary
from stack.settings import LOOPBACK, Settings

NAME = "gateway"
# What it is told as it was given: where its spans go, and how many, as the services are; how often an address may
# call without a token, and whose word counts for what that address is.
_GIVEN = (
    *("CROWN_OTLP_ENDPOINT", "CROWN_OTLP_HEADERS", "CROWN_TRACE_RATIO"),
    *("GATEWAY_OPEN_RATE", "GATEWAY_CALLBACK_RATE", "GATEWAY_TRUSTED_HOPS"),
)


def process(
    layout: Layout, settings: Settings, variables: Mapping[str, str], needs: tuple[str, ...]
) -> Process:
    """`variables` is what gateway.render fills its template with."""
    program = binary.in_package("envoy", "_bin", "envoy")
    configuration = layout.run / "envoy.yaml"

    def prepare() -> None:
        from gateway.render import files

        for name, text in files(variables, layout.run).items():
            write_private(layout.run / name, text)

    ports = settings.ports
    command = (
        str(binary.runnable(program, layout.run / "envoy")),
        "--config-path", str(configuration),
        "--concurrency", str(min(2, os.cpu_count() or 1)),
        "--disable-hot-restart",  # two Envoys on one machine would otherwise meet in shared memory
        "--log-level", "warning",
    )  # fmt: skip
    return Process(
        name=NAME,
        command=command,
        address=f"{settings.gateway_host}:{ports.gateway}",
        ports={NAME: ports.gateway, "gateway admin": ports.envoy_admin},
        probe=probes.http(ports.envoy_admin, "/ready"),
        needs=needs,
        prepare=prepare,
        start_limit_s=30,
        grace_s=5,
    )


def variables(settings: Settings, jwks: str, issuer: str, audience: str) -> dict[str, str]:
    """The addresses and the trust that the gateway's configuration is rendered with."""
    ports = settings.ports

    def addresses(role: str, port: Callable[[str], int]) -> str:
        return ",".join(f"{LOOPBACK}:{port(name)}" for name in ports.processes(role))

    return {
        "GATEWAY_BIND": settings.gateway_host,
        "NOTIFICATION_SERVICE_PORT": str(ports.gateway),
        "ENVOY_ADMIN_PORT": str(ports.envoy_admin),
        "INGEST_ADDRESS": addresses("ingest-api", ports.grpc),
        "EMAIL_ADDRESS": addresses("email", ports.grpc),
        "PUSH_ADDRESS": addresses("push", ports.grpc),
        "SMS_ADDRESS": addresses("sms", ports.grpc),
        "REALTIME_ADDRESS": addresses("realtime", ports.grpc),
        "REALTIME_WEBSOCKET_ADDRESS": addresses("realtime", ports.websocket),
        "REALTIME_LONGPOLL_ADDRESS": addresses("realtime", ports.longpoll),
        # An address or a path, as the services take it too.
        "JWKS_URL" if "://" in jwks else "JWKS_PATH": jwks,
        "JWT_ISSUER": issuer,
        "JWT_AUDIENCE": audience,
        "GATEWAY_WEB": str(Path(gateway.__path__[0]) / "web"),
        **{name: settings.given[name] for name in _GIVEN if settings.given.get(name)},
    }
