"""A broadcast is checked byte by byte, wherever the reads cut it."""

from __future__ import annotations

import pytest

from bench import numbered, wire
from bench.stream import Follower, Reference, Wrong
from bench.wire import Broken, Frames


def _frame(number: int) -> bytes:
    return wire.heard(b'[null,null,"user:1","message",%s]' % numbered.payload(number))


def _chunks(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


THREE = b"".join(_frame(number) for number in range(3))


def test_a_payload_has_its_size_and_its_number() -> None:
    assert {len(numbered.payload(number)) for number in (0, 7, 10**12 - 1)} == {numbered.PAYLOAD_BYTES}
    assert numbered.number(_frame(123_456)) == 123_456
    assert numbered.number(b"[]") == -1


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 125, len(_frame(0)) - 1, len(_frame(0)), len(_frame(0)) + 1])
def test_reads_of_any_size_give_the_same(size: int) -> None:
    reference = Reference()
    assert sum(reference.take(chunk) for chunk in _chunks(THREE, size)) == 3
    assert (bytes(reference.data), reference.next) == (THREE, 3)


def test_subscribers_are_compared_wherever_they_are_cut() -> None:
    """One reads the first part before the reference does, one after it."""
    for cut in range(len(THREE) + 1):
        reference = Reference()
        early, late = Follower(reference), Follower(reference)
        early.take(THREE[:cut])
        reference.take(THREE)
        late.take(THREE[:cut])
        assert (early.level, late.level) == (cut == len(THREE),) * 2
        early.take(THREE[cut:])
        late.take(THREE[cut:])
        assert early.level
        assert late.level


@pytest.mark.parametrize(
    "got",
    [
        _frame(0) + _frame(0) + _frame(2),
        _frame(0) + _frame(2),
        _frame(1) + _frame(0) + _frame(2),
        THREE[:-2] + b"x" + THREE[-1:],
    ],
    ids=["twice", "missing", "out of order", "changed"],
)
def test_any_difference_is_found(got: bytes) -> None:
    reference = Reference()
    reference.take(THREE)
    with pytest.raises(Wrong, match="other bytes"):
        Follower(reference).take(got)
    early = Follower(Reference())
    early.take(got)
    assert not early.level


def test_too_much_is_not_level() -> None:
    reference = Reference()
    follower = Follower(reference)
    reference.take(THREE)
    follower.take(THREE + _frame(3))
    assert not follower.level


@pytest.mark.parametrize("number", [0, 2], ids=["repeated", "skipped"])
def test_the_reference_itself_is_checked_by_its_numbers(number: int) -> None:
    reference = Reference()
    reference.take(_frame(0))
    with pytest.raises(Wrong, match="in the place of message 1"):
        reference.take(_frame(number))


def test_what_is_no_message_has_to_come_to_everybody_as_well() -> None:
    reference, other = Reference(), wire.heard(b'[null,null,"user:1","unread_count",{"unread_count":0}]')
    assert reference.take(_frame(0) + other + _frame(1)) == 2
    with pytest.raises(Wrong, match="other bytes"):
        Follower(reference).take(_frame(0) + _frame(1))


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_frames_of_every_length(size: int) -> None:
    frame, frames = wire.heard(b"x" * size), Frames()
    head = len(frame) - size
    assert [text for byte in frame[:head] for text in frames.take(bytes((byte,)))] == (
        [b""] if not size else []
    )
    if size:
        assert frames.take(frame[head:-1]) == []
        assert frames.take(frame[-1:] + wire.heard(b"next")) == [b"x" * size, b"next"]


def test_a_close_is_no_text() -> None:
    with pytest.raises(Broken):
        Frames().take(b"\x88\x02\x03\xf4")


def test_the_answer_to_a_handshake_may_come_with_more() -> None:
    whole = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
    assert wire.answer(whole[:-1]) is None
    assert wire.answer(whole + b"more") == (True, b"more")
    assert wire.answer(b"HTTP/1.1 403 Forbidden\r\n\r\n") == (False, b"")


@pytest.mark.parametrize("size", [0, 125, 126, 1_000])
def test_what_a_client_says_is_masked(size: int) -> None:
    said = wire.said(b"x" * size)
    assert said[0] == 0x81
    assert said[1] & 0x80
    assert said.endswith(bytes(4) + b"x" * size)
