"""Who may do what: every RPC of the contract against every kind of caller, over gRPC, REST and past the gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import grpc
import pytest

from stack.control import Stack
from tests.e2e.contract import GUARDED, PROVEN, RPCS, Rpc
from tests.e2e.people import People, data
from tests.e2e.rest import Caller, Rest
from tests.trust import matrix
from tests.trust.callers import KINDS, OTHER, OWNER, Kind

REFUSED = {401: 16, 403: 7}

every_rpc = pytest.mark.parametrize("rpc", GUARDED, ids=lambda rpc: rpc.name)


def wanted(kind: Kind, rpc: Rpc, path: str = f"/{OWNER}") -> int | None:
    """The code that such a caller has to get; None where they are let in. A path that names no person is for no
    person."""
    if kind.use == "nobody":
        return 16
    if kind.use == "user" and f"/{OWNER}" not in path:
        return 7
    return None if kind.may(rpc.rule) else 7


@pytest.fixture(scope="module")
async def direct(stack: Stack) -> AsyncIterator[dict[str, grpc.aio.Channel]]:
    """Channels past the gateway."""
    channels = {rpc.process: grpc.aio.insecure_channel(stack.address(rpc.process)) for rpc in RPCS}
    yield channels
    for channel in channels.values():
        await channel.close()


def callers(rest: Rest) -> Iterator[tuple[Kind, Caller]]:
    for kind in KINDS:
        yield kind, kind.caller(rest)


def test_there_are_rpcs_and_each_has_a_rule() -> None:
    assert len(RPCS) >= 17
    assert [rpc.name for rpc in RPCS if not any(rpc.rule.ListFields())] == []
    assert {rpc.name for rpc in RPCS if rpc.rule.anyone} == {"StatusService.GetReadiness"}
    assert {rpc.service for rpc in PROVEN} == {"EmailCallbackService", "SmsCallbackService"}


@every_rpc
async def test_over_grpc(rest: Rest, channel: grpc.aio.Channel, rpc: Rpc) -> None:
    for kind, caller in callers(rest):
        code = (await rpc.call(channel, OWNER, caller.metadata)).value[0]
        matrix.check("gRPC", code if code in (7, 16) else None, wanted(kind, rpc), kind)


@every_rpc
async def test_past_the_gateway(rest: Rest, direct: dict[str, grpc.aio.Channel], rpc: Rpc) -> None:
    for kind, caller in callers(rest):
        code = (await rpc.call(direct[rpc.process], OWNER, caller.metadata)).value[0]
        refused = code if code in (7, 16) else None
        matrix.check("gRPC, past the gateway", refused, wanted(kind, rpc), kind)


@pytest.mark.parametrize("rpc", [rpc for rpc in GUARDED if rpc.rest], ids=lambda rpc: rpc.name)
async def test_over_rest(rest: Rest, rpc: Rpc) -> None:
    for verb, path in rpc.paths(OWNER):
        body: dict[str, str] | None = None if verb in ("GET", "DELETE") else {}
        for kind, caller in callers(rest):
            if rpc.method.server_streaming:
                status = await status_of_stream(rest, caller, path)
            else:
                status = (await caller.request(verb, path, body)).status
            matrix.check("REST", REFUSED.get(status), wanted(kind, rpc, path), verb, path, kind)


async def status_of_stream(rest: Rest, caller: Caller, path: str) -> int:
    """How an answer begins that does not end."""
    headers = {"Authorization": f"Bearer {caller.token}"} if caller.token else {}
    async with rest.http.get(f"http://{rest.address}{path}", headers=headers) as answer:
        return answer.status


@pytest.mark.parametrize("name", ["x-user-id", "x-crown-subject", "x-forwarded-user", "x-jwt-payload"])
async def test_headers_make_nobody_somebody(rest: Rest, name: str) -> None:
    path = f"/api/v1/users/{OWNER}/notifications"
    assert (await rest.nobody.get(path, headers={name: OWNER})).status == 401
    assert (await rest.user(OTHER).get(path, headers={name: OWNER})).status == 403
    assert (await rest.user(OWNER).get(path, headers={name: OTHER})).status == 200


REFUSED_QUERIES = [
    "user_id={0}", "%75ser_id={0}", "userId={0}", "user_id=mallory&user_id={0}", "user_id=mallory&userId={0}",
    "USER_ID={0}", "user_id%00={0}", "user_id[]={0}", "user_id.x={0}",
]  # fmt: skip
# The last one counts, and is the caller.
HARMLESS_QUERIES = ["user_id={0}&user_id=mallory", "userId={0}&user_id=mallory"]
READS = [
    (rpc.name, path)
    for rpc in GUARDED
    for verb, path in rpc.paths(OTHER)
    if verb == "GET" and f"/{OTHER}/" in path and not rpc.method.server_streaming
]


@pytest.mark.parametrize(("name", "path"), READS, ids=[name for name, _ in READS])
async def test_a_query_names_nobody_else(
    rest: Rest, feed: Caller, people: People, name: str, path: str
) -> None:
    victim = await people.new()
    await feed.settled(await feed.send("in_app", user_id=victim.user_id, data=data()))
    mallory = rest.user(OTHER)
    assert (await mallory.get(path)).status == 200
    for query in REFUSED_QUERIES:
        answer = await mallory.get(f"{path}?{query.format(victim.user_id)}")
        matrix.check("queries that name somebody else", answer.status in (400, 403), True, query, answer)
    for query in HARMLESS_QUERIES:
        answer = await mallory.get(f"{path}?{query.format(victim.user_id)}")
        named = victim.user_id.encode() in answer.body
        matrix.check("queries that name somebody else", named, False, query, answer)


async def test_a_query_streams_nobody_else(rest: Rest, people: People) -> None:
    victim, mallory = people.stranger(), rest.user(OTHER)
    path = f"/api/v1/users/{OTHER}/notifications:stream"
    assert await status_of_stream(rest, mallory, path) == 200
    for query in REFUSED_QUERIES:
        status = await status_of_stream(rest, mallory, f"{path}?{query.format(victim.user_id)}")
        assert status in (400, 403), query


WRITES: dict[str, tuple[str, dict[str, object]]] = {
    "devices": ("POST", {"token": "heron-device-of-mallory"}),
    "contact": ("PUT", {"email": "mallory@heron.example"}),
    "notification-preferences": ("PUT", {"categories": {"social": {"push": False}}}),
}


@pytest.mark.parametrize("noun", WRITES)
async def test_a_body_names_nobody_else(rest: Rest, people: People, noun: str) -> None:
    victim = await people.new()
    verb, body = WRITES[noun]
    before = (await victim.caller.get(f"/api/v1/users/{victim.user_id}/{noun}")).ok
    for named in ("user_id", "userId"):
        answer = await rest.user(OTHER).request(
            verb, f"/api/v1/users/{OTHER}/{noun}", {**body, named: victim.user_id}
        )
        # Refused, or the path counts: the message that was decided on is about the caller.
        assert answer.status in (400, 403) or victim.user_id.encode() not in answer.body, (named, answer)
    assert (await victim.caller.get(f"/api/v1/users/{victim.user_id}/{noun}")).ok == before


async def test_a_device_is_removed_by_its_owner_only(rest: Rest, people: People) -> None:
    victim = await people.new()
    path = f"/api/v1/users/{victim.user_id}/devices"
    (device,) = (await victim.caller.get(path)).ok["devices"]
    foreign = f"/api/v1/users/{OTHER}/devices/{device['device_id']}"
    assert (await rest.user(OTHER).request("DELETE", foreign)).status == 200
    assert (await rest.user(OTHER).request("DELETE", f"{path}/{device['device_id']}")).status == 403
    assert len((await victim.caller.get(path)).ok["devices"]) == 1
    assert (await victim.caller.request("DELETE", f"{path}/{device['device_id']}")).status == 200
    assert (await victim.caller.get(path)).ok["devices"] == []


LOOK_ALIKES = [
    "Mallory",
    "MALLORY",
    "mallory.",
    "mallor%79%20",
    "m%D0%B0llory",
    "%EF%BD%8Dallory",
    "mallory%CC%81",
    "mallory%E2%80%8B",
    "mallory%00",
    "mallory%0a",
    "mallory%2F..%2Fowner",
    "mallory%252F..%252Fowner",
    "..%2Fowner",
    "mallory/../owner",
    "mallory;owner",
    "*",
    "a.%3E",
]


@pytest.mark.parametrize(("name", "path"), READS, ids=[name for name, _ in READS])
async def test_nobody_is_taken_for_somebody_alike(rest: Rest, name: str, path: str) -> None:
    for user_id in LOOK_ALIKES:
        answer = await rest.user(OTHER).get(path.replace(f"/{OTHER}", f"/{user_id}", 1))
        matrix.check("ids that look alike", answer.status in (400, 403, 404), True, user_id, answer)


async def test_several_people_are_asked_about_by_none_of_them(people: People) -> None:
    """What is asked of several people at once is refused where one of them is another."""
    victim, mallory = people.stranger(), people.stranger()
    path = f"/api/v1/presence?user_ids={mallory.user_id}&user_ids={victim.user_id}"
    for query in (path, f"/api/v1/presence?user_ids={victim.user_id}", "/api/v1/topics/group:g/presence"):
        answer = await mallory.caller.get(query)
        matrix.check("several people at once", answer.status, 403, query)
    both = f"/api/v1/users/{mallory.user_id}/presence?user_ids={victim.user_id}"
    answer = await mallory.caller.get(both)
    matrix.check("several people at once", answer.status in (400, 403), True, both, answer)
