"""The client's ledger on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fault.history import Answer, Attempt, Book, Request, Sent, read

REQUEST = Request("k1", "n1", "sms", "social", "normal", ("ann",), "text 1")


def _sent(*answers: Answer) -> Sent:
    return Sent(REQUEST, tuple(Attempt("k1", answer, "", 1.0, 2.0) for answer in answers))


def test_what_was_written_is_read(tmp_path: Path) -> None:
    other = Request("k2", "n2", "push", "security", "critical", ("bob", "eve"), "text 2")
    with Book(tmp_path / "book") as book:
        book.asked(REQUEST)
        book.asked(other)
        book.answered(other, Answer.UNKNOWN, "DEADLINE_EXCEEDED", 10.0)
        book.answered(other, Answer.ACCEPTED, "n2", 11.0)
    first, second = read(tmp_path / "book")
    assert (first.request, first.attempts, first.answer) == (REQUEST, (), Answer.UNKNOWN)
    assert second.request == other
    assert [(one.answer, one.detail, one.began) for one in second.attempts] == [
        (Answer.UNKNOWN, "DEADLINE_EXCEEDED", 10.0),
        (Answer.ACCEPTED, "n2", 11.0),
    ]


def test_a_line_is_there_before_the_request_goes_out(tmp_path: Path) -> None:
    with Book(tmp_path / "book") as book:
        book.asked(REQUEST)
        assert [sent.request for sent in read(book.path)] == [REQUEST]


@pytest.mark.parametrize(
    ("answers", "left_with"),
    [
        ((), Answer.UNKNOWN),
        ((Answer.REFUSED,), Answer.REFUSED),
        ((Answer.REFUSED, Answer.REFUSED), Answer.REFUSED),
        ((Answer.UNKNOWN, Answer.REFUSED), Answer.UNKNOWN),
        ((Answer.REFUSED, Answer.UNKNOWN), Answer.UNKNOWN),
        ((Answer.UNKNOWN, Answer.ACCEPTED), Answer.ACCEPTED),
        ((Answer.ACCEPTED, Answer.REFUSED), Answer.ACCEPTED),
    ],
)
def test_what_a_client_is_left_with(answers: tuple[Answer, ...], left_with: Answer) -> None:
    assert _sent(*answers).answer is left_with
