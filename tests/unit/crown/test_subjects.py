"""Names on the bus: what users supply never gets into a subject raw, and every stream has its promise."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crown import subjects
from crown.subjects import Consumer, covers

TOKEN = re.compile(r"[A-Za-z0-9_-]+")


@pytest.mark.parametrize("user_id", ["a.>", "*", ">", "a b", "a.b", "$JS.API", "é", "\r\nPUB x 0", "user123"])
def test_a_user_id_is_one_token(user_id: str) -> None:
    assert TOKEN.fullmatch(subjects.token(user_id))
    for subject in (subjects.live_source(f"user:{user_id}"), subjects.live(f"user:{user_id}")):
        assert len(subject.split(".")) == 4
        assert TOKEN.fullmatch(subject.rpartition(".")[2])


@given(st.text(min_size=1), st.text(min_size=1))
def test_two_people_have_two_tokens(one: str, other: str) -> None:
    assert TOKEN.fullmatch(subjects.token(one))
    assert (subjects.token(one) == subjects.token(other)) == (one == other)


# What means something to NATS, to its wire, or to who takes a subject apart.
HOSTILE = st.one_of(
    st.text(min_size=1),
    st.text(alphabet=".*> \t\r\n$_:/\\{}\x00éa0-", min_size=1),
    st.sampled_from(
        ["*", ">", "a.*", "a.>", "a b", "\r\nPUB crown.dead.sms 0\r\n", "$JS.API.STREAM.DELETE.X"]
    ),
)


@given(HOSTILE, HOSTILE)
def test_whatever_an_id_is_a_subject_keeps_its_form(one: str, other: str) -> None:
    for kind in subjects.TOPIC_KINDS:
        for subject in (subjects.live_source(f"{kind}:{one}"), subjects.live(f"{kind}:{one}")):
            assert re.fullmatch(rf"crown\.(rt|live)\.{kind}\.[A-Za-z0-9_-]+", subject)
    for subject in (subjects.revoked(one, other), subjects.revoked(one, "")):
        assert re.fullmatch(r"crown\.revoked\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", subject)
    assert subjects.closed(one, other) == f"{subjects.revoked(one, other)}.kept"
    assert (subjects.live(f"user:{one}") == subjects.live(f"user:{other}")) == (one == other)


@given(HOSTILE)
def test_an_id_of_ours_that_is_none_gets_into_no_subject(identifier: str) -> None:
    makes: list[Callable[[str], str]] = [
        lambda given: subjects.retry("sms", given),
        lambda given: subjects.schedule(given, "0", "whom"),
        subjects.schedules,
        subjects.longpoll,
    ]
    for make in makes:
        if re.fullmatch(r"[A-Za-z0-9-]+", identifier):
            assert identifier in make(identifier).split(".")
        else:
            with pytest.raises(ValueError, match="letters, digits"):
                make(identifier)


def stream(name: str) -> dict[str, Any]:
    (found,) = [one for one in subjects.streams(1 << 20) if one["name"] == name]
    return found


PUBLISHED = {
    **{subjects.intake(lane): f"INTAKE_{lane}" for lane in subjects.LANES.values()},
    **{subjects.delivery("push", lane): f"DELIVERY_{lane}" for lane in subjects.LANES.values()},
    subjects.retry("sms", "d" * 32): "RETRY",
    subjects.due("sms", "bulk"): "RETRY",
    subjects.event("email"): "EVENT",
    subjects.dead("email"): "DEAD",
    subjects.DEAD_DISPATCH: "DEAD",
    subjects.live_source("user:user123"): "REALTIME",
}


@pytest.mark.parametrize(("subject", "name"), PUBLISHED.items())
def test_each_subject_has_one_stream(subject: str, name: str) -> None:
    found = [s["name"] for s in subjects.streams(1) if any(covers(p, subject) for p in s["subjects"])]
    assert found == [name]


def test_what_is_republished_is_what_nodes_listen_to() -> None:
    republish = stream("REALTIME")["republish"]
    assert covers(republish["src"], subjects.live_source("user:user123"))
    assert subjects.live("user:user123") == subjects.live_source("user:user123").replace(
        "crown.rt.", "crown.live."
    )
    assert not any(
        covers(p, subjects.live("user:user123")) for s in subjects.streams(1) for p in s["subjects"]
    )


@pytest.mark.parametrize("lane", subjects.LANES.values())
def test_what_was_accepted_is_never_dropped_for_room(lane: str) -> None:
    for name in (subjects.intake_stream(lane), subjects.delivery_stream(lane), "DEAD"):
        found = stream(name)
        assert (found["discard"], found["max_bytes"]) == ("new", 1 << 20)
        assert "max_age" not in found
        assert found.get("persist_mode", "default") == "default"


@pytest.mark.parametrize("name", ["RETRY", "SCHEDULE"])
def test_schedules_have_no_bound_that_could_drop_them(name: str) -> None:
    found = stream(name)
    assert not {"max_bytes", "max_age", "max_msgs", "max_msgs_per_subject"} & set(found)
    assert found["allow_msg_schedules"] is True


def test_deduplication_does_not_hang_on_the_retention() -> None:
    # Work queues forget message ids on a restart, and forget a message once it is acked.
    assert not any("retention" in found for found in subjects.streams(1))


@pytest.mark.parametrize(
    ("stream", "channel", "subject"),
    [
        ("INTAKE_critical", "dispatch", "crown.intake.critical"),
        ("INTAKE_bulk", "sms", "crown.intake.bulk"),
        ("DELIVERY_normal", "sms", "crown.delivery.sms.normal"),
        ("RETRY", "push", "crown.delivery.push.bulk"),
        ("RETRY", "dispatch", ""),
        ("DELIVERY_normal", "dispatch", ""),
        ("EVENT", "sms", ""),
        ("DEAD", "dispatch", ""),
        ("", "sms", ""),
    ],
)
def test_where_what_came_from_a_stream_is_published_again(stream: str, channel: str, subject: str) -> None:
    assert subjects.source(stream, channel) == subject


CONSUMERS = [
    *(subjects.dispatcher(lane) for lane in subjects.LANES.values()),
    *(subjects.worker("push", lane) for lane in subjects.LANES.values()),
    *(subjects.retrier("push", lane) for lane in subjects.LANES.values()),
    subjects.recorder(),
    subjects.undertaker(),
]


@pytest.mark.parametrize("consumer", CONSUMERS, ids=lambda c: f"{c.stream}.{c.name}")
def test_a_consumer_reads_its_stream_and_never_gives_up(consumer: Consumer) -> None:
    settings = consumer.settings()
    assert any(covers(pattern, consumer.subject) for pattern in stream(consumer.stream)["subjects"]) or (
        consumer.subject in stream(consumer.stream)["subjects"]
    )
    assert (settings["ack_policy"], settings["max_deliver"]) == ("explicit", -1)
    assert settings["ack_wait"] >= 20 * 10**9
    assert "backoff" not in settings
    assert TOKEN.fullmatch(consumer.name)


def test_consumers_of_a_stream_have_different_names() -> None:
    names = [(c.stream, c.name) for c in CONSUMERS]
    assert len(names) == len(set(names))
