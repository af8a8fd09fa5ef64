"""The idempotency keys of callers that gave none."""

from __future__ import annotations

from uuid import uuid4


def given_or_new(key: str) -> str:
    """`key`, or one that nobody has used."""
    return key or uuid4().hex
