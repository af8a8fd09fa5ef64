"""What reached a person, and what was refused: one line each, written before the answer goes out.

The journal is read back at start, so a sandbox that was killed still knows what it had accepted.
"""

from __future__ import annotations

import itertools
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from operator import attrgetter

import msgspec

from stack.journal import Journal
from stack.stamps import stamp

TEXT_LIMIT_CHARS = 4_096
"""Longer texts are cut in the ledger: enough for every SMS and push, and for the head of an e-mail."""


class Kind(StrEnum):
    """An effect reached a person; a refusal is a call that reached nobody, whatever its status."""

    EFFECT = "effect"
    REFUSAL = "refusal"


class Draft(msgspec.Struct, frozen=True, gc=False):
    """What one call would do to one person; empty strings where the call does not say. `callback_url` and `args` came
    along to be given back by callbacks, and stand in no entry."""

    recipient: str = ""
    notification_id: str = ""
    delivery_id: str = ""
    sender: str = ""
    title: str = ""
    text: str = ""
    callback_url: str = ""
    args: tuple[tuple[str, str], ...] = ()


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A line of the ledger. `status` is 0 where no answer was given; `answer` is then a word for why."""

    seq: int
    kind: Kind
    provider: str
    time: str
    recipient: str
    notification_id: str
    delivery_id: str
    sender: str
    title: str
    text: str
    message_id: str
    status: int
    answer: msgspec.Raw


class Query(msgspec.Struct, frozen=True):
    """Which entries to read; None matches all."""

    kind: Kind | None = Kind.EFFECT
    provider: str | None = None
    notification_id: str | None = None
    delivery_id: str | None = None
    recipient: str | None = None
    after: int = 0
    """Only entries with a higher `seq`."""
    limit: int = 1_000
    offset: int = 0


_seq = attrgetter("seq")
_FIELDS = ("provider", "notification_id", "delivery_id", "recipient", "message_id")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Entry).decode


class Ledger:
    """Entries in the order of writing, with an index per field that can be asked for."""

    def __init__(self, journal: Journal, clock: Callable[[], float] = time.time) -> None:
        self._journal = journal
        self._clock = clock
        self._entries: list[Entry] = []
        self._index: dict[str, dict[str, list[Entry]]] = {}
        # Per provider, how many entries were looked at for `newest`, and how many of them were effects.
        self._counted: dict[str, tuple[int, int]] = {}
        self._load(_decode(line) for line in journal.lines())

    def record(
        self, kind: Kind, provider: str, draft: Draft, status: int, answer: bytes, message_id: str = ""
    ) -> Entry:
        """Writes one entry. Raises OSError when it cannot be written: the caller must not answer then."""
        entry = Entry(
            seq=self._entries[-1].seq + 1 if self._entries else 1,
            kind=kind,
            provider=provider,
            time=self.now(),
            recipient=draft.recipient,
            notification_id=draft.notification_id,
            delivery_id=draft.delivery_id,
            sender=draft.sender,
            title=draft.title,
            text=draft.text[:TEXT_LIMIT_CHARS],
            message_id=message_id,
            status=status,
            answer=msgspec.Raw(answer or b"null"),
        )
        self._journal.append(_encode(entry))
        self._admit(entry)
        return entry

    def now(self) -> str:
        """The time that an entry recorded at this instant gets."""
        return stamp(self._clock())

    def page(self, query: Query) -> tuple[Sequence[Entry], int]:
        """The asked-for slice, oldest first, and how many match in all."""
        found = self._matching(query)
        return found[query.offset : query.offset + query.limit], len(found)

    def newest(self, query: Query, most: int) -> tuple[Sequence[Entry], dict[str, int]]:
        """The last `most` of those asked for, oldest first; and how many effects each provider has had."""
        for provider, found in self._index["provider"].items():
            seen, effects = self._counted.get(provider, (0, 0))
            more = sum(entry.kind is Kind.EFFECT for entry in itertools.islice(found, seen, None))
            self._counted[provider] = (len(found), effects + more)
        counts = {provider: effects for provider, (_, effects) in self._counted.items()}
        return self._matching(query)[-most:], counts

    def clear(self, provider: str | None = None) -> int:
        """Forgets every entry, or those of one provider; says how many."""
        kept = [] if provider is None else [e for e in self._entries if e.provider != provider]
        forgotten = len(self._entries) - len(kept)
        self._journal.replace(_encode(entry) for entry in kept)
        self._load(kept)
        return forgotten

    def by_message(self, provider: str, message_id: str) -> Sequence[Entry]:
        """The effects behind one id that the provider gave."""
        found = self._index["message_id"].get(message_id, [])
        return [e for e in found if e.provider == provider and e.kind is Kind.EFFECT]

    def _load(self, entries: Iterable[Entry]) -> None:
        self._index = {field: {} for field in _FIELDS}
        self._entries = []
        self._counted = {}
        for entry in entries:
            self._admit(entry)

    def _admit(self, entry: Entry) -> None:
        self._entries.append(entry)
        for field, values in self._index.items():
            if value := getattr(entry, field):
                values.setdefault(value, []).append(entry)

    def _matching(self, query: Query) -> list[Entry]:
        wanted = {f: v for f in _FIELDS[:-1] if (v := getattr(query, f)) is not None}
        lists = [self._index[field].get(value, []) for field, value in wanted.items()]
        shortest = min(lists, key=len, default=self._entries)
        start = bisect_right(shortest, query.after, key=_seq) if query.after else 0
        return [
            entry
            for entry in itertools.islice(shortest, start, None)
            if (query.kind is None or entry.kind is query.kind)
            and all(getattr(entry, field) == value for field, value in wanted.items())
        ]
