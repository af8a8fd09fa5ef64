"""What rules make of events: for whom, with which words, under which key."""

from __future__ import annotations

from pathlib import Path as File
from typing import Any

import pytest

from crown import validation
from crown.notification.v1.ingest_service_pb2 import SendNotificationRequest
from crown.notification.v1.types_pb2 import Category, Channel, Priority
from services.realtime.relay import feeds_file, mapping
from services.realtime.relay.document import Event
from services.realtime.relay.feed import Feed
from services.realtime.relay.template import Unmappable

GOAL: dict[str, Any] = {
    "type": "goal",
    "match": {"event_id": "e1", "id": 7},
    "team": "Crown",
    "fans": ["ann", "bo", "ann"],
    "people": [{"id": "ann", "name": "Ann"}, {"name": "Bo"}, {"id": 5, "name": "Cy"}],
}


def feed(folder: File, *rules: str) -> Feed:
    path = folder / "feeds.toml"
    path.write_text(
        '[[feed]]\nname = "scores"\nurl = "wss://scores.example"\n'
        + "".join(f"[[feed.event]]\n{rule}\n" for rule in rules)
    )
    (found,) = feeds_file.read(path)
    return found


def made(folder: File, rule: str, document: Any = GOAL) -> list[SendNotificationRequest | Unmappable]:
    one = feed(folder, rule)
    event = Event(document)
    found = one.rule_for(event)
    assert found is not None
    return list(mapping.requests(one.name, found, event))


def sent(folder: File, rule: str, document: Any = GOAL) -> list[SendNotificationRequest]:
    found = made(folder, rule, document)
    requests = [one for one in found if isinstance(one, SendNotificationRequest)]
    assert len(requests) == len(found)
    assert [validation.violations(request) for request in requests] == [[]] * len(found)
    return requests


def test_a_rule_says_everything(tmp_path: File) -> None:
    (request,) = sent(
        tmp_path,
        """
        when = {type = "goal"}
        id = "match.event_id"
        user_id = "fans.0"
        channels = ["push", "in_app"]
        kind = "update"
        category = "social"
        priority = "critical"
        data.title = "{team} scored"
        data.message = "Match {match.id}"
        data.action_url = "/matches/{match.id}"
        data.image_url = "https://cdn.crown.example/{team}.png"
        """,
    )
    assert request.idempotency_key == "relay:scores:e1"
    assert (request.user_id, list(request.channels)) == ("ann", [Channel.PUSH, Channel.IN_APP])
    assert (request.kind, request.category, request.priority) == (
        "update",
        Category.SOCIAL,
        Priority.CRITICAL,
    )
    assert (request.data.title, request.data.message) == ("Crown scored", "Match 7")
    assert (request.data.action_url, request.data.image_url) == (
        "/matches/7",
        "https://cdn.crown.example/Crown.png",
    )


def test_user_ids_is_one_notification_for_all_of_them_once(tmp_path: File) -> None:
    (request,) = sent(
        tmp_path, 'id = "match.event_id"\nuser_ids = "fans"\ntype = "push"\ndata.title = "Goal"'
    )
    assert (list(request.user_ids), request.idempotency_key) == (["ann", "bo"], "relay:scores:e1")
    assert request.type == Channel.PUSH


def test_each_is_a_notification_for_each_with_its_own_words_and_key(tmp_path: File) -> None:
    rule = 'id = "match.event_id"\neach = "people"\nuser_id = "each.id"\ndata.title = "{each.name}: {team}"'
    first, second, third = made(tmp_path, rule)
    assert isinstance(first, SendNotificationRequest)
    assert isinstance(third, SendNotificationRequest)
    assert (first.user_id, first.data.title, first.idempotency_key) == (
        "ann",
        "Ann: Crown",
        "relay:scores:e1/ann",
    )
    assert (third.user_id, third.idempotency_key) == ("5", "relay:scores:e1/5")
    # Who cannot be found keeps nobody else from it.
    assert isinstance(second, Unmappable)
    assert str(second) == "each.id"


def test_each_alone_takes_the_entries_for_people(tmp_path: File) -> None:
    found = sent(tmp_path, 'id = "match.event_id"\neach = "fans"\ndata.title = "Goal"')
    assert [request.user_id for request in found] == ["ann", "bo", "ann"]
    assert len({request.idempotency_key for request in found}) == 2


@pytest.mark.parametrize(
    ("rule", "document", "path"),
    [
        ('user_id = "fans.0"', {**GOAL, "match": {}}, "match.event_id"),
        ('user_id = "fans.0"', {**GOAL, "match": {"event_id": ""}}, "match.event_id"),
        ('user_id = "fans.0"', {**GOAL, "match": {"event_id": None}}, "match.event_id"),
        ('user_id = "fans.0"', {**GOAL, "team": ["a"]}, "team"),
        ('user_id = "fans.9"', GOAL, "fans.9"),
        ('user_id = "fans"', GOAL, "fans"),
        ('user_ids = "team"', GOAL, "team"),
        ('user_ids = "fans"', {**GOAL, "fans": []}, "fans"),
        ('user_ids = "fans"', {**GOAL, "fans": ["ann", None]}, "fans"),
        ('user_ids = "fans"', {**GOAL, "fans": ["ann"] * 10_001}, "fans"),
        ('each = "fans"', {**GOAL, "fans": ["ann"] * 10_001}, "fans"),
        ('each = "fans"', {**GOAL, "fans": "ann"}, "fans"),
        ('each = "fans"', {**GOAL, "fans": [{}]}, "each"),
    ],
)
def test_what_is_missing_is_told_by_its_path(tmp_path: File, rule: str, document: Any, path: str) -> None:
    (found,) = made(tmp_path, f'id = "match.event_id"\n{rule}\ndata.title = "{{team}}"', document)
    assert isinstance(found, Unmappable)
    assert str(found) == path


@pytest.mark.parametrize(
    ("when", "document", "applies"),
    [
        ('{type = "goal"}', {"type": "goal"}, True),
        ('{type = "goal"}', {"type": "Goal"}, False),
        ('{type = "goal"}', {}, False),
        ('{type = "goal"}', ["goal"], False),
        ('{"0" = "goal"}', ["goal"], True),
        ("{match.live = true}", {"match": {"live": True}}, True),
        ('{"match.live" = true}', {"match": {"live": True}}, True),
        ("{match.live = true}", {"match": {"live": 1}}, False),
        ("{n = 1}", {"n": 1}, True),
        ("{n = 1}", {"n": 1.0}, True),
        ("{n = 1}", {"n": True}, False),
        ("{n = 1}", {"n": "1"}, False),
        ('{type = "goal", match.live = true}', {"type": "goal"}, False),
        ("{}", None, True),
    ],
)
def test_conditions_are_exact(tmp_path: File, when: str, document: Any, applies: bool) -> None:
    found = feed(tmp_path, f'when = {when}\nid = "id"\nuser_id = "u"\ndata.title = "x"')
    assert (found.rule_for(Event(document)) is not None) is applies


def test_the_first_rule_that_applies_is_the_one(tmp_path: File) -> None:
    usual = 'id = "id"\nuser_id = "u"\ndata.title = "x"'
    found = feed(tmp_path, f'when = {{type = "goal"}}\n{usual}', usual)
    numbers = [rule.number for kind in ("goal", "card") if (rule := found.rule_for(Event({"type": kind})))]
    assert numbers == [1, 2]


@pytest.mark.parametrize("event_id", ["é", "a b", "x" * 300, "\n"])
def test_an_id_that_fits_no_key_is_hashed(event_id: str) -> None:
    found = mapping.key("scores", event_id)
    assert found.startswith("relay:scores:sha256:")
    assert found.isascii()
    assert len(found) < 256
    assert found == mapping.key("scores", event_id)
    assert found != mapping.key("scores", event_id + "2")


def test_keys_tell_events_and_people_apart() -> None:
    keys = {mapping.key("s", "a"), mapping.key("s", "b"), mapping.key("s", "a", "u"), mapping.key("t", "a")}
    assert len(keys) == 4
