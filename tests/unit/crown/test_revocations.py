"""Whom a revocation means, and which tokens it refuses."""

from __future__ import annotations

from typing import cast

import pytest
from nats.aio.msg import Msg

from crown.auth import Principal
from crown.bus import Bus
from crown.notification.v1 import events_pb2
from crown.revocations import Disconnect, Revocations
from crown.subjects import REVOKED_KEPT_S


def principal(issued: float, session: str = "s1", subject: str = "ann", use: str = "user") -> Principal:
    """The holder of a token."""
    return Principal(use, subject, frozenset(), 2e9, session, issued)


def empty(now: float = 0.0) -> Revocations:
    """Which know of nothing, at `now`."""
    return Revocations(cast(Bus, None), lambda: now)


@pytest.mark.parametrize(
    ("session", "issued", "refused", "cut"),
    [
        pytest.param("", 999.0, True, True, id="everybody: the second before"),
        pytest.param("", 1000.0, False, True, id="everybody: the same second"),
        pytest.param("", 1001.0, False, False, id="everybody: the second after"),
        pytest.param("", 1000.3, True, True, id="everybody: before, to the fraction"),
        pytest.param("", 1000.5, True, True, id="everybody: the same moment"),
        pytest.param("", 1000.7, False, False, id="everybody: after, to the fraction"),
        pytest.param("s1", 999.0, True, True, id="a session: the second before"),
        pytest.param("s1", 1000.0, True, True, id="a session: the same second"),
        pytest.param("s1", 1001.0, False, False, id="a session: the second after"),
        pytest.param("s2", 999.0, False, False, id="another session"),
    ],
)
def test_when(session: str, issued: float, refused: bool, cut: bool) -> None:
    one = Disconnect("ann", session, 1000.5)
    assert one.refuses(principal(issued)) is refused
    assert one.concerns(principal(issued)) is cut
    known = empty()
    known.hear(one)
    assert known.refuses(principal(issued)) is refused


@pytest.mark.parametrize(
    "other", [principal(1.0, subject="bob"), principal(1.0, use="service"), principal(1.0, use="operator")]
)
def test_others_are_left_alone(other: Principal) -> None:
    one = Disconnect("ann", "", 1000.5)
    known = empty()
    known.hear(one)
    assert not one.concerns(other)
    assert not one.refuses(other)
    assert not known.refuses(other)


@pytest.mark.parametrize("use", ["service", "operator"])
def test_a_service_or_operator_is_meant_by_use_and_name(use: str) -> None:
    one = Disconnect("ann", "", 1000.5, use)
    known = empty()
    known.hear(one)
    assert known.refuses(principal(999.0, use=use))
    assert one.concerns(principal(999.0, use=use))
    assert not known.refuses(principal(1001.0, use=use))
    assert not known.refuses(principal(999.0, use=use, subject="bob"))
    for other in {"user", "service", "operator"} - {use}:
        assert not known.refuses(principal(999.0, use=other))
        assert not one.concerns(principal(999.0, use=other))


@pytest.mark.parametrize("use", ["user", "service", "operator"])
def test_an_event_names_one_of_three(use: str) -> None:
    event = events_pb2.DisconnectEvent()
    setattr(event, f"{use}_id", "ann")
    event.revoke_time.FromSeconds(1000)
    known, told = empty(), list[Disconnect]()
    known.on_disconnect(told.append)
    known._hear(Msg(cast("object", None), data=event.SerializeToString()))  # type: ignore[arg-type]
    assert told == [Disconnect("ann", "", 1000.0, use)]


def test_tokens_may_stay_good() -> None:
    one = Disconnect("ann", "", None)
    known = empty()
    known.hear(one)
    assert one.concerns(principal(1e9))
    assert not known.refuses(principal(1.0))
    assert len(known) == 0


def test_a_token_without_a_session_falls_with_its_person_alone() -> None:
    known = empty()
    known.hear(Disconnect("ann", "s1", 1000.5))
    assert not known.refuses(principal(1.0, session=""))
    known.hear(Disconnect("ann", "", 1000.5))
    assert known.refuses(principal(1.0, session=""))


def test_a_session_and_its_person_are_revoked_apart() -> None:
    known = empty()
    known.hear(Disconnect("ann", "", 1000.5))
    known.hear(Disconnect("ann", "s1", 2000.5))
    assert known.refuses(principal(1500.0))
    assert not known.refuses(principal(1500.0, session="s2"))


def test_an_older_one_that_comes_later_takes_nothing_back() -> None:
    known = empty()
    known.hear(Disconnect("ann", "", 2000.5))
    known.hear(Disconnect("ann", "", 1000.5))
    assert known.refuses(principal(1500.0))


def test_what_no_token_is_as_old_as_is_forgotten() -> None:
    known = empty(now=1000.5 + REVOKED_KEPT_S + 1)
    known.hear(Disconnect("ann", "", 1000.5))
    known.hear(Disconnect("bob", "", 2000.5))
    known.forget()
    assert len(known) == 1
    assert known.refuses(principal(1.0, subject="bob"))


def test_whoever_asked_is_told_of_each_and_one_that_breaks_does_not_stop_the_others() -> None:
    known, told = empty(), list[Disconnect]()
    known.on_disconnect(lambda one: 1 / 0)
    known.on_disconnect(told.append)
    one = Disconnect("ann", "", 1000.5)
    known.hear(one)
    known.hear(one)
    assert told == [one, one]


@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xff\xff",
        b"",
        events_pb2.DisconnectEvent(session_id="s1").SerializeToString(),
        events_pb2.DisconnectEvent(user_id="ann", service_id="ann").SerializeToString(),
    ],
)
def test_what_names_nobody_is_passed_over(body: bytes) -> None:
    known, told = empty(), list[Disconnect]()
    known.on_disconnect(told.append)
    known._hear(Msg(cast("object", None), data=body))  # type: ignore[arg-type]
    assert (len(known), told) == (0, [])
