"""The service: FilterService, for callers that know the token."""

from __future__ import annotations

import asyncio
import hmac
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

import grpc

from ai import rules, weights
from ai.weights import Weights
from crown.notification.v1.filter_service_pb2 import FilterNotificationsRequest, FilterNotificationsResponse
from crown.notification.v1.filter_service_pb2_grpc import (
    FilterServiceServicer,
    add_FilterServiceServicer_to_server,
)


class FilterService(FilterServiceServicer):
    """Decides by the rules, for who calls with `token`."""

    def __init__(self, token: str, known: Weights) -> None:
        self._expected = f"Bearer {token}".encode()
        self._weights = known

    async def FilterNotifications(
        self, request: FilterNotificationsRequest, context: grpc.aio.ServicerContext
    ) -> FilterNotificationsResponse:
        """Decides on each item."""
        given = dict(context.invocation_metadata() or ()).get("authorization", "")
        # In constant time, so that nobody finds it out letter by letter.
        if not hmac.compare_digest(given.encode(), self._expected):
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "the token is missing or wrong")
        now = datetime.now(UTC)
        decisions = [rules.decide(item, self._weights, now) for item in request.items]
        return FilterNotificationsResponse(decisions=decisions)


async def serve(port: int, token: str, known: Weights) -> None:
    """Serves until it is told to stop, and lets what is under way finish."""
    server = grpc.aio.server()
    add_FilterServiceServicer_to_server(FilterService(token, known), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    print(f"the AI service listens on 127.0.0.1:{port}", flush=True)
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    await stopping.wait()
    await server.stop(grace=5)


if __name__ == "__main__":
    file = Path(__file__).parent.parent / "weights.toml"
    asyncio.run(serve(int(sys.argv[1]), os.environ["CROWN_FILTER_TOKEN"], weights.load(file)))
