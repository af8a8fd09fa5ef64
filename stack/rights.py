"""What each user may do at NATS, MongoDB and Valkey: what its code does, and nothing else. The stack configures its
servers from these tables; `python -m tools.rights_page` writes docs/rights.md and the manifests for Kubernetes.

Only `prepare` makes streams, consumers and indexes. A consumer's settings say which subjects it reads and where to:
who may make one may read whatever its stream holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from crown import bus, store, subjects
from crown.notification.v1.types_pb2 import Channel
from crown.subjects import Consumer
from stack.secrets import PREPARE

_LANES = tuple(subjects.LANES.values())
_CHANNELS = {
    "email": subjects.NAMES[Channel.EMAIL],
    "push": subjects.NAMES[Channel.PUSH],
    "sms": subjects.NAMES[Channel.SMS],
    "ingest-webhook": subjects.NAMES[Channel.WEBHOOK],
}


# -- NATS


@dataclass(frozen=True, slots=True)
class Subjects:
    """The subjects that a user may publish to, and those that it may hear."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def _reads(consumers: Iterable[Consumer]) -> Iterator[str]:
    """What reading by a consumer that is there takes."""
    for one in consumers:
        name = f"{one.stream}.{one.name}"
        yield f"$JS.API.CONSUMER.INFO.{name}"
        yield f"$JS.API.CONSUMER.MSG.NEXT.{name}"
        yield f"$JS.ACK.{name}.>"


def _api(call: str, *names: str) -> Iterator[str]:
    return (f"$JS.API.{call}.{name}" for name in names)


def _channel(channel: str) -> tuple[str, ...]:
    """What delivering on a channel takes."""
    workers = (subjects.worker(channel, lane) for lane in _LANES)
    retriers = (subjects.retrier(channel, lane) for lane in _LANES)
    return (
        *_reads([*workers, *retriers]),
        f"crown.retry.{channel}.*",
        subjects.dead(channel),
        subjects.event(channel),
    )


# What a service has to know to refuse tokens that were revoked.
_REVOKED = (*_api("STREAM.INFO", subjects.REVOKED), *_api("DIRECT.GET", subjects.REVOKED))
_INTAKE = subjects.intake("*")
_DELIVERIES = subjects.delivery("*", "*")
_LIVE = "crown.live.>"
_LIVE_KEPT = "crown.rt.>"
_WORK_STREAMS = (
    *map(subjects.intake_stream, _LANES),
    *map(subjects.delivery_stream, _LANES),
    subjects.RETRY,
    subjects.SCHEDULE,
)
# An erasure takes out what sockets were to get, closes them, and tells what it has ended.
_ERASES = (*_api("STREAM.PURGE", subjects.REALTIME), subjects.REVOCATIONS, subjects.event("*"))
# What waits for whom: the books, and what is stuck.
_LOOKS = (
    *_api("STREAM.INFO", *_WORK_STREAMS, subjects.EVENT, subjects.DEAD),
    *_api("STREAM.MSG.GET", *_WORK_STREAMS, subjects.EVENT, subjects.DEAD),
    "$JS.API.CONSUMER.INFO.*.*",
)

_PUBLISHED: dict[str, tuple[str, ...]] = {
    "ingest-api": (
        _INTAKE,
        # Dead letters that are replayed.
        _DELIVERIES,
        _LIVE,
        _LIVE_KEPT,
        *_api("STREAM.INFO", subjects.REALTIME),
        *_api("STREAM.PURGE", subjects.SCHEDULE),
        *_ERASES,
        *_LOOKS,
        *_REVOKED,
    ),
    "ingest-dispatch": (
        *_reads(map(subjects.dispatcher, _LANES)),
        *_reads(map(subjects.due_dispatcher, _LANES)),
        # The next page of an audience.
        _INTAKE,
        _DELIVERIES,
        _LIVE,
        _LIVE_KEPT,
        "crown.schedule.*.*.*",
        subjects.decided("*"),
        subjects.DEAD_DISPATCH,
    ),
    "ingest-record": (
        *_reads([subjects.recorder(), subjects.undertaker()]),
        _INTAKE,
        _DELIVERIES,
        "$JS.API.STREAM.LIST",
        "$JS.API.CONSUMER.LIST.*",
        # What was settled.
        *_api("STREAM.PURGE", *_WORK_STREAMS, subjects.DEAD),
        *_ERASES,
        *_LOOKS,
    ),
    "ingest-webhook": _channel(_CHANNELS["ingest-webhook"]),
    "email": (*_channel(_CHANNELS["email"]), subjects.callback(_CHANNELS["email"]), *_REVOKED),
    "push": (*_channel(_CHANNELS["push"]), *_REVOKED),
    "sms": (*_channel(_CHANNELS["sms"]), subjects.callback(_CHANNELS["sms"]), *_REVOKED),
    "realtime": (
        _LIVE,
        _LIVE_KEPT,
        subjects.REVOCATIONS,
        "crown.longpoll.*",
        f"{bus.inbox_prefix('realtime')}.>",
        subjects.VITALS_ASKED,
        *_api("STREAM.INFO", subjects.REALTIME),
        *_api("DIRECT.GET", subjects.REALTIME),
        *_REVOKED,
    ),
    PREPARE: (
        "$JS.API.STREAM.INFO.*",
        "$JS.API.STREAM.CREATE.*",
        "$JS.API.STREAM.UPDATE.*",
        "$JS.API.CONSUMER.DURABLE.CREATE.*.*",
    ),
}
_HEARD: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("ingest-api", "email", "push", "sms"), (subjects.REVOCATIONS,)),
    "realtime": (_LIVE, subjects.REVOCATIONS, "crown.longpoll.*", subjects.VITALS_TOLD),
}


def _nats(user: str) -> Subjects:
    own = (bus.RIGHTS, subjects.VITALS_TOLD)
    heard = (f"{bus.inbox_prefix(user)}.>", subjects.VITALS_ASKED)
    return Subjects((*own, *_PUBLISHED[user]), (*heard, *_HEARD.get(user, ())))


NATS: Mapping[str, Subjects] = {user: _nats(user) for user in _PUBLISHED}


# -- MongoDB

_FIND = ("find",)
_ADD = ("find", "insert")
_CHANGE = ("find", "update")
_PUT = ("find", "insert", "update")
_ALL = ("find", "insert", "update", "remove")
_TAKE_OUT = ("find", "remove")

Actions = tuple[str, ...]

# What delivering on a channel to people takes.
_DELIVERS: dict[str, Actions] = {
    "notifications": _FIND,
    "ledger": _CHANGE,
    "claims": _PUT,
    "people": _FIND,
    "contacts": _FIND,
    "preferences": _FIND,
    "suppressions": _FIND,
    "direct": _ALL,
}
# What an erasure takes out.
_ERASED: dict[str, Actions] = {
    "ledger": _ALL,
    "threads": _TAKE_OUT,
    "claims": _TAKE_OUT,
    "webhooks": _TAKE_OUT,
    "timeline": _TAKE_OUT,
    "people": _TAKE_OUT,
    "contacts": _TAKE_OUT,
    "devices": _TAKE_OUT,
    "preferences": _TAKE_OUT,
    "members": _TAKE_OUT,
    # Others whom an order was for stay in it.
    "dead_letters": ("find", "update", "remove"),
    "replays": _TAKE_OUT,
    "schedules": ("find", "update", "remove"),
    "digests": _TAKE_OUT,
    "broadcast_marks": _TAKE_OUT,
    "erasures": _PUT,
}

MONGODB: Mapping[str, Mapping[str, Actions]] = {
    "ingest-api": {
        **_ERASED,
        "notifications": _CHANGE,
        "webhooks": _ALL,
        "timeline": _ALL,
        "people": ("find", "insert", "remove"),
        "contacts": _ALL,
        "preferences": _ALL,
        "groups": _ALL,
        "members": _ALL,
        "suppressions": _ALL,
        "replays": _ALL,
        "schedules": _ALL,
        "broadcasts": _TAKE_OUT,
        "broadcast_marks": _ALL,
    },
    "ingest-dispatch": {
        "notifications": _PUT,
        "ledger": _PUT,
        "threads": ("find", "insert", "remove"),
        "timeline": _PUT,
        "people": _ADD,
        "contacts": _FIND,
        "preferences": _FIND,
        "erasures": _FIND,
        "groups": _FIND,
        "members": _FIND,
        "digests": _ADD,
        "broadcasts": ("find", "insert", "remove"),
        "broadcast_marks": _FIND,
    },
    "ingest-record": {
        **_ERASED,
        "notifications": ("find", "update", "remove"),
        "webhooks": _ALL,
        "timeline": _ALL,
        "groups": ("find", "update", "remove"),
        "dead_letters": _ALL,
        "replays": ("find", "update", "remove"),
        "broadcasts": _FIND,
    },
    "ingest-webhook": {"notifications": _FIND, "webhooks": _CHANGE, "claims": _PUT},
    "email": {
        **_DELIVERS,
        "preferences": _PUT,
        "suppressions": _PUT,
        "templates": _ALL,
        "template_versions": _ALL,
    },
    "push": {**_DELIVERS, "people": _ADD, "devices": _ALL, "broadcasts": _FIND, "broadcast_marks": _FIND},
    "sms": {**_DELIVERS, "suppressions": _ALL},
    "realtime": {
        "ledger": _FIND,
        "preferences": _FIND,
        "groups": _FIND,
        "members": _FIND,
        "broadcasts": _FIND,
        "broadcast_marks": _FIND,
    },
    PREPARE: dict.fromkeys(store.INDEXED, ("createCollection", "createIndex")),
}


def mongodb_role(user: str) -> str:
    """The name of the role that a user has in the database of the suite."""
    return f"crown-{user}"


def privileges(user: str, database: str) -> list[dict[str, object]]:
    """What the role of `user` may do, as MongoDB takes it."""
    return [
        {"resource": {"db": database, "collection": collection}, "actions": list(actions)}
        for collection, actions in sorted(MONGODB[user].items())
    ]


# -- Valkey


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys that a user may touch, and the commands that it may give, also inside of scripts."""

    patterns: tuple[str, ...]
    commands: tuple[str, ...]


# What the client says as it connects.
_CONNECTS = ("ping", "client|setinfo", "select")
_SCRIPTS = ("evalsha", "script|load", "script|exists", "time")
_RATES = (*_SCRIPTS, "get", "set", "pexpire", "zadd", "zcard", "zremrangebyscore")
_ACTIVE = "crown:presence:active:*"
_FILTER = "crown:filter:*"

VALKEY: Mapping[str, Keys] = {
    "ingest-api": Keys(
        ("crown:key:*", "crown:quota:*", _ACTIVE, _FILTER),
        (*_CONNECTS, *_SCRIPTS, "get", "set", "exists", "del", "hmget", "hset", "pexpire"),
    ),
    "ingest-dispatch": Keys((_FILTER,), (*_CONNECTS, "mget", "set", "append", "expire")),
    "ingest-record": Keys((_ACTIVE, _FILTER), (*_CONNECTS, "del")),
    "email": Keys(("crown:rate:email:*",), (*_CONNECTS, *_RATES)),
    "push": Keys(("crown:rate:push:*",), (*_CONNECTS, *_RATES)),
    "sms": Keys(("crown:rate:sms:*", "crown:sms:*"), (*_CONNECTS, *_RATES, "exists", "incrby")),
    "realtime": Keys(
        ("crown:presence:*",),
        (
            *(*_CONNECTS, *_SCRIPTS, "info", "get", "mget", "set", "del", "exists"),
            *("hget", "hset", "hsetnx", "hincrby", "hdel", "hlen", "hkeys", "hgetall", "hscan"),
            *("sadd", "srem", "spop", "srandmember", "sismember", "zadd", "zrem", "zrange", "zscore"),
        ),
    ),
}


def valkey_row(user: str, password_hash: str) -> str:
    """The line of the access list that lets `user` in; `password_hash` is SHA-256 in hexadecimal."""
    keys = VALKEY[user]
    rules = [f"~{pattern}" for pattern in keys.patterns] + [f"+{command}" for command in keys.commands]
    return f"user {user} on #{password_hash} resetchannels -@all {' '.join(dict.fromkeys(rules))}"
