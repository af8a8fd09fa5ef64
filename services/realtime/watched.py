"""What connections have in common on every transport, for whoever watches over all of them."""

from __future__ import annotations

from typing import Protocol

from services.realtime.people import Present


class Watched(Present, Protocol):
    """One client that is connected, on any transport."""

    # Its address, as its connections are counted.
    client: str

    # When the client was last heard, and since when this side has been closing; by time.monotonic().
    heard: float
    closing_since: float | None

    @property
    def expires(self) -> float:
        """When the token ends, in seconds since 1970."""

    def abort(self) -> None:
        """Cuts it off."""
