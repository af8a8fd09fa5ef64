"""The bytes of frames."""

from __future__ import annotations

import pytest

from services.realtime import closecodes
from services.realtime.closecodes import Close
from services.realtime.message import Frame
from services.realtime.websocket import framed


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (0, "8100"),
        (125, "817d"),
        (126, "817e007e"),
        (65_535, "817effff"),
        (65_536, "817f0000000000010000"),
    ],
)
def test_a_frame_says_its_size(size: int, head: str) -> None:
    frame = framed(Frame(b"x" * size))
    assert frame.hex().startswith(head)
    assert len(frame) == len(head) // 2 + size
    assert framed(Frame(b"x" * size, binary=True)) == b"\x82" + frame[1:]


def test_codes_from_3000_on_say_by_their_number_whether_to_come_back() -> None:
    for close in vars(closecodes).values():
        if isinstance(close, Close) and close.code >= 3000:
            assert close.again == (close.code < 3500)
