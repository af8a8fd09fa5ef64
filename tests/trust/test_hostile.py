"""Input that nobody sends who means well, on every surface: each is answered, and clearly. A few of each in the
ordinary run; `make hostile` tries very many, looks at memory and sockets, and publishes what it counted."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
import grpc
import pytest
from twilio.request_validator import RequestValidator
from yarl import URL

from stack.control import Stack
from stack.secrets import read
from tests.e2e.answers import LEAK, Reply, inspect
from tests.e2e.arrivals import Mailbox
from tests.e2e.contract import RPCS, Rpc
from tests.e2e.people import People, data
from tests.e2e.rest import Caller, Rest
from tests.e2e.test_bad_json import body_of, is_raw
from tests.sendgrid_signer import Signer
from tests.trust.counting import LIMIT_S, Count, each
from tests.trust.spoiling import Spoiler

pytestmark = pytest.mark.usefixtures("steady")
SEED = 20_261_126
CLOSES = {1000, 1002, 1007, 1009, 1011, 3013}
FORM = {"content-type": "application/x-www-form-urlencoded"}
OURS = {
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.DATA_LOSS,
    grpc.StatusCode.UNAVAILABLE,
}


def judged(count: Count, reply: Reply, sent: object) -> None:
    """One HTTP answer."""
    count.tried += 1
    if reply.status >= 500:
        count.fault((sent, reply))
        return
    if reply.status == 429:
        # What a limit refuses tells nothing of who is behind it.
        count.odd((sent, reply))
        return
    try:
        inspect(reply)
    except (AssertionError, KeyError, ValueError) as error:
        count.odd((sent, reply, error))


async def ask(
    rest: Rest, count: Count, method: str, path: str, body: bytes | None, headers: dict[str, str]
) -> Reply | None:
    """What is answered; None, and a hang, where nothing is."""
    url = URL(f"http://{rest.address}{path}", encoded=True)
    try:
        async with asyncio.timeout(LIMIT_S):
            async with rest.http.request(method, url, data=body, headers=headers) as answer:
                found = {name.lower(): value for name, value in answer.headers.items()}
                return Reply(answer.status, found, await answer.read())
    except (TimeoutError, aiohttp.ClientError) as error:
        count.tried += 1
        count.silent((method, path, body, error))
        return None


@lru_cache(maxsize=1)
def callers(rest: Rest, second: int) -> tuple[Caller, ...]:
    """A service, an operator, a person. Each has the same token for a second: some of what is tried here ends all
    that were issued before."""
    del second
    return rest.service(), rest.operator, rest.user("heron")


def somebody(rest: Rest, spoiler: Spoiler) -> Caller:
    """Who calls."""
    return spoiler.chance.choice(callers(rest, int(time.time())))


KNOWN = [rpc for rpc in RPCS if rpc.rest and not is_raw(rpc) and not rpc.method.server_streaming]


async def try_rest(rest: Rest, spoiler: Spoiler, count: Count) -> None:
    """One call by REST."""
    rpc = spoiler.chance.choice(KNOWN)
    user = (
        "heron"
        if spoiler.chance.random() < 0.7
        else quote(spoiler.word()[:100].encode("utf-8", "replace"), safe="")
    )
    method, path = spoiler.chance.choice(list(rpc.paths(user or "x")))
    if not rpc.body and spoiler.chance.random() < 0.5:
        names = [field.name for field in rpc.method.input_type.fields] or ["colour"]
        path += "?" + urlencode(
            {spoiler.chance.choice(names): spoiler.word().encode("utf-8", "replace")[:200]}
        )
    body = spoiler.json(body_of(rpc)) if rpc.body else None
    headers = dict(somebody(rest, spoiler).metadata)
    if body is not None:
        headers["content-type"] = "application/json"
    if (reply := await ask(rest, count, method, path, body, headers)) is not None:
        judged(count, reply, (method, path, body))


async def test_rest(rest: Rest, number: int, counted: Callable[[Count], None]) -> None:
    spoiler, count = Spoiler(SEED), Count("REST bodies and paths")
    await each(number, lambda _: try_rest(rest, spoiler, count))
    counted(count)


async def try_grpc(rest: Rest, channel: grpc.aio.Channel, spoiler: Spoiler, count: Count) -> None:
    """One call by gRPC."""
    rpc = spoiler.chance.choice(UNARY)
    raw = spoilt(spoiler, rpc)
    path = f"/{rpc.method.containing_service.full_name}/{rpc.method.name}"
    method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
    count.tried += 1
    try:
        await method(raw, metadata=somebody(rest, spoiler).metadata, timeout=LIMIT_S)
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            count.silent((path, raw))
        elif error.code() in OURS:
            count.fault((path, raw, error))
        elif LEAK.search(error.details() or "") or not _has_details(error):
            count.odd((path, raw, error))


async def test_grpc(
    rest: Rest, channel: grpc.aio.Channel, number: int, counted: Callable[[Count], None]
) -> None:
    spoiler, count = Spoiler(SEED + 1), Count("gRPC messages")
    await each(number, lambda _: try_grpc(rest, channel, spoiler, count))
    counted(count)


UNARY = [rpc for rpc in RPCS if not rpc.method.server_streaming and not rpc.method.client_streaming]


def spoilt(spoiler: Spoiler, rpc: Rpc) -> bytes:
    """A message for this RPC: altered, impossible, or none."""
    if spoiler.chance.random() < 0.2:
        return spoiler.raw()
    raw = spoiler.message(rpc.method.input_type).SerializePartialToString()
    return spoiler.altered(raw) if spoiler.chance.random() < 0.3 else raw


def _has_details(error: grpc.aio.AioRpcError) -> bool:
    return any(name == "grpc-status-details-bin" for name, _ in error.trailing_metadata() or ())


async def try_grpc_web(rest: Rest, spoiler: Spoiler, count: Count) -> None:
    """One call as a browser makes it: a frame that is whole, whatever is in it."""
    rpc = spoiler.chance.choice(UNARY)
    raw = spoilt(spoiler, rpc)
    path = f"/{rpc.method.containing_service.full_name}/{rpc.method.name}"
    reply = await web(rest, count, path, b"\0" + len(raw).to_bytes(4, "big") + raw, spoiler)
    if reply is None:
        return
    count.tried += 1
    status = reply.headers.get("grpc-status") or _trailer(reply.body)
    if reply.status != 200 or status is None:
        count.odd((path, raw, reply))
    elif int(status) in {code.value[0] for code in OURS}:
        count.fault((path, raw, reply))


async def test_grpc_web(rest: Rest, number: int, counted: Callable[[Count], None]) -> None:
    spoiler, count = Spoiler(SEED + 2), Count("gRPC-Web frames")
    await each(number, lambda _: try_grpc_web(rest, spoiler, count))
    counted(count)


async def web(
    rest: Rest, count: Count, path: str, body: bytes, spoiler: Spoiler, **more: str
) -> Reply | None:
    """A call as a browser makes it."""
    headers = {**dict(somebody(rest, spoiler).metadata), "content-type": "application/grpc-web+proto", **more}
    return await ask(rest, count, "POST", path, body, headers)


@pytest.mark.parametrize("body", [b"", b"\0", b"\0\0\0\0\x05abc"], ids=["nothing", "a byte", "half of it"])
async def test_a_message_that_never_comes_is_waited_for_until_the_deadline(rest: Rest, body: bytes) -> None:
    """And no longer. gRPC's server takes a call without a message for one that was cancelled, and says nothing."""
    count = Count("")
    path = "/crown.notification.v1.InboxService/ListNotifications"
    reply = await web(rest, count, path, body, Spoiler(0), **{"grpc-timeout": "1S"})
    assert reply is not None, count
    assert int(reply.headers["grpc-status"]) in (4, 14), reply


@pytest.mark.parametrize("kind", [1, 2, 0x7F, 0xFF])
async def test_a_frame_of_another_kind_is_refused_at_once(rest: Rest, kind: int) -> None:
    """By gRPC itself, with a code of its own."""
    path = "/crown.notification.v1.InboxService/ListNotifications"
    reply = await web(rest, Count(""), path, bytes([kind, 0, 0, 0, 2]) + b"ab", Spoiler(0))
    assert reply is not None
    assert reply.headers.get("grpc-status") or _trailer(reply.body) != "0", reply
    assert not LEAK.search(f"{reply}")


def _trailer(body: bytes) -> str | None:
    _, found, rest = body.partition(b"grpc-status:")
    return rest.split(b"\r")[0].strip().decode() if found else None


async def test_websocket(rest: Rest, number: int, counted: Callable[[Count], None]) -> None:
    spoiler, count = Spoiler(SEED + 3), Count("WebSocket frames")
    socket: aiohttp.ClientWebSocketResponse | None = None
    for index in range(number):
        if socket is None or socket.closed:
            # Somebody else each time: a person has so many connections, and those just closed count for a moment.
            token = rest.user(f"heron-{index}").token
            url = f"http://{rest.address}/socket/websocket?vsn=2.0.0&token={token}"
            socket = await rest.http.ws_connect(url, autoping=False)
        count.tried += 1
        with suppress(ConnectionError, aiohttp.ClientError):
            await _say(spoiler, socket)
            await socket.send_str(json.dumps([None, f"h{index}", "phoenix", "heartbeat", {}]))
        try:
            code = await heard(socket, f"h{index}")
        except TimeoutError:
            count.silent(index)
            await socket.close()
            continue
        if code is not None and code not in CLOSES:
            count.odd((index, code))
    if socket is not None:
        await socket.close()
    counted(count)


FRAMES = (
    b'["1","1","user:heron","phx_join",{}]',
    b'["1","2","user:heron","phx_leave",{}]',
    b'[null,"3","phoenix","heartbeat",{}]',
    b'["1","4","user:heron","seen",{"offset":1}]',
    b'["1","5","chat:x","typing",{}]',
    b'[null,"6","phoenix","access_token",{}]',
    b'["7","7","user:heron","phx_join",{"offset":9999,"epoch":"forged"}]',
    b'["8","8","user:victim","phx_join",{}]',
)


async def _say(spoiler: Spoiler, socket: aiohttp.ClientWebSocketResponse) -> None:
    """One frame that is wrong in some way: of the protocol, of Phoenix, or of WebSocket itself."""
    good = spoiler.chance.choice(FRAMES)
    match spoiler.chance.randrange(5):
        case 0:
            await socket.send_str(spoiler.altered(good).decode(errors="replace"))
        case 1:
            await socket.send_bytes(spoiler.raw())
        case 2:
            await socket.send_str(json.dumps([spoiler.value() for _ in range(5)]))
        case 3:
            fields = [spoiler.raw(20) for _ in range(4)]
            await socket.send_bytes(
                bytes([spoiler.chance.choice([0, 3]), *map(len, fields)]) + b"".join(fields)
            )
        case _:
            payload, mask = good[: spoiler.chance.randrange(len(good))], spoiler.chance.randbytes(4)
            masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
            connection = socket._response.connection
            if connection is not None and connection.transport is not None:
                head = bytes([spoiler.chance.randrange(256), 0x80 | len(payload)])
                connection.transport.write(head + mask + masked)


async def heard(socket: aiohttp.ClientWebSocketResponse, ref: str) -> int | None:
    """Returns when the heartbeat `ref` is answered, with None, or the socket closes, with the code. Raises
    TimeoutError."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            message = await socket.receive()
            if message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING):
                return socket.close_code
            if message.type is aiohttp.WSMsgType.TEXT and f'"{ref}"' in message.data:
                return None


async def test_webhooks(stack: Stack, rest: Rest, number: int, counted: Callable[[Count], None]) -> None:
    """Signed, and saying what providers do not say; and altered after they were signed."""
    spoiler, count = Spoiler(SEED + 4), Count("webhooks")
    validator = RequestValidator(read(stack.secrets.twilio_key()).partition(":")[2])
    sendgrid = Signer(stack.secrets.sendgrid_webhook_key().read_bytes())

    def twilio() -> tuple[str, bytes, dict[str, str], bool]:
        path = spoiler.chance.choice(["/webhooks/twilio/status", "/webhooks/twilio/inbound"])
        words = ("MessageSid", "MessageStatus", "ErrorCode", "To", "From", "Body", "OptOutType")
        form = {name: spoiler.word().encode("utf-8", "replace").decode()[:500] for name in words}
        signature = validator.compute_signature(f"{stack.settings.gateway_url}{path}", form)
        body, altered = urlencode(form).encode(), spoiler.chance.random() < 0.5
        if altered:
            # Anywhere in the values: a letter is another.
            at = spoiler.chance.choice([at for at, byte in enumerate(body) if chr(byte).isalpha()])
            body = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
        return path, body, {**FORM, "x-twilio-signature": signature}, altered

    def events() -> tuple[str, bytes, dict[str, str], bool]:
        event = {
            name: spoiler.value()
            for name in ("event", "timestamp", "delivery_id", "sg_message_id", "email", "type")
        }
        body, altered = json.dumps([event, spoiler.value()]).encode(), spoiler.chance.random() < 0.5
        headers = {"content-type": "application/json", **sendgrid.headers(body)}
        return "/webhooks/sendgrid", spoiler.altered(body) + b" " if altered else body, headers, altered

    def notices() -> tuple[str, bytes, dict[str, str], bool]:
        host = spoiler.chance.choice(
            ["sns.eu-west-1.amazonaws.com", "sns.eu-west-1.amazonaws.com.evil.example", "127.0.0.1"]
        )
        names = ("Type", "MessageId", "TopicArn", "Message", "Timestamp", "SignatureVersion", "Signature")
        known = {name: spoiler.word() for name in names} | {"Type": "Notification"}
        body = json.dumps(
            {**known, "SigningCertURL": f"https://{host}/SimpleNotificationService-0.pem"}
        ).encode()
        return "/webhooks/sns", spoiler.altered(body), {"content-type": "text/plain"}, True

    async def attempt(_: int) -> None:
        path, body, headers, altered = spoiler.chance.choice([twilio, events, notices])()
        reply = await ask(rest, count, "POST", path, body, headers)
        if reply is not None:
            judged(count, reply, (path, body))
            if altered and reply.status != 403:
                count.odd((path, body, reply))

    await each(number, attempt)
    counted(count)


async def test_links(
    rest: Rest, people: People, feed: Caller, mailbox: Mailbox, number: int, counted: Callable[[Count], None]
) -> None:
    """A link of a mail with each of its bits the other way, and with more than a bit wrong: none is a link."""
    spoiler, count = Spoiler(SEED + 5), Count("links of mails")
    person = await people.new()
    choices = f"/api/v1/users/{person.user_id}/notification-preferences"
    before = (await person.caller.get(choices)).ok
    sent = await feed.send("email", user_id=person.user_id, data=data())
    header = (await mailbox.message(notification_id=sent))["headers"]["List-Unsubscribe"]
    token = urlsplit(header.strip("<>")).path.rpartition("/")[2].encode()
    bits = [(at, bit) for at in range(len(token)) for bit in range(8)]
    spoiler.chance.shuffle(bits)

    async def attempt(index: int) -> None:
        changed = bytearray(token)
        if index < len(bits):
            at, bit = bits[index]
            changed[at] ^= 1 << bit
        else:
            changed = bytearray(spoiler.altered(token))
        if bytes(changed) == token or not changed:
            return
        method = spoiler.chance.choice(["GET", "POST"])
        body, headers = (b"List-Unsubscribe=One-Click", FORM) if method == "POST" else (None, {})
        path = f"/unsubscribe/{quote(bytes(changed), safe='')}"
        reply = await ask(rest, count, method, path, body, headers)
        if reply is not None:
            judged(count, reply, path)
            if reply.status not in (400, 404):
                count.odd((path, reply))

    await each(number, attempt)
    assert (await person.caller.get(choices)).ok == before
    counted(count)
