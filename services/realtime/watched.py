"""What connections have in common on every transport, for whoever watches over all of them."""

from __future__ import annotations

from typing import Protocol

from services.realtime.closecodes import Close


class Watched(Protocol):
    """One client that is connected, on any transport."""

    # When the client was last heard, and since when this side has been closing; by time.monotonic().
    heard: float
    closing_since: float | None

    @property
    def expires(self) -> float:
        """When the token ends, in seconds since 1970."""

    def close(self, why: Close) -> None:
        """Closes it; nothing where it is closing."""

    def abort(self) -> None:
        """Cuts it off."""
