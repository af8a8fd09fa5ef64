"""How much one client may take: how often something may happen, and how much of it at a time. Pure; whoever asks
says what time it is, by a clock that never goes back."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """So many a second, and a number at once after a pause. It is a token bucket that whoever it is kept for pays
    one number for: the moment at which the bucket is full again."""

    step_s: float
    burst_s: float

    @classmethod
    def of(cls, rate: float, burst: float) -> Pace:
        """`rate` a second and `burst` at once; a rate of 0 is no limit."""
        # A little more, so that rounding never takes one away.
        return cls(1 / rate, (burst + 0.001) / rate) if rate else cls(0.0, 0.0)

    def next(self, due: float, now: float) -> float:
        """`due` after one more at `now`. It is one too many where that is more than `burst_s` from now."""
        return (due if due > now else now) + self.step_s


UNLIMITED = Pace.of(0, 0)


class Bucket:
    """A pace that is kept for everybody together. What is refused takes nothing from it."""

    __slots__ = ("_due", "_pace")

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._due = 0.0

    def take(self, now: float) -> bool:
        """False where it is one too many."""
        due = self._pace.next(self._due, now)
        if due - now > self._pace.burst_s:
            return False
        self._due = due
        return True


class Tally:
    """How many each client has; `most` each, 0 is no limit."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._numbers: dict[str, int] = {}

    def __len__(self) -> int:
        """How many clients have one or more."""
        return len(self._numbers)

    def full(self, client: str) -> bool:
        """True where `client` may have no more."""
        return bool(self._most) and self._numbers.get(client, 0) >= self._most

    def add(self, client: str) -> None:
        """One more for `client`."""
        self._numbers[client] = self._numbers.get(client, 0) + 1

    def remove(self, client: str) -> None:
        """One less."""
        self._numbers[client] -= 1
        if not self._numbers[client]:
            del self._numbers[client]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a process allows; 0 is no limit."""

    # Connections of one address to this process, and of one person to all.
    per_address: int = 1_000
    per_user: int = 10
    # Handshakes a second.
    accept_rate: int = 3_000
    # Frames a second from one client, and how many at once.
    message_rate: int = 100
    message_burst: int = 200

    @property
    def accepts(self) -> Pace:
        """How often a connection may come."""
        return Pace.of(self.accept_rate, self.accept_rate)

    @property
    def messages(self) -> Pace:
        """How often a client may send something."""
        return Pace.of(self.message_rate, self.message_burst)
