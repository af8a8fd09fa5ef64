"""A token from a file is read again, and kept where the file is of no use."""

from __future__ import annotations

from pathlib import Path

from crown.token_file import LOOK_S, Token


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


async def test_it_is_read_again_after_a_while(tmp_path: Path) -> None:
    file, clock = tmp_path / "token", Clock()
    file.write_text("two\n")
    token = Token("one", file, clock)
    assert await token.current() == "one"
    clock.seconds += LOOK_S
    assert await token.current() == "two"
    file.write_text("three")
    assert await token.current() == "two"
    clock.seconds += LOOK_S
    assert await token.current() == "three"


async def test_the_last_good_one_is_kept(tmp_path: Path) -> None:
    file, clock = tmp_path / "token", Clock()
    token = Token("one", file, clock)
    for content in (None, b"", b"\xff"):
        if content is not None:
            file.write_bytes(content)
        clock.seconds += LOOK_S
        assert await token.current() == "one"
    file.write_text("two")
    clock.seconds += LOOK_S
    assert await token.current() == "two"


async def test_one_that_is_given_stays() -> None:
    clock = Clock()
    token = Token("one", None, clock)
    clock.seconds += 3600
    assert await token.current() == "one"
