"""A channel that this node shows as present."""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

import msgspec

from services.realtime.presence.board import Change, Record
from services.realtime.presence.diff import Row

_ENCODER = msgspec.json.Encoder()


def new_name(size: int = 12) -> str:
    """A name that nobody has had: for a node, or for a meta (16 characters)."""
    return urlsafe_b64encode(secrets.token_bytes(size)).decode()


class Held:
    """One channel on `topic`. Every change of its meta has a phx_ref of its own."""

    __slots__ = ("at", "key", "meta", "ref", "topic")

    def __init__(self, topic: str, key: str, at: int, meta: Mapping[str, Any]) -> None:
        self.topic = topic
        self.key = key
        self.at = at
        self.ref = new_name()
        self.meta = {**meta, "online_at": at // 1_000_000, "phx_ref": self.ref}

    def renew(self, meta: Mapping[str, Any] | None = None) -> tuple[Change, Change]:
        """Gives it a new phx_ref, and another meta where one is given; answers the joining and the leaving side."""
        left = self.left()
        told = {**meta, "online_at": self.meta["online_at"]} if meta is not None else self.meta
        before, self.ref = self.ref, new_name()
        self.meta = {**told, "phx_ref": self.ref, "phx_ref_prev": before}
        return self.joined(), left

    def joined(self) -> Change:
        """It is there."""
        record = Record(self.key, self.at, self.ref, msgspec.Raw(_ENCODER.encode(self.meta)))
        return Change(self.topic, self.ref, self.key, _ENCODER.encode(record), self.meta)

    def left(self) -> Change:
        """It is gone."""
        return Change(self.topic, self.ref, self.key, b"", self.meta)

    def row(self) -> Row:
        """As it stands in a state."""
        return Row(self.at, self.ref, self.key, self.meta)
