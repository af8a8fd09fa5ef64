"""The tables of rights: who is in them, and that nobody has more than is meant for them. That servers keep to them is
tried in tests/integration/stack/test_rights.py."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from crown import bus, subjects
from stack import rights
from stack.secrets import PREPARE, SERVICES
from stack.services import FILTER, RELAY, ROLES

ROOT = Path(__file__).resolve().parents[3]
NATS = rights.NATS


def may(user: str, subject: str) -> bool:
    return any(subjects.covers(pattern, subject) for pattern in NATS[user].publish)


def test_every_user_is_in_the_tables_and_every_role_has_one() -> None:
    assert set(NATS) == set(rights.MONGODB) == set(SERVICES)
    # Who delivers to senders, and what prepares, keep nothing in the cache.
    assert set(rights.VALKEY) == set(SERVICES) - {PREPARE, "ingest-webhook"}
    assert {role.user for role in ROLES} == set(SERVICES) - {PREPARE}
    assert not {RELAY.user, FILTER.user} & set(SERVICES)


@pytest.mark.parametrize("user", [user for user in NATS if user != PREPARE])
def test_only_prepare_makes_streams_and_consumers(user: str) -> None:
    calls = (
        "STREAM.CREATE.X",
        "STREAM.UPDATE.X",
        "STREAM.DELETE.X",
        "CONSUMER.CREATE.X",
        "CONSUMER.CREATE.X.y.z",
    )
    more = ("CONSUMER.DURABLE.CREATE.X.y", "CONSUMER.DELETE.X.y", "STREAM.MSG.DELETE.X", "STREAM.RESTORE.X")
    assert [call for call in (*calls, *more) if may(user, f"$JS.API.{call}")] == []
    assert not [actions for actions in rights.MONGODB[user].values() if "createIndex" in actions]


def test_nobody_deletes_a_stream_or_a_consumer() -> None:
    for user in NATS:
        assert not may(user, "$JS.API.STREAM.DELETE.EVENT")
        assert not may(user, "$JS.API.CONSUMER.DELETE.EVENT.record")


@pytest.mark.parametrize("user", NATS)
def test_a_user_hears_only_its_own_answers(user: str) -> None:
    heard = [pattern for pattern in NATS[user].subscribe if pattern.startswith("_INBOX")]
    assert heard == [f"{bus.inbox_prefix(user)}.>"]
    assert not [
        pattern for pattern in NATS[user].subscribe if pattern.startswith((">", "*", "_INBOX.", "crown.>"))
    ]


CHANNELS = {"email": "email", "push": "push", "sms": "sms", "ingest-webhook": "webhook"}


@pytest.mark.parametrize("user", CHANNELS)
def test_a_channel_works_on_itself_alone(user: str) -> None:
    for channel in subjects.NAMES.values():
        ours = channel == CHANNELS[user]
        for lane in subjects.LANES.values():
            assert not may(user, subjects.intake(lane))
            assert not may(user, subjects.delivery(channel, lane))
            assert may(user, f"$JS.API.CONSUMER.MSG.NEXT.DELIVERY_{lane}.{channel}") is ours
            assert may(user, f"$JS.ACK.RETRY.{channel}_{lane}.1.2.3.4.5") is ours
        assert may(user, subjects.retry(channel, "one")) is ours
        assert may(user, subjects.event(channel)) is ours
        assert may(user, subjects.dead(channel)) is ours


def test_patterns_cover_what_is_no_wider() -> None:
    assert subjects.covers("a.*", "a.b")
    assert subjects.covers("a.>", "a.b.c")
    assert subjects.covers("a.>", "a.*.>")
    assert not subjects.covers("a.*", "a.>")
    assert not subjects.covers("a.b", "a.*")
    assert not subjects.covers("a.>", "a")
    assert not subjects.covers("a.*", "a.b.c")


# -- what the code does is in the tables

_CALLED = re.compile(r"redis\.p?call\('([A-Z]+)'")
_SCRIPTS = {
    "ingest-api": ["services/ingest/intake/quota.py"],
    "email": ["crown/rates.py"],
    "sms": ["crown/rates.py", "services/sms/caps.py"],
    "realtime": ["crown/presence.py", "services/realtime/presence/scripts.py"],
}


@pytest.mark.parametrize("user", _SCRIPTS)
def test_what_scripts_call_is_allowed(user: str) -> None:
    called = {name.lower() for path in _SCRIPTS[user] for name in _CALLED.findall((ROOT / path).read_text())}
    assert called <= set(rights.VALKEY[user].commands)


def test_nobody_has_a_command_for_operators() -> None:
    forbidden = {
        "config",
        "keys",
        "scan",
        "flushall",
        "flushdb",
        "debug",
        "eval",
        "function",
        "fcall",
        "acl",
        "all",
    }
    for keys in rights.VALKEY.values():
        assert not forbidden & {command.partition("|")[0] for command in keys.commands}
        assert "script|flush" not in keys.commands
        assert all(pattern.startswith("crown:") for pattern in keys.patterns)


# -- queries

# What runs code of the one who asks, writes elsewhere, or looks for patterns of their making.
_NO_OPERATORS = {
    "$where",
    "$function",
    "$accumulator",
    "$regex",
    "$regexMatch",
    "$regexFind",
    "$out",
    "$merge",
    "$text",
}
_NO_COMMANDS = {"eval", "mapReduce", "mapreduce", "group"}


def _offences(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Constant(value=str(text)) if text in _NO_OPERATORS:
                yield text
            case ast.Call(func=ast.Name(id="Code" | "Regex" as name)):
                yield name
            case ast.Call(func=ast.Attribute(attr="command"), args=[ast.Constant(value=str(name)), *_]):
                if name in _NO_COMMANDS:
                    yield name


@pytest.mark.parametrize("folder", ["crown", "services"])
def test_no_query_runs_code_or_looks_for_a_pattern(folder: str) -> None:
    paths = [path for path in (ROOT / folder).rglob("*.py") if not path.stem.endswith(("_pb2", "_pb2_grpc"))]
    assert len(paths) > 50
    assert [f"{path}: {one}" for path in paths for one in _offences(path.read_text())] == []


@pytest.mark.parametrize(
    "source",
    ['x = {"$where": "1"}', 'db.find({"a": {"$regex": name}})', 'Regex("a")', 'db.command("mapReduce")'],
)
def test_a_query_that_does_is_seen(source: str) -> None:
    assert list(_offences(source))
