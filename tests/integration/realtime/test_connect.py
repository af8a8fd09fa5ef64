"""Who gets a socket, and what the others are told."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import jwt
import pytest

from stack import keys
from stack.tokens import Use

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from tests.integration.realtime.conftest import Nats, Node, Person, Publisher, Trust

UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": base64.b64encode(b"0" * 16).decode(),
}


def forged(trust: Trust, kind: str) -> str:
    """A token that must not be believed."""
    claims = jwt.decode(trust.token("ann"), options={"verify_signature": False})
    stranger = keys.new_signing_key()
    own = keys.key_id(trust.secrets.signing_key().read_text())
    match kind:
        case "expired":
            return trust.token("ann", ttl_s=-60)
        case "other audience":
            return trust.token("ann", audience="somebody-else")
        case "no algorithm":
            return jwt.encode(claims, "", algorithm="none", headers={"kid": own})
        case "other key":
            return jwt.encode(claims, stranger, algorithm="ES256", headers={"kid": own})
        case "unknown key":
            return jwt.encode(claims, stranger, algorithm="ES256", headers={"kid": "unknown"})
        case "key as secret":
            signed = jwt.encode(claims, "x" * 32, algorithm="HS256", headers={"kid": own}).rpartition(".")[0]
            public = trust.secrets.jwks().read_bytes()
            digest = hmac.digest(public, signed.encode(), "sha256")
            return f"{signed}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"
    return kind


async def status(node: Node, url: str, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    """What a plain request for a socket is answered."""
    async with node.http.get(url, headers={**UPGRADE, **(headers or {})}) as answer:
        return answer.status, await answer.read()


@pytest.mark.parametrize(
    "kind", ["", "x", "expired", "other audience", "no algorithm", "other key", "key as secret", "a" * 9_000]
)
async def test_a_bad_token_is_refused_with_an_empty_403(node: Node, trust: Trust, kind: str) -> None:
    assert await status(node, node.url(vsn="2.0.0", token=forged(trust, kind))) == (403, b"")


async def test_an_unknown_key_is_refused(node: Node, trust: Trust) -> None:
    for _ in range(3):
        assert await status(node, node.url(vsn="2.0.0", token=forged(trust, "unknown key"))) == (403, b"")


async def test_a_rotated_key_is_found(
    nats: Nats, trust: Trust, run_node: Callable[..., AbstractAsyncContextManager[Node]]
) -> None:
    rotated = keys.new_signing_key()
    source = trust.secrets.folder / "rotating.json"
    source.write_text(trust.secrets.jwks().read_text())
    claims = jwt.decode(trust.token("ann"), options={"verify_signature": False})
    token = jwt.encode(claims, rotated, algorithm="ES256", headers={"kid": keys.key_id(rotated)})
    async with run_node(nats, CROWN_JWKS=str(source)) as node:
        source.write_text(keys.jwks(rotated))
        async with asyncio.timeout(20):
            while (await status(node, node.url(vsn="2.0.0", token=token)))[0] != 101:  # noqa: ASYNC110
                await asyncio.sleep(0.5)


@pytest.mark.parametrize("vsn", ["1.1.0", "3.0.0", "2", "2.0", "2.1.0", "two", ""])
async def test_other_versions_are_refused(node: Node, trust: Trust, vsn: str) -> None:
    assert await status(node, node.url(vsn=vsn, token=trust.token("ann"))) == (403, b"")


@pytest.mark.parametrize("said", [{}, {"vsn": "1.0.0"}], ids=["no version", "1.0.0"])
async def test_no_version_means_the_first(
    node: Node, trust: Trust, publisher: Publisher, user: str, said: dict[str, str]
) -> None:
    async with node.http.ws_connect(node.url(**said, token=trust.token(user))) as connection:
        topic = f"user:{user}"
        await connection.send_json({"topic": topic, "event": "phx_join", "payload": {}, "ref": "7"})
        joined = await connection.receive_json(timeout=5)
        assert joined.pop("payload")["status"] == "ok"
        assert joined == {"topic": topic, "event": "phx_reply", "ref": "7"}
        await publisher.notify(user, "n1", title="t")
        event = await connection.receive_json(timeout=5)
        assert event.pop("payload")["notification_id"] == "n1"
        assert event == {"topic": topic, "event": "notification", "ref": None}
        await connection.send_bytes(b"\x00\x00\x00\x00\x00")
        assert (await connection.receive(5)).data == 1011


@pytest.mark.parametrize(
    ("origin", "code"),
    [
        ("http://127.0.0.1:8080", 101),
        ("https://evil.example", 403),
        ("null", 403),
        ("http://127.0.0.1.evil.example", 403),
    ],
)
async def test_pages_of_the_same_host_may_connect(node: Node, trust: Trust, origin: str, code: int) -> None:
    url = node.url(vsn="2.0.0", token=trust.token("ann"))
    assert (await status(node, url, {"Origin": origin}))[0] == code


async def test_other_paths_are_not_there(node: Node, trust: Trust) -> None:
    url = node.url(vsn="2.0.0", token=trust.token("ann")).replace("/socket/websocket", "/socket/other")
    assert (await status(node, url))[0] == 404


async def test_what_is_no_upgrade_is_a_bad_request(node: Node, trust: Trust) -> None:
    url = node.url(vsn="2.0.0", token=trust.token("ann"))
    async with node.http.get(url) as answer:
        assert answer.status == 400
    async with node.http.post(url, headers=UPGRADE) as answer:
        assert answer.status == 400


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"GET /socket/websocket HTTP/1.0", b"400"),
        (b"nonsense", b"400"),
        (b"GET /socket/websocket?vsn=2.0.0&token=\xff\xfe HTTP/1.1", b"403"),
        (b"GET \xff HTTP/1.1", b"404"),
    ],
)
async def test_bad_requests_are_refused(node: Node, line: bytes, code: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", node.websocket_port)
    writer.write(line + b"\r\nHost: x\r\n\r\n")
    assert (await reader.readline()).split()[1] == code
    writer.close()


async def test_a_browser_that_also_keeps_the_connection_alive_gets_in(node: Node, trust: Trust) -> None:
    url = node.url(vsn="2.0.0", token=trust.token("ann"))
    assert (await status(node, url, {"Connection": "keep-alive, Upgrade"}))[0] == 101


@pytest.mark.parametrize("alphabet", [base64.b64encode, base64.urlsafe_b64encode], ids=["plain", "urlsafe"])
async def test_the_token_may_hide_in_the_subprotocol(
    node: Node, trust: Trust, alphabet: Callable[[bytes], bytes]
) -> None:
    hidden = alphabet(trust.token("ann").encode()).decode().rstrip("=")
    # A real client's parser would not take the plain alphabet's "/" in a subprotocol.
    offered = {"Sec-WebSocket-Protocol": f"phoenix, base64url.bearer.phx.{hidden}"}
    async with node.http.get(node.url(vsn="2.0.0"), headers={**UPGRADE, **offered}) as answer:
        assert answer.status == 101
        assert answer.headers["Sec-WebSocket-Protocol"] == "phoenix"


async def test_without_an_offer_no_subprotocol_is_named(node: Node, trust: Trust) -> None:
    async with node.http.get(node.url(vsn="2.0.0", token=trust.token("ann")), headers=UPGRADE) as answer:
        assert "Sec-WebSocket-Protocol" not in answer.headers


@pytest.mark.parametrize(
    "offer",
    [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; server_no_context_takeover, permessage-deflate",
        "x-webkit-deflate-frame, permessage-bzip2",
    ],
)
async def test_no_compression_is_agreed_to(node: Node, trust: Trust, offer: str) -> None:
    """A small frame that unpacks to a huge one, and secrets beside texts of others in one window, need one."""
    url = node.url(vsn="2.0.0", token=trust.token("ann"))
    async with node.http.get(url, headers={**UPGRADE, "Sec-WebSocket-Extensions": offer}) as answer:
        assert answer.status == 101
        assert "Sec-WebSocket-Extensions" not in answer.headers
    async with node.http.ws_connect(url, compress=15) as connection:
        assert connection.compress == 0


async def test_a_token_that_ends_closes_the_socket(node: Node, trust: Trust) -> None:
    # Tokens are good for half a minute longer, for clocks that differ.
    token = trust.token("ann", ttl_s=-28)
    async with node.person(token) as person:
        assert await person.closed() == 3005
    assert await status(node, node.url(vsn="2.0.0", token=token)) == (403, b"")


async def answer(person: Person) -> dict[str, Any]:
    """What the next reply says; what the topic sends by itself is passed over."""
    while (frame := await person.hear())[3] != "phx_reply":
        pass
    found: dict[str, Any] = frame[4]
    return found


async def test_a_newer_token_keeps_the_socket_beyond_the_end_of_the_first(
    node: Node, trust: Trust, user: str
) -> None:
    ends = trust.token(user, ttl_s=-28)
    async with node.person(ends) as renewed, node.person(ends) as left:
        await renewed.join(f"user:{user}")
        newer = {"access_token": trust.token(user)}
        await renewed.say("1", "2", f"user:{user}", "access_token", newer)
        assert (await answer(renewed))["status"] == "ok"
        assert await left.closed() == 3005
        await renewed.say(None, "3", "phoenix", "heartbeat", {})
        assert (await answer(renewed))["status"] == "ok"


async def test_services_connect_but_listen_to_nobody(node: Node, trust: Trust) -> None:
    async with node.person(trust.token("ann", use=Use.SERVICE)) as person:
        answer = await person.join("user:ann")
        assert answer["status"] == "error"
        assert answer["response"]["reason"] == "NOT_ALLOWED"


async def test_who_does_not_say_what_it_wants_is_dropped(node: Node) -> None:
    async def dropped(said: bytes) -> float:
        began = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", node.websocket_port)
        writer.write(said)
        assert await asyncio.wait_for(reader.read(), 15) == b""
        writer.close()
        return time.monotonic() - began

    half = b"GET /socket/websocket HTTP/1.1\r\nHost: x\r\n"
    assert all(4 < seconds < 12 for seconds in await asyncio.gather(dropped(b""), dropped(half)))


async def test_the_first_frames_may_come_with_the_handshake(node: Node, trust: Trust) -> None:
    async with node.person(trust.token("ann")) as person:
        await person.connection.send_str(json.dumps([None, "1", "phoenix", "heartbeat", {}]))
        message = await person.connection.receive(5)
        assert message.type == aiohttp.WSMsgType.TEXT
