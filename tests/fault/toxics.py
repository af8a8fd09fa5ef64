"""What a fault proxy can do to the bytes of one direction, in Toxiproxy's words. Each is a value; how it acts
stands in proxy.py."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Latency:
    """Bytes come `delay_s` later, give or take `jitter_s`, in order."""

    delay_s: float
    jitter_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """At most `bytes_per_s` get through."""

    bytes_per_s: float


@dataclass(frozen=True, slots=True)
class BlackHole:
    """Nothing gets through, as when a network is cut. What waits goes on when this is taken away, as TCP sends
    it again then; unless `close_after_s` passed first, which cuts the connection off."""

    close_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class ResetPeer:
    """The connection is reset (RST) `after_s` after it opened, or after this was added to it."""

    after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class SlowClose:
    """The end of the connection comes `delay_s` late."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class LimitData:
    """The connection is closed after `most_bytes` of it got through."""

    most_bytes: int


@dataclass(frozen=True, slots=True)
class Slicer:
    """Bytes come in pieces of about `size_bytes`, `variation_bytes` more or fewer, `delay_s` apart."""

    size_bytes: int
    variation_bytes: int = 0
    delay_s: float = 0.0


Toxic = Latency | Bandwidth | BlackHole | ResetPeer | SlowClose | LimitData | Slicer
