"""An answer reaches who asked, and so does the server's word that nothing may be asked there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from nats.aio.msg import Msg

from crown.bus import rights
from crown.bus.replies import Replies
from crown.errors import BusUnavailable

Hear = Callable[[Msg], Awaitable[None]]


class Client:
    """A NATS client, as far as it is asked here."""

    def __init__(self) -> None:
        self.hear: Hear | None = None

    def new_inbox(self) -> str:
        """Below what answers are heard."""
        return "_INBOX_feed.1"

    async def subscribe(self, subject: str, cb: Hear) -> None:
        """Keeps who hears."""
        assert subject == "_INBOX_feed.1.*"
        self.hear = cb


def answer(subject: str) -> Msg:
    return Msg(None, subject=subject, data=b"yes")  # type: ignore[arg-type]


async def listening() -> tuple[Replies, Hear]:
    client, replies = Client(), Replies()
    await replies.listen(client)  # type: ignore[arg-type]
    assert client.hear is not None
    return replies, client.hear


async def test_each_answer_goes_to_who_asked() -> None:
    replies, hear = await listening()
    first, waiting_first = replies.expect("crown.a")
    second, waiting_second = replies.expect("crown.a")
    await hear(answer(second))
    assert not waiting_first.done()
    await hear(answer(first))
    # A repetition, and one for who has gone: both are nobody's.
    await hear(answer(first))
    replies.forget(first)
    await hear(answer(first))
    assert [(await one).subject for one in (waiting_first, waiting_second)] == [first, second]


async def test_a_refusal_goes_to_who_asked_there() -> None:
    replies, _ = await listening()
    _, refused = replies.expect("$JS.API.STREAM.INFO.DEAD")
    _, other = replies.expect("$JS.API.STREAM.INFO.EVENT")
    replies.refuse("$js.api.stream.info.dead")
    with pytest.raises(BusUnavailable, match="does not let this user"):
        await refused
    await asyncio.sleep(0)
    assert not other.done()


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ('nats: permissions violation for publish to "crown.a"', ("publish", "crown.a")),
        ('nats: permissions violation for subscription to "crown.>"', ("subscription", "crown.>")),
        ("nats: stale connection", None),
        ("", None),
    ],
)
def test_what_the_server_forbids(words: str, found: tuple[str, str] | None) -> None:
    assert rights.forbidden(words) == found
