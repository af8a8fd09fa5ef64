"""The mail that has arrived, each letter kept as it came and written down before the sender hears 250."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Sequence

import msgspec

from stack.journal import Journal
from stack.stamps import stamp


class Letter(msgspec.Struct, frozen=True, gc=False):
    """One mail. `source` is its bytes as Latin-1, so that the file can be searched and nothing is lost."""

    id: str
    time: str
    sender: str
    recipients: tuple[str, ...]
    notification_id: str
    delivery_id: str
    source: str

    @property
    def data(self) -> bytes:
        """The mail as it went over the wire."""
        return self.source.encode("latin-1")


_HEADER_LIMIT_BYTES = 64 * 1024
_NOTIFICATION = re.compile(rb"^X-Crown-Notification-Id:[ \t]*(\S+)", re.IGNORECASE | re.MULTILINE)
_DELIVERY = re.compile(rb"^X-Crown-Delivery-Id:[ \t]*(\S+)", re.IGNORECASE | re.MULTILINE)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Letter).decode


class Letters:
    """The letters in order of arrival. Only what can be asked for is read from a mail as it comes in."""

    def __init__(self, journal: Journal, clock: Callable[[], float] = time.time) -> None:
        self._journal = journal
        self._clock = clock
        self._letters = [_decode(line) for line in journal.lines()]

    def add(self, sender: str, recipients: Sequence[str], data: bytes) -> Letter:
        """Keeps a mail. Raises OSError when it cannot be written: the sender must not hear 250 then."""
        head = data[:_HEADER_LIMIT_BYTES].partition(b"\r\n\r\n")[0]
        letter = Letter(
            id=secrets.token_hex(8),
            time=stamp(self._clock()),
            sender=sender,
            recipients=tuple(recipients),
            notification_id=_first(_NOTIFICATION, head),
            delivery_id=_first(_DELIVERY, head),
            source=data.decode("latin-1"),
        )
        self._journal.append(_encode(letter))
        self._letters.append(letter)
        return letter

    def get(self, letter_id: str) -> Letter | None:
        """The letter of that id."""
        return next((letter for letter in self._letters if letter.id == letter_id), None)

    def find(self, to: str | None = None, notification_id: str | None = None) -> list[Letter]:
        """Oldest first; `to` is compared without regard to case."""
        wanted = to.lower() if to is not None else None
        return [
            letter
            for letter in self._letters
            if (notification_id is None or letter.notification_id == notification_id)
            and (wanted is None or any(r.lower() == wanted for r in letter.recipients))
        ]

    def clear(self) -> int:
        """Throws all mail away; says how many letters."""
        forgotten = len(self._letters)
        self._journal.replace(())
        self._letters.clear()
        return forgotten


def _first(pattern: re.Pattern[bytes], head: bytes) -> str:
    found = pattern.search(head)
    return found[1].decode("latin-1") if found else ""
