"""Checks a broadcast at a million frames a second: one subscriber's frames are decoded and checked one by one,
and all others have to get the very same bytes. So each got every message exactly once and in order."""

from __future__ import annotations

from bench import numbered
from bench.wire import Frames


class Wrong(Exception):
    """A message came twice, too early, changed, or not at all."""


class Reference:
    """What everybody has to get, as one subscriber got it."""

    def __init__(self, first: int = 0) -> None:
        self.data = bytearray()
        # The number that has to come next.
        self.next = first
        self._frames = Frames()

    def take(self, chunk: bytes) -> int:
        """Checks what the one subscriber read, and answers how many messages that ended. What has no number is no
        message, but has to come to everybody all the same. Raises Wrong."""
        before = self.next
        for text in self._frames.take(chunk):
            number = numbered.number(text)
            if number not in (self.next, -1):
                raise Wrong(f"message {number} came in the place of message {self.next}")
            self.next += number == self.next
        self.data += chunk
        return self.next - before


class Follower:
    """Another subscriber."""

    __slots__ = ("_ahead", "_at", "_reference")

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self._at = 0
        # What came before the one subscriber read as far.
        self._ahead = b""

    def take(self, chunk: bytes) -> None:
        """Checks what it read. Raises Wrong."""
        # Compares in place: taking a slice to compare with would cost more than all else.
        if not self._ahead and self._reference.data.startswith(chunk, self._at):
            self._at += len(chunk)
        else:
            self._catch_up(self._ahead + chunk)

    @property
    def level(self) -> bool:
        """True where it got all that the one subscriber got, and nothing else. Raises Wrong."""
        self._catch_up(self._ahead)
        return self._at == len(self._reference.data) and not self._ahead

    def _catch_up(self, chunk: bytes) -> None:
        there = self._reference.data[self._at : self._at + len(chunk)]
        if not chunk.startswith(there):
            raise Wrong("a subscriber got other bytes than the first one")
        self._at += len(there)
        self._ahead = chunk[len(there) :]
