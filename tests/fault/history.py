"""The client's ledger: every request is written down before it is sent and after each answer, so that what was
promised is known whatever dies. Lines of JSON; `read` puts them together again."""

from __future__ import annotations

import time
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import TextIO

import msgspec


class Answer(StrEnum):
    """What a client knows when it stops asking."""

    ACCEPTED = "accepted"
    # A clear no: nothing may ever come of it.
    REFUSED = "refused"
    # No answer that tells: there may be an effect, but only one.
    UNKNOWN = "unknown"


class Request(msgspec.Struct, frozen=True):
    """One notification that somebody wants sent. `channel` and `category` are the contract's names."""

    key: str
    # The id that accepting it has to answer: a function of the key.
    notification_id: str
    channel: str
    category: str
    priority: str
    users: tuple[str, ...]
    # What the person is told; one of a kind, so that it can be found again.
    text: str


class Attempt(msgspec.Struct, frozen=True):
    """One answer, or the lack of one, to a request. Times are seconds since 1970."""

    key: str
    answer: Answer
    # The id that was answered, or the error.
    detail: str
    began: float
    ended: float


class Sent(msgspec.Struct, frozen=True):
    """A request with everything that was answered to it."""

    request: Request
    attempts: tuple[Attempt, ...]

    @property
    def answer(self) -> Answer:
        """What the client was left with. One yes is a promise, whatever other attempts were told."""
        found = {attempt.answer for attempt in self.attempts}
        if Answer.ACCEPTED in found:
            return Answer.ACCEPTED
        # An attempt that broke off may have been taken, whatever came after it.
        return Answer.REFUSED if found == {Answer.REFUSED} else Answer.UNKNOWN


class _Asked(msgspec.Struct, frozen=True, tag="asked", tag_field="line"):
    request: Request


class _Answered(msgspec.Struct, frozen=True, tag="answered", tag_field="line"):
    attempt: Attempt


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Asked | _Answered).decode


class Book:
    """Writes the ledger. A line is with the operating system before the call returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: TextIO = path.open("a", encoding="utf-8", buffering=1)

    def __enter__(self) -> Book:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def asked(self, request: Request) -> None:
        """Before the first attempt."""
        self._write(_Asked(request))

    def answered(self, request: Request, answer: Answer, detail: str, began: float) -> None:
        """After each attempt; `began` is when it was sent."""
        self._write(_Answered(Attempt(request.key, answer, detail, began, time.time())))

    def _write(self, line: _Asked | _Answered) -> None:
        self._file.write(_encode(line).decode() + "\n")


def read(path: Path) -> list[Sent]:
    """Every request of a ledger in the order of asking, with its attempts."""
    return put_together(_decode(line) for line in path.read_bytes().splitlines())


def put_together(lines: Iterable[_Asked | _Answered]) -> list[Sent]:
    """The requests that `lines` tell of. Raises KeyError where an answer has no question."""
    requests: dict[str, Request] = {}
    attempts: dict[str, list[Attempt]] = {}
    for line in lines:
        match line:
            case _Asked(request=request):
                requests[request.key] = request
                attempts[request.key] = []
            case _Answered(attempt=attempt):
                attempts[attempt.key].append(attempt)
    return [Sent(request, tuple(attempts[key])) for key, request in requests.items()]
