"""The limit of what sockets can do here: picows in a process of its own, without a protocol, without limits and
without checks. What is said at /speak goes to all at /listen; what is said at /echo comes back."""

from __future__ import annotations

import logging
from typing import cast

from picows import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_create_server,
)

from bench.child import Answer, serve

_TEXT = 0x1
_BACKLOG = 4_096
_audience: dict[WSTransport, None] = {}


class Listen(WSListener):
    """Hears."""

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Joins the audience."""
        _audience[transport] = None

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Leaves it."""
        _audience.pop(transport, None)


class Speak(WSListener):
    """Is heard by all."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Passes it on, in a write for each."""
        del transport
        if cast(int, frame.msg_type) == _TEXT:
            text = frame.get_payload_as_bytes()
            for listener in _audience:
                listener.send(WSMsgType.TEXT, text)


class Echo(WSListener):
    """Hears itself."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Gives it back."""
        if cast(int, frame.msg_type) == _TEXT:
            transport.send(WSMsgType.TEXT, frame.get_payload_as_bytes())


_KINDS = {b"/listen": Listen, b"/speak": Speak, b"/echo": Echo}


def _admit(request: WSUpgradeRequest) -> WSUpgradeResponseWithListener:
    kind = _KINDS[request.path]
    return WSUpgradeResponseWithListener(WSUpgradeResponse.create_101_response(), kind())


async def handle(_order: Answer) -> Answer:
    """Starts it and answers where."""
    logging.getLogger("picows").setLevel(logging.CRITICAL)
    server = await ws_create_server(_admit, "127.0.0.1", 0, backlog=_BACKLOG, read_buffer_init_size=2_048)
    return {"port": server.sockets[0].getsockname()[1]}


if __name__ == "__main__":
    serve(handle)
