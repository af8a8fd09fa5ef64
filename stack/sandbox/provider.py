"""The seam between the server and its providers: a call goes in, what it would do comes out.

A provider judges and answers; it neither records nor misbehaves. That is the counter's work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from stack.sandbox.ledger import Draft


@dataclass(frozen=True, slots=True)
class Call:
    """A request, whole. `path` holds the variables of the route, `query` keeps the order of the caller."""

    method: str
    headers: Mapping[str, str]
    body: bytes
    path: Mapping[str, str] = field(default_factory=dict)
    query: Sequence[tuple[str, str]] = ()

    @property
    def authorization(self) -> bytes:
        """The Authorization header as bytes, since a caller may put any byte in it; empty without one."""
        return self.headers.get("Authorization", "").encode(errors="surrogateescape")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the provider says back. An empty body carries no content type."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Accepted:
    """The call is good. No drafts: a question that changes nothing. `effect` False: a dry run."""

    answer: Answer
    drafts: Sequence[Draft] = ()
    message_id: str = ""
    effect: bool = True


class Refused(Exception):
    """The provider turns the call down with `answer`; `draft` says whom it was for, as far as known."""

    def __init__(self, answer: Answer, draft: Draft | None = None) -> None:
        super().__init__(answer.body.decode(errors="replace"))
        self.answer = answer
        self.draft = draft or Draft()


class Provider(Protocol):
    """One provider's rules."""

    name: str

    def accept(self, call: Call) -> Accepted:
        """Raises Refused where the provider would answer with an error."""

    def failure(self, status: int) -> Answer:
        """The body that this provider sends with an error status, for scripts that name only the status."""


def json_answer(status: int, body: object, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer with `body` as JSON."""
    return Answer(status, msgspec.json.encode(body), headers or {})
