"""What each user may do at NATS, MongoDB and Valkey, tried out: the servers allow what stack/rights.py lists, and
refuse everything else that anybody else may do, or nobody."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis.exceptions
from nats.aio.client import Client
from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure
from redis.asyncio import Redis
from structlog.testing import capture_logs

from crown import bus, metrics, subjects
from crown.bus import Bus, Outgoing
from crown.errors import BusUnavailable
from crown.settings import Settings
from crown.store import Store
from services.ingest import prepare
from stack import rights, services
from stack.control import Stack
from stack.secrets import OPERATOR, PREPARE

PORT_BASE = 13_300
_UNAUTHORIZED = 13
_REFUSED = re.compile(r'permissions violation for (\w+) to "([^"]*)"', re.IGNORECASE)

# What no service may publish, whatever its table says.
FORBIDDEN = {
    user: [
        "$JS.API.STREAM.CREATE.MINE",
        "$JS.API.STREAM.UPDATE.EVENT",
        "$JS.API.STREAM.DELETE.EVENT",
        "$JS.API.STREAM.MSG.DELETE.EVENT",
        "$JS.API.STREAM.RESTORE.EVENT",
        "$JS.API.STREAM.SNAPSHOT.EVENT",
        "$JS.API.STREAM.PURGE.EVENT",
        "$JS.API.CONSUMER.CREATE.EVENT",
        "$JS.API.CONSUMER.CREATE.EVENT.mine.crown.event.>",
        "$JS.API.CONSUMER.DURABLE.CREATE.EVENT.record",
        "$JS.API.CONSUMER.DELETE.EVENT.record",
        "$JS.API.CONSUMER.MSG.NEXT.INTAKE_bulk.mine",
        "$JS.API.ACCOUNT.PURGE.CROWN",
        "$SYS.REQ.SERVER.PING",
    ]
    for user in rights.NATS
    if user != PREPARE
}
FORBIDDEN["email"] += [
    "crown.intake.critical",
    "crown.delivery.sms.normal",
    "crown.delivery.email.normal",
    "crown.retry.sms.one",
    "crown.dead.sms",
    "crown.event.outcome.sms",
    "crown.event.callback.sms",
    "crown.live.user.one",
    "crown.revoked.one._",
    "$JS.API.CONSUMER.MSG.NEXT.DELIVERY_normal.sms",
    "$JS.API.STREAM.MSG.GET.DELIVERY_normal",
    "$JS.API.DIRECT.GET.REALTIME",
    "$JS.ACK.DELIVERY_normal.sms.1.1.1.1.0",
    "_INBOX_sms.one",
]
FORBIDDEN["ingest-api"] += ["$JS.API.CONSUMER.MSG.NEXT.INTAKE_normal.dispatch", "crown.dead.email"]
FORBIDDEN["realtime"] += [
    "crown.intake.normal",
    "crown.delivery.push.normal",
    "$JS.API.STREAM.PURGE.REALTIME",
]
# What no service may hear.
UNHEARD = (
    "crown.>",
    "crown.intake.*",
    "crown.delivery.>",
    "crown.retry.>",
    "crown.event.>",
    "_INBOX.>",
    ">",
    "$SYS.>",
)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    home = tmp_path_factory.mktemp("rights")
    with Stack(PORT_BASE, home=home, only=["mongod", "nats", "valkey"]) as running:
        preparation = services.preparation(running.settings, running.secrets)
        done = subprocess.run(
            preparation.command,
            env={"PATH": "/usr/bin:/bin", **preparation.environment},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        yield running


def settings_of(stack: Stack, user: str) -> Settings:
    told = services.connections(stack.settings, stack.secrets, user)
    read = {
        name.removesuffix("_FILE"): Path(value).read_text() if name.endswith("_FILE") else value
        for name, value in told.items()
    }
    return Settings.model_validate(read)


class Tried:
    """A user's connection, and what the server has refused on it."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.refused: set[str] = set()

    async def note(self, error: Exception) -> None:
        found = _REFUSED.search(str(error))
        assert found, error
        self.refused.add(found[2].lower())

    async def settled(self) -> set[str]:
        await self.client.flush(10)
        # The client hands errors on in tasks of their own.
        await asyncio.sleep(0.05)
        return self.refused


@asynccontextmanager
async def connected(stack: Stack, user: str) -> AsyncIterator[Tried]:
    told = settings_of(stack, user)
    client = Client()
    tried = Tried(client)
    await client.connect(
        told.nats_url,
        user=told.nats_user,
        password=told.nats_password.get_secret_value(),
        inbox_prefix=bus.inbox_prefix(told.nats_user),
        error_cb=tried.note,
        allow_reconnect=False,
        connect_timeout=10,
    )
    yield tried
    await client.close()


def one_of(pattern: str) -> str:
    """A subject that `pattern` takes."""
    return pattern.replace("*", "one").replace(">", "one")


PUBLISHED = sorted({one_of(subject) for may in rights.NATS.values() for subject in may.publish})
HEARD = sorted({subject for may in rights.NATS.values() for subject in may.subscribe})


def allowed(patterns: Sequence[str], subject: str) -> bool:
    return any(subjects.covers(pattern, subject) for pattern in patterns)


@pytest.mark.parametrize("user", rights.NATS)
async def test_a_user_publishes_what_its_table_lists_and_nothing_else(stack: Stack, user: str) -> None:
    asked = sorted({*PUBLISHED, *FORBIDDEN.get(user, [])})
    # Streams are not to be emptied while other users look at them.
    asked = [
        subject
        for subject in asked
        if ".PURGE." not in subject or not allowed(rights.NATS[user].publish, subject)
    ]
    async with connected(stack, user) as tried:
        for subject in asked:
            await tried.client.publish(subject, b"")
        refused = await tried.settled()
    assert refused == {s.lower() for s in asked if not allowed(rights.NATS[user].publish, s)}
    assert {subject.lower() for subject in FORBIDDEN.get(user, [])} <= refused


@pytest.mark.parametrize("user", rights.NATS)
async def test_a_user_hears_what_its_table_lists_and_nothing_else(stack: Stack, user: str) -> None:
    async with connected(stack, user) as tried:
        for subject in (*HEARD, *UNHEARD):
            await tried.client.subscribe(subject)
        refused = await tried.settled()
    assert refused == {s.lower() for s in (*HEARD, *UNHEARD) if not allowed(rights.NATS[user].subscribe, s)}
    assert {subject.lower() for subject in UNHEARD} <= refused


async def test_no_two_users_hear_the_same_answers(stack: Stack) -> None:
    prefixes = [f"{bus.inbox_prefix(user)}.>" for user in rights.NATS]
    for user in rights.NATS:
        heard = [prefix for prefix in prefixes if allowed(rights.NATS[user].subscribe, prefix)]
        assert heard == [f"{bus.inbox_prefix(user)}.>"]


async def test_the_bus_says_at_once_that_it_may_not_publish(stack: Stack) -> None:
    before = metrics.BUS_FORBIDDEN.labels("publish")._value.get()
    connection = await Bus.connect(settings_of(stack, "email"), "email")
    try:
        with capture_logs() as told:
            async with asyncio.timeout(10):
                with pytest.raises(BusUnavailable, match="does not let this user"):
                    await connection.publish(Outgoing(subjects.live_source("user:ann"), b""), timeout_s=60)
                with pytest.raises(BusUnavailable, match="does not let this user"):
                    await connection.api("STREAM.DELETE.EVENT")
        # Whoever may not make streams does not try.
        await connection.ensure()
        await connection.ensure_consumer(subjects.worker("email", "bulk"))
    finally:
        await connection.close()
    assert metrics.BUS_FORBIDDEN.labels("publish")._value.get() == before + 2
    # Whom it is about is left out.
    assert [(one["event"], one["log_level"], one["subject"].lower()) for one in told] == [
        ("bus_forbidden", "error", "crown.rt.user"),
        ("bus_forbidden", "error", "$js.api.stream.delete.event"),
    ]


async def test_who_may_not_make_a_consumer_says_who_does(stack: Stack) -> None:
    consumer = subjects.retrier("email", "bulk")
    operator = await Bus.connect(settings_of(stack, OPERATOR), "tests")
    connection = await Bus.connect(settings_of(stack, "email"), "email")
    try:
        await operator.api(f"CONSUMER.DELETE.{consumer.stream}.{consumer.name}")
        with pytest.raises(BusUnavailable, match="prepare` makes it"):
            await connection.ensure_consumer(consumer)
        await operator.ensure_consumer(consumer)
        await connection.ensure_consumer(consumer)
    finally:
        await connection.close()
        await operator.close()


def test_prepare_makes_every_stream_that_users_read(stack: Stack) -> None:
    named = {consumer.stream for consumer in prepare.consumers()}
    assert named <= {str(one["name"]) for one in subjects.streams(1)}


# -- MongoDB

COLLECTIONS = sorted({collection for may in rights.MONGODB.values() for collection in may})
ACTIONS = ("find", "insert", "update", "remove", "createIndex", "dropCollection", "collMod")
_COMMANDS: dict[str, Any] = {
    "find": lambda name: {"find": name, "limit": 1},
    "insert": lambda name: {"insert": name, "documents": [{"unlike": "others"}]},
    "update": lambda name: {
        "update": name,
        "updates": [{"q": {"_id": "none"}, "u": {"$set": {"unlike": 1}}}],
    },
    "remove": lambda name: {"delete": name, "deletes": [{"q": {"_id": "none"}, "limit": 1}]},
    "createIndex": lambda name: {"createIndexes": name, "indexes": [{"key": {"_id": 1}, "name": "_id_"}]},
    "dropCollection": lambda name: {"drop": name},
    "collMod": lambda name: {"collMod": name, "validationLevel": "off"},
}
ADMINISTRATION: list[tuple[str, dict[str, Any]]] = [
    ("crown", {"dropDatabase": 1}),
    ("crown", {"createUser": "mine", "pwd": "mine", "roles": []}),
    ("crown", {"createRole": "mine", "privileges": [], "roles": []}),
    ("crown", {"grantRolesToUser": "email", "roles": ["readWrite"]}),
    ("crown", {"updateUser": "email", "roles": ["readWrite"]}),
    ("crown", {"usersInfo": 1}),
    ("crown", {"profile": 2}),
    ("crown", {"create": "mine"}),
    ("admin", {"usersInfo": 1}),
    ("admin", {"shutdown": 1}),
    ("admin", {"getParameter": "*"}),
    ("admin", {"setParameter": 1, "logLevel": 1}),
    ("admin", {"getLog": "global"}),
    ("admin", {"replSetGetConfig": 1}),
    ("admin", {"fsync": 1}),
    ("admin", {"listDatabases": 1, "authorizedDatabases": False}),
    ("other", {"find": "mine"}),
    ("local", {"find": "oplog.rs", "limit": 1}),
]


def client_of(stack: Stack, user: str) -> AsyncMongoClient[dict[str, Any]]:
    return AsyncMongoClient(settings_of(stack, user).database_url.get_secret_value())


async def refuses(client: AsyncMongoClient[dict[str, Any]], database: str, command: dict[str, Any]) -> bool:
    """Whether the server says that this is not for the user. Other errors are none of rights."""
    try:
        await client[database].command(command)
    except OperationFailure as error:
        return error.code == _UNAUTHORIZED
    return False


@pytest.mark.parametrize("user", rights.MONGODB)
async def test_a_user_does_with_collections_what_its_table_lists_and_nothing_else(
    stack: Stack, user: str
) -> None:
    may, wrong = rights.MONGODB[user], []
    async with client_of(stack, user) as client:
        for collection in (*COLLECTIONS, "others"):
            for action in ACTIONS:
                refused = await refuses(client, "crown", _COMMANDS[action](collection))
                if refused is (action in may.get(collection, ())):
                    wrong.append(f"{action} of {collection} is {'refused' if refused else 'allowed'}")
    assert wrong == []


@pytest.mark.parametrize("user", rights.MONGODB)
async def test_a_user_administers_nothing(stack: Stack, user: str) -> None:
    async with client_of(stack, user) as client:
        let = [
            command for database, command in ADMINISTRATION if not await refuses(client, database, command)
        ]
    assert let == []


async def test_mongod_runs_no_javascript(stack: Stack) -> None:
    async with client_of(stack, OPERATOR) as client:
        await client.crown.groups.replace_one({"_id": "one"}, {"name": "one"}, upsert=True)
        for where in (
            {"$where": "true"},
            {"$expr": {"$function": {"body": "function() { return true }", "args": [], "lang": "js"}}},
        ):
            with pytest.raises(OperationFailure, match=r"(?i)javascript|script"):
                await client.crown.groups.find_one(where)


async def test_who_may_not_make_indexes_connects_all_the_same(stack: Stack) -> None:
    store = await Store.connect(settings_of(stack, "sms"), "sms")
    assert await store.healthy()
    await store.close()


# -- Valkey

# Arguments that a command takes, where one key is not all.
_ARGUMENTS = {
    "ping": [], "time": [], "info": ["server"], "select": ["0"], "client|setinfo": ["setinfo", "lib-name", "x"],
    "script|load": ["load", "return 1"], "script|exists": ["exists", "0" * 40], "evalsha": ["0" * 40, "1", "KEY"],
    "set": ["KEY", "1"], "append": ["KEY", "1"], "expire": ["KEY", "1"], "pexpire": ["KEY", "1"],
    "incrby": ["KEY", "1"], "zadd": ["KEY", "1", "a"], "zremrangebyscore": ["KEY", "0", "1"], "hmget": ["KEY", "a"],
    "hget": ["KEY", "a"], "hset": ["KEY", "a", "1"], "hsetnx": ["KEY", "a", "1"], "hincrby": ["KEY", "a", "1"],
    "hdel": ["KEY", "a"], "hscan": ["KEY", "0"], "sadd": ["KEY", "a"], "srem": ["KEY", "a"],
    "sismember": ["KEY", "a"],
    "zrem": ["KEY", "a"], "zrange": ["KEY", "0", "1"], "zscore": ["KEY", "a"],
}  # fmt: skip
DANGEROUS = [
    ["CONFIG", "GET", "*"], ["CONFIG", "SET", "dir", "/tmp"], ["KEYS", "*"], ["SCAN", "0"], ["FLUSHALL"], ["FLUSHDB"],
    ["DEBUG", "SLEEP", "0"], ["SCRIPT", "FLUSH"], ["SCRIPT", "KILL"], ["EVAL", "return 1", "0"],
    ["FUNCTION", "LOAD", "#!lua name=x\n"], ["FUNCTION", "LIST"], ["FCALL", "x", "0"], ["ACL", "LIST"],
    ["ACL", "SETUSER", "mine"], ["CLIENT", "LIST"], ["CLIENT", "KILL", "ID", "1"], ["MONITOR"], ["SHUTDOWN"],
    ["SAVE"],
    ["BGSAVE"], ["REPLICAOF", "other", "1"], ["MODULE", "LIST"], ["MIGRATE", "other", "1", "k", "0", "1"],
    ["DUMP", "crown:key:a"], ["RESTORE", "crown:key:a", "0", "x"], ["SUBSCRIBE", "any"], ["PUBLISH", "any", "x"],
    ["SWAPDB", "0", "1"], ["RANDOMKEY"], ["OBJECT", "ENCODING", "crown:key:a"], ["LATENCY", "RESET"],
    ["SLOWLOG", "GET"],
]  # fmt: skip


def call_of(command: str, key: str) -> list[str]:
    arguments = _ARGUMENTS.get(command, ["KEY"])
    return [command.partition("|")[0], *(key if one == "KEY" else one for one in arguments)]


def cache_of(stack: Stack, user: str) -> Redis:
    return Redis.from_url(settings_of(stack, user).redis_host.get_secret_value())


@pytest.mark.parametrize("user", rights.VALKEY)
async def test_a_user_gives_its_commands_on_its_keys_and_on_no_others(stack: Stack, user: str) -> None:
    every = sorted({command for keys in rights.VALKEY.values() for command in keys.commands})
    patterns = sorted({pattern for keys in rights.VALKEY.values() for pattern in keys.patterns})
    may, wrong = rights.VALKEY[user], []
    async with cache_of(stack, OPERATOR) as operator:
        for command in every:
            for pattern in (*patterns, "other:*"):
                key = pattern.replace("*", "one")
                call = call_of(command, key)
                ours = key not in call or any(key.startswith(one[:-1]) for one in may.patterns)
                answer = await operator.acl_dryrun(user, *call)
                if (answer == b"OK") is not (command in may.commands and ours):
                    wrong.append((" ".join(call), answer))
    assert wrong == []


@pytest.mark.parametrize("user", rights.VALKEY)
async def test_a_user_does_nothing_dangerous(stack: Stack, user: str) -> None:
    async with cache_of(stack, user) as client:
        for command in DANGEROUS:
            # DEBUG is off for everybody.
            wanted = r"not allowed" if command[0] == "DEBUG" else r"no permissions"
            with pytest.raises(redis.exceptions.ResponseError, match=wanted):
                await client.execute_command(*command)  # type: ignore[no-untyped-call]


async def test_a_script_does_not_get_around_the_list(stack: Stack) -> None:
    async with cache_of(stack, "sms") as client:
        for body in ("return redis.call('GET', 'crown:presence:nodes')", "return redis.call('FLUSHALL')"):
            script = client.register_script(body)
            with pytest.raises(redis.exceptions.ResponseError, match=r"(?i)permission|ACL"):
                await script()


async def test_who_is_not_known_is_let_in_nowhere(stack: Stack) -> None:
    async with Redis(port=stack.settings.ports.valkey) as client:
        with pytest.raises(redis.exceptions.AuthenticationError):
            await client.ping()
    async with AsyncMongoClient[dict[str, Any]](
        port=stack.settings.ports.mongod, directConnection=True
    ) as mongo:
        assert await refuses(mongo, "crown", {"find": "ledger"})
