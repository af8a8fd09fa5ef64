"""What newer code of ours has put on the bus. Old and new code run together in every upgrade, and old code finds what
new code left in every rollback: what it does not understand it parks, which is to let it come again later to whoever
may understand it by then, and neither drops it nor gives it up. What is no message of anybody's is another matter,
and what has come for a week without anybody who understood it is taken for that.

Whoever changes what rides on the bus so that an older reader would do something wrong with it raises VERSION, and has
the new messages say so in `needs_version`. What older readers may pass over says nothing."""

from __future__ import annotations

from collections.abc import Container

from crown import logs, metrics
from crown.pull import Message

log = logs.get(__name__)

# What this code understands.
VERSION = 1

FIRST_S = 2.0
MOST_S = 60.0
# So often a message may come: a week of once a minute, which is as long as events are kept.
DELIVERIES_MOST = 7 * 24 * 60


class Newer(Exception):
    """The message is for newer code; `why` says by what one can tell: `version`, or what has an unknown value."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def must_be_for_us(needs_version: int, **known: tuple[int, Container[int]]) -> None:
    """Raises Newer where a message needs newer readers, or where one of the named values is not among those that are
    known. 0, which is not given, is nobody's new value."""
    if needs_version > VERSION:
        raise Newer("version")
    for name, (value, values) in known.items():
        if value and value not in values:
            raise Newer(name)


def is_lost(message: Message) -> bool:
    """Whether a message has come so often that no newer code will come for it: it is to be treated as one that nobody
    can read, and its dead letter can be replayed."""
    return message.deliveries > DELIVERIES_MOST


async def park(message: Message, reader: str, why: str) -> None:
    """Lets it come again: after 2, 4, 8 … 60 s, to any of the workers, old and new."""
    metrics.PARKED.labels(reader, why).inc()
    log.warning(
        "message_parked", reader=reader, why=why, subject=message.subject, sequence=message.sequence,
        deliveries=message.deliveries,
    )  # fmt: skip
    await message.nak(parked_s(message.deliveries))


def parked_s(deliveries: int) -> float:
    """Seconds until a message that has come `deliveries` (1, 2, …) times comes again."""
    return min(FIRST_S * 2.0 ** min(deliveries - 1, 10), MOST_S)
