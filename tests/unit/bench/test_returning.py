"""Those who come back count what they missed and what came twice, and say where they were."""

from __future__ import annotations

import json

from bench import wire
from bench.returning import Person, Tally
from bench.sockets import mark

TOPIC = "user:1"


def _reply(recovered: bool, offset: int, status: str = "ok") -> bytes:
    response = {"recovered": recovered, "offset": offset, "epoch": "e"}
    return json.dumps(["1", "1", TOPIC, "phx_reply", {"status": status, "response": response}]).encode()


def _message(number: int, offset: int) -> bytes:
    payload = {"notification_id": mark(number), "offset": offset, "epoch": "e"}
    return json.dumps([None, None, TOPIC, "notification", payload], separators=(",", ":")).encode()


def _joined(person: Person) -> object:
    (text,) = wire.Frames().take(_unmasked(person.join))
    return json.loads(text)[4]


def _unmasked(frame: bytes) -> bytes:
    return bytes((frame[0], frame[1] & 0x7F)) + frame[6:]


def test_it_goes_on_from_the_last_event() -> None:
    person = Person(b"", TOPIC, Tally())
    assert _joined(person) == {}
    assert person.welcome(_reply(recovered=False, offset=7))
    assert _joined(person) == {"since": 7, "epoch": "e"}
    person.hear(_message(0, offset=12))
    assert person.welcome(_reply(recovered=True, offset=12))
    assert _joined(person) == {"since": 12, "epoch": "e"}


def test_holes_and_repetitions_are_counted() -> None:
    tally = Tally()
    person = Person(b"", TOPIC, tally)
    for offset, number in enumerate((0, 1, 1, 0, 4, 5)):
        person.hear(_message(number, offset))
    person.hear(b'[null,null,"user:1","unread_count",{"unread_count":2}]')
    assert (tally.heard, tally.repeated, tally.lost) == (6, 2, 2)


def test_only_a_return_can_recover() -> None:
    tally = Tally()
    person = Person(b"", TOPIC, tally)
    for recovered in (False, True, False):
        assert person.welcome(_reply(recovered, offset=1))
    assert (tally.recovered, tally.unrecovered) == (1, 1)
    assert not person.welcome(_reply(recovered=False, offset=0, status="error"))
