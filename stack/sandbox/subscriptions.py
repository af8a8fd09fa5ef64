"""Browsers' subscriptions at the sandbox's push service. They outlive the process, as those of real ones do."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

import msgspec

from stack.journal import Journal
from stack.sandbox.web_push_crypto import BrowserKeys, decoded, encoded


class _Line(msgspec.Struct, omit_defaults=True):
    """A line of the journal: a subscription, or that it has ended."""

    id: str
    private: str = ""
    auth: str = ""
    sender: str = ""
    gone: bool = False


@dataclass(slots=True)
class Subscription:
    """One browser. `sender` is the only key that may send to it; empty: any."""

    id: str
    sender: str
    _line: _Line
    gone: bool = False
    _keys: BrowserKeys | None = field(default=None)

    @property
    def keys(self) -> BrowserKeys:
        """What the browser keeps; computed when it is first needed."""
        if self._keys is None:
            self._keys = BrowserKeys(decoded(self._line.private), decoded(self._line.auth))
        return self._keys


_decode = msgspec.json.Decoder(_Line).decode
_encode = msgspec.json.Encoder().encode


class Subscriptions:
    """All of them, by id."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._all: dict[str, Subscription] = {}
        for text in journal.lines():
            self._admit(_decode(text))

    def new(self, sender: str = "") -> Subscription:
        """A browser subscribes."""
        keys = BrowserKeys.new()
        line = _Line(secrets.token_urlsafe(24), encoded(keys.private), keys.auth, sender)
        self._journal.append(_encode(line))
        self._admit(line)
        return self._all[line.id]

    def get(self, subscription_id: str) -> Subscription | None:
        """The subscription, also one that has ended; None where there never was one."""
        return self._all.get(subscription_id)

    def end(self, subscription_id: str) -> bool:
        """A browser unsubscribes; whether there was anything to end."""
        found = self._all.get(subscription_id)
        if found is None or found.gone:
            return False
        self._journal.append(_encode(_Line(subscription_id, gone=True)))
        found.gone = True
        return True

    def close(self) -> None:
        """Closes the file."""
        self._journal.close()

    def _admit(self, line: _Line) -> None:
        if line.gone:
            self._all[line.id].gone = True
        else:
            self._all[line.id] = Subscription(line.id, line.sender, line)
