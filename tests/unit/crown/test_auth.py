"""Tokens: which are believed, which are not and why, and when the keys are read again."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
import time_machine
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from crown import auth, subjects
from crown.auth import Authenticator, Keys, Principal, bearer
from crown.errors import NotAllowed, Unauthenticated, Unavailable
from crown.token import LIFE_MOST_S, Token
from tests.unit.crown.issuer import AUDIENCE, ISSUER, Issuer

HOUR_S = 3600


@pytest.fixture
def authenticator(issuer: Issuer, tmp_path: Path) -> Authenticator:
    """Believes `issuer`."""
    return Authenticator(Keys(issuer.publish(tmp_path / "jwks.json", "ec", "rsa")), ISSUER, AUDIENCE)


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def claims_now(**given: Any) -> dict[str, Any]:
    now = int(time.time())
    usual = {"iss": ISSUER, "aud": AUDIENCE, "sub": "user123", "use": "user", "iat": now, "exp": now + 600}
    return usual | given


def unsigned(issuer: Issuer) -> str:
    header = {"alg": "none", "typ": "JWT", "kid": "ec"}
    return f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims_now()).encode())}."


def confused(issuer: Issuer) -> str:
    """Signed by HMAC with the public RSA key as its secret: what a verifier that believes `alg` accepts."""
    public = issuer.private["rsa"].public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    header = {"alg": "HS256", "typ": "JWT", "kid": "rsa"}
    signed = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims_now()).encode())}"
    return f"{signed}.{b64(hmac.new(pem, signed.encode(), hashlib.sha256).digest())}"


def crossed(issuer: Issuer) -> str:
    """Signed with one good key under the name of the other."""
    return issuer.token("ec", headers={"kid": "rsa"})


def stranger(issuer: Issuer) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return jwt.encode(claims_now(), key, "ES256", {"kid": "ec"})


def embedded(issuer: Issuer) -> str:
    """Brings the key that it is signed with along, under the name of a good one."""
    key = ec.generate_private_key(ec.SECP256R1())
    own = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return jwt.encode(claims_now(), key, "ES256", {"kid": "ec", "jwk": own})


def altered(issuer: Issuer) -> str:
    head, _, signature = issuer.token().split(".")
    return f"{head}.{b64(json.dumps(claims_now(sub='victim')).encode())}.{signature}"


@pytest.mark.parametrize("kid", ["ec", "rsa"])
async def test_both_algorithms_verify(authenticator: Authenticator, issuer: Issuer, kid: str) -> None:
    found = await authenticator.principal(issuer.token(kid))
    assert (found.use, found.subject, found.scopes) == ("user", "user123", frozenset())


@pytest.mark.parametrize(
    ("use", "scope", "scopes"),
    [
        ("user", "notifications.send", frozenset()),
        ("operator", "notifications.send", frozenset()),
        ("service", "notifications.send inbox.read", {"notifications.send", "inbox.read"}),
        ("service", "", frozenset()),
        ("service", None, frozenset()),
        ("service", ["notifications.send"], frozenset()),
    ],
)
async def test_only_services_have_scopes(
    authenticator: Authenticator, issuer: Issuer, use: str, scope: object, scopes: frozenset[str]
) -> None:
    found = await authenticator.principal(issuer.token(use=use, scope=scope))
    assert (found.use, found.scopes) == (use, scopes)


@pytest.mark.parametrize(
    "forge",
    [
        pytest.param(unsigned, id="no signature"),
        pytest.param(confused, id="public key as a secret"),
        pytest.param(crossed, id="another key's name"),
        pytest.param(stranger, id="a stranger's key"),
        pytest.param(altered, id="altered claims"),
        pytest.param(lambda issuer: issuer.token(headers={"kid": "nobody"}), id="unknown key id"),
        pytest.param(lambda issuer: issuer.token(headers={"kid": None}), id="no key id"),
        pytest.param(lambda issuer: issuer.token(headers={"kid": "ec\0"}), id="a zero behind the key id"),
        pytest.param(lambda issuer: issuer.token(headers={"kid": "../ec"}), id="a path as key id"),
        pytest.param(lambda issuer: issuer.token(headers={"kid": "EC"}), id="a key id in capitals"),
        pytest.param(lambda issuer: issuer.token(headers={"kid": "' OR '1'='1"}), id="SQL as key id"),
        pytest.param(
            lambda issuer: issuer.token(headers={"jku": "http://x", "kid": "x"}), id="keys elsewhere"
        ),
        pytest.param(embedded, id="a key of its own"),
        pytest.param(lambda issuer: issuer.token(iss="https://evil.example"), id="wrong issuer"),
        pytest.param(lambda issuer: issuer.token(nbf=int(time.time()) + 600), id="not yet valid"),
        pytest.param(lambda issuer: issuer.token(exp=int(time.time()) - 60), id="expired"),
        pytest.param(lambda issuer: issuer.token(exp=str(int(time.time()) + 600)), id="expiry is text"),
        pytest.param(lambda issuer: issuer.token(exp=float("inf")), id="expiry is infinite"),
        pytest.param(lambda issuer: issuer.token(exp=True), id="expiry is a boolean"),
        pytest.param(lambda issuer: issuer.token(exp=None), id="no expiry"),
        pytest.param(lambda issuer: issuer.token(iat=None), id="no issue time"),
        pytest.param(lambda issuer: issuer.token(iat=str(int(time.time()))), id="issue time is text"),
        pytest.param(lambda issuer: issuer.token(iat=float("inf")), id="issue time is infinite"),
        pytest.param(lambda issuer: issuer.token(exp=int(time.time()) + 8 * 86_400), id="lives too long"),
        pytest.param(lambda issuer: issuer.token(exp=10**300), id="lives for ever"),
        pytest.param(lambda issuer: issuer.token(iat=0), id="issued before all time"),
        pytest.param(lambda issuer: issuer.token(sid=7), id="session is a number"),
        pytest.param(lambda issuer: issuer.token(sub=None), id="no subject"),
        pytest.param(lambda issuer: issuer.token(sub=""), id="empty subject"),
        pytest.param(lambda issuer: issuer.token(aud=None), id="no audience"),
        pytest.param(lambda issuer: issuer.token(iss=None), id="no issuer"),
        pytest.param(lambda issuer: issuer.token(use="admin"), id="unknown use"),
        pytest.param(lambda issuer: issuer.token(use=None), id="no use"),
        pytest.param(lambda issuer: issuer.token(use=["user"]), id="a list of uses"),
        pytest.param(lambda issuer: issuer.token() + "x", id="one character too many"),
        pytest.param(lambda issuer: "", id="empty"),
        pytest.param(lambda issuer: "a.b", id="no token at all"),
        pytest.param(lambda issuer: "é.é.é", id="not ASCII"),
        pytest.param(lambda issuer: b64(b"[]") + "..", id="a header that is a list"),
        pytest.param(
            lambda issuer: issuer.token(headers={"crit": ["b64"]}), id="an extension that is needed"
        ),
        pytest.param(lambda issuer: issuer.token(iat=int(time.time()) + 600), id="issued in the future"),
        pytest.param(lambda issuer: issuer.token(iat="0"), id="issue time is text"),
        pytest.param(lambda issuer: issuer.token(nbf="0"), id="not before is text"),
        pytest.param(lambda issuer: issuer.token(sub=7), id="subject is a number"),
        pytest.param(lambda issuer: issuer.token(aud=[AUDIENCE, 7]), id="audiences that are no text"),
        pytest.param(lambda issuer: issuer.token() + "=", id="padded"),
        pytest.param(lambda issuer: issuer.token() + ".x", id="four parts"),
        pytest.param(lambda issuer: " " + issuer.token(), id="a space before"),
        pytest.param(lambda issuer: issuer.token() + "\n", id="a line end behind"),
    ],
)
async def test_what_does_not_verify_is_refused(
    authenticator: Authenticator, issuer: Issuer, forge: Callable[[Issuer], str]
) -> None:
    with pytest.raises(Unauthenticated) as caught:
        await authenticator.principal(forge(issuer))
    assert caught.value.reason == "TOKEN_INVALID"


async def test_a_good_token_for_somebody_else_is_not_allowed(
    authenticator: Authenticator, issuer: Issuer
) -> None:
    with pytest.raises(NotAllowed):
        await authenticator.principal(issuer.token(aud="another-service"))


async def test_one_of_several_audiences_may_be_this_service(
    authenticator: Authenticator, issuer: Issuer
) -> None:
    assert (await authenticator.principal(issuer.token(aud=["another", AUDIENCE]))).subject == "user123"
    with pytest.raises(NotAllowed):
        await authenticator.principal(issuer.token(aud=[]))


async def test_a_symmetric_key_in_the_set_is_no_key(tmp_path: Path, issuer: Issuer) -> None:
    shared = b"0123456789abcdef0123456789abcdef"
    keys = {"keys": [{"kty": "oct", "kid": "shared", "alg": "HS256", "k": b64(shared)}]}
    (tmp_path / "jwks.json").write_text(json.dumps(keys))
    authenticator = Authenticator(Keys(str(tmp_path / "jwks.json")), ISSUER, AUDIENCE)
    token = jwt.encode(claims_now(), shared, "HS256", {"kid": "shared"})
    with pytest.raises(Unauthenticated):
        await authenticator.principal(token)


@pytest.mark.parametrize(
    ("claims", "good"),
    [
        ({"exp": -auth.LEEWAY_S + 1}, True),
        ({"exp": -auth.LEEWAY_S}, False),
        ({"nbf": auth.LEEWAY_S}, True),
        ({"nbf": auth.LEEWAY_S + 1}, False),
        ({"iat": auth.LEEWAY_S}, True),
        ({"iat": auth.LEEWAY_S + 1}, False),
    ],
    ids=str,
)
async def test_half_a_minute_is_exact(
    authenticator: Authenticator, issuer: Issuer, claims: dict[str, int], good: bool
) -> None:
    with time_machine.travel(int(time.time()), tick=False):
        now = int(time.time())
        moved: dict[str, Any] = {name: now + after_s for name, after_s in claims.items()}
        token = issuer.token(**moved)
        if good:
            await authenticator.principal(token)
        else:
            with pytest.raises(Unauthenticated):
                await authenticator.principal(token)


@pytest.mark.parametrize(("life_s", "good"), [(7 * 86_400, True), (7 * 86_400 + 1, False)])
@pytest.mark.parametrize("use", ["user", "service", "operator"])
async def test_a_token_lives_for_a_week_at_most(
    authenticator: Authenticator, issuer: Issuer, use: str, life_s: int, good: bool
) -> None:
    # Also when most of it is over: it could have been revoked before anybody here remembers.
    issued = int(time.time()) - life_s + 60
    token = issuer.token(use=use, iat=issued, exp=issued + life_s)
    if good:
        await authenticator.principal(token)
    else:
        with pytest.raises(Unauthenticated, match="longer than 7 days"):
            await authenticator.principal(token)


def test_a_revocation_outlives_every_token() -> None:
    # Issued at the very moment, by a clock that is ahead as far as it may be.
    assert subjects.REVOKED_KEPT_S > LIFE_MOST_S + 2 * auth.LEEWAY_S


async def test_clocks_may_differ_by_half_a_minute(authenticator: Authenticator, issuer: Issuer) -> None:
    now = int(time.time())
    await authenticator.principal(issuer.token(exp=now - 20))
    await authenticator.principal(issuer.token(nbf=now + 20, iat=now + 20))


async def test_a_verified_token_is_believed_until_it_expires(
    authenticator: Authenticator, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = issuer.token()
    first = await authenticator.principal(token)
    # A second verification would fail: only what is remembered can answer.
    monkeypatch.setattr(Token, "verify", None)
    assert await authenticator.principal(token) is first
    with time_machine.travel(time.time() + 660, tick=False), pytest.raises(Unauthenticated, match="expired"):
        await authenticator.principal(token)


async def test_what_is_remembered_is_bounded(
    authenticator: Authenticator, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "_TOKENS_KEPT", 2)
    for number in range(5):
        await authenticator.principal(issuer.token(sub=f"user{number}"))
    assert len(authenticator._known) == 2


# -- keys


@dataclass
class Published:
    """A set of keys behind an address: what it answers, and how often it was asked."""

    url: str = ""
    status: int = 200
    body: str = ""
    asked: int = 0

    async def answer(self, _request: web.Request) -> web.Response:
        self.asked += 1
        return web.Response(status=self.status, text=self.body)


@pytest.fixture
async def published(issuer: Issuer) -> AsyncIterator[Published]:
    """The issuer's key "ec", over HTTP."""
    found = Published(body=json.dumps(issuer.jwks("ec")))
    app = web.Application()
    app.router.add_get("/jwks", found.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = "http://127.0.0.1:{1}/jwks".format(*runner.addresses[0])
    yield found
    await runner.cleanup()


@dataclass
class Ticker:
    """The monotonic clock, moved by hand."""

    now_s: float = 1000.0


@pytest.fixture
def ticker(monkeypatch: pytest.MonkeyPatch) -> Ticker:
    """Decides when the keys may be read again."""
    found = Ticker()
    monkeypatch.setattr(auth, "time", SimpleNamespace(time=time.time, monotonic=lambda: found.now_s))
    return found


async def test_an_unknown_key_id_reads_the_keys_again(
    issuer: Issuer, published: Published, ticker: Ticker
) -> None:
    keys = Keys(published.url)
    assert await keys.find("ec") is not None
    published.body = json.dumps(issuer.jwks("rsa"))
    ticker.now_s += 6
    assert await keys.find("rsa") is not None
    assert published.asked == 2


async def test_a_key_that_was_withdrawn_verifies_nothing_new(
    issuer: Issuer, published: Published, ticker: Ticker
) -> None:
    authenticator = Authenticator(Keys(published.url), ISSUER, AUDIENCE)
    await authenticator.principal(issuer.token("ec"))
    published.body = json.dumps(issuer.jwks("rsa"))
    ticker.now_s += 6
    await authenticator.principal(issuer.token("rsa"))
    with pytest.raises(Unauthenticated):
        await authenticator.principal(issuer.token("ec", sub="somebody else"))


async def test_made_up_key_ids_do_not_make_us_ask_all_the_time(published: Published, ticker: Ticker) -> None:
    keys = Keys(published.url)
    for number in range(20):
        assert await keys.find(f"made-up-{number}") is None
    assert published.asked == 1


async def test_nor_while_the_auth_service_is_away(published: Published, ticker: Ticker) -> None:
    keys = Keys(published.url)
    await keys.find("ec")
    published.status = 503
    ticker.now_s += 6
    for number in range(20):
        assert await keys.find(f"made-up-{number}") is None
    assert published.asked == 2


async def test_known_keys_outlive_the_auth_service(
    issuer: Issuer, published: Published, ticker: Ticker
) -> None:
    authenticator = Authenticator(Keys(published.url), ISSUER, AUDIENCE)
    await authenticator.principal(issuer.token("ec"))
    published.status = 500
    ticker.now_s += HOUR_S
    await authenticator.principal(issuer.token("ec", sub="another"))


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (503, ""),
        (200, "not json"),
        (200, "[]"),
        (200, "null"),
        (200, '"keys"'),
        (200, "{}"),
        (200, '{"keys": []}'),
        (200, '{"keys": 7}'),
        (200, '{"keys": ["ec"]}'),
        (200, '{"keys": [{"kty": "EC"}]}'),
    ],
)
async def test_without_any_keys_a_caller_is_told_to_come_back(
    issuer: Issuer, published: Published, ticker: Ticker, status: int, body: str
) -> None:
    published.status, published.body = status, body
    authenticator = Authenticator(Keys(published.url), ISSUER, AUDIENCE)
    for _ in range(3):
        with pytest.raises(Unavailable, match="keys cannot be read"):
            await authenticator.principal(issuer.token("ec"))
    assert published.asked == 1
    published.status, published.body = 200, json.dumps(issuer.jwks("ec"))
    ticker.now_s += 6
    assert (await authenticator.principal(issuer.token("ec"))).subject == "user123"


@pytest.fixture
def believer(issuer: Issuer, published: Published, ticker: Ticker) -> tuple[Authenticator, Keys]:
    """Reads keys over HTTP."""
    keys = Keys(published.url)
    return Authenticator(keys, ISSUER, AUDIENCE), keys


async def test_a_withdrawn_key_is_believed_no_longer_also_where_it_was(
    believer: tuple[Authenticator, Keys], issuer: Issuer, published: Published
) -> None:
    authenticator, keys = believer
    old, other = issuer.token("ec"), issuer.token("rsa")
    published.body = json.dumps(issuer.jwks("ec", "rsa"))
    await authenticator.principal(old)
    await authenticator.principal(other)
    gone: list[frozenset[str]] = []
    authenticator.on_withdrawn(gone.append)
    published.body = json.dumps(issuer.jwks("rsa"))
    await keys.refresh()
    assert gone == [{"ec"}]
    with pytest.raises(Unauthenticated):
        await authenticator.principal(old)
    assert (await authenticator.principal(other)).key_id == "rsa"


async def test_another_key_under_the_same_name_is_another_key(
    believer: tuple[Authenticator, Keys], issuer: Issuer, published: Published
) -> None:
    authenticator, keys = believer
    old = issuer.token("ec")
    await authenticator.principal(old)
    issuer.add("ec", ec.generate_private_key(ec.SECP256R1()))
    published.body = json.dumps(issuer.jwks("ec"))
    await keys.refresh()
    with pytest.raises(Unauthenticated):
        await authenticator.principal(old)
    await authenticator.principal(issuer.token("ec"))


async def test_a_rotation_with_overlap_refuses_nobody(
    believer: tuple[Authenticator, Keys], issuer: Issuer, published: Published
) -> None:
    authenticator, keys = believer
    gone: list[frozenset[str]] = []
    authenticator.on_withdrawn(gone.append)
    old = issuer.token("ec")
    await authenticator.principal(old)
    published.body = json.dumps(issuer.jwks("ec", "rsa"))
    await keys.refresh()
    for token in (old, issuer.token("rsa"), issuer.token("ec")):
        # Known already: who cannot wait gets an answer, too.
        assert authenticator.at_once(token) is not None
    assert gone == []


@pytest.mark.parametrize("body", ["", "[]", '{"keys": []}', '{"keys": [{"kty": "EC"}]}'])
async def test_what_is_no_set_of_keys_withdraws_none(
    believer: tuple[Authenticator, Keys], issuer: Issuer, published: Published, body: str
) -> None:
    authenticator, keys = believer
    token = issuer.token("ec")
    await authenticator.principal(token)
    published.body = body
    await keys.refresh()
    assert (await authenticator.principal(token)).subject == "user123"


async def test_keys_are_believed_for_a_day_without_the_auth_service(
    believer: tuple[Authenticator, Keys], issuer: Issuer, published: Published, ticker: Ticker
) -> None:
    authenticator, keys = believer
    token = issuer.token("ec")
    await authenticator.principal(token)
    published.status = 500
    ticker.now_s += auth.KEPT_S - 1
    await keys.refresh()
    await authenticator.principal(token)
    ticker.now_s += 1
    await keys.refresh()
    with pytest.raises(Unavailable):
        await authenticator.principal(token)
    published.status = 200
    ticker.now_s += 10
    await keys.refresh()
    await authenticator.principal(token)


async def test_the_keys_are_looked_at_again_and_again(
    believer: tuple[Authenticator, Keys],
    issuer: Issuer,
    published: Published,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    authenticator, _ = believer
    monkeypatch.setattr(auth, "REFRESH_S", 0.01)
    watch = asyncio.create_task(authenticator.watch())
    try:
        await asyncio.sleep(0.05)
        assert published.asked == 0, "nobody has asked for a key yet"
        token = issuer.token("ec")
        await authenticator.principal(token)
        published.body = json.dumps(issuer.jwks("rsa"))

        async def refused() -> None:
            with suppress(Unauthenticated):
                while await authenticator.principal(token):  # noqa: ASYNC110 -- it tells nobody
                    await asyncio.sleep(0.01)

        await asyncio.wait_for(refused(), 10)
    finally:
        watch.cancel()


async def test_a_fault_does_not_end_the_looking(
    believer: tuple[Authenticator, Keys],
    issuer: Issuer,
    published: Published,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    authenticator, keys = believer
    await authenticator.principal(issuer.token("ec"))
    asked = published.asked
    monkeypatch.setattr(auth, "REFRESH_S", 0.01)
    faults: list[frozenset[str]] = []

    def fail(gone: frozenset[str]) -> None:
        faults.append(gone)
        raise RuntimeError("a fault of ours")

    keys.on_withdrawn(fail)
    published.body = json.dumps(issuer.jwks("rsa"))
    watch = asyncio.create_task(keys.watch())
    try:
        async with asyncio.timeout(10):
            while not faults or published.asked < asked + 3:  # noqa: ASYNC110 -- it tells nobody
                await asyncio.sleep(0.01)
    finally:
        watch.cancel()


def test_a_file_is_read_at_once_for_who_cannot_wait(
    issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "jwks.json"
    authenticator = Authenticator(Keys(issuer.publish(path, "rsa")), ISSUER, AUDIENCE)
    assert authenticator.at_once(issuer.token("rsa")) is not None
    issuer.publish(path, "ec", "rsa")
    assert authenticator.at_once(issuer.token("ec")) is not None
    reads: list[str] = []
    monkeypatch.setattr(auth, "_parse", reads.append)
    for number in range(5):
        assert authenticator.at_once(issuer.token("ec", headers={"kid": f"made-up-{number}"})) is None
    assert reads == []


async def test_a_file_is_looked_at_again_whoever_read_it_first(
    issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "jwks.json"
    authenticator = Authenticator(Keys(issuer.publish(path, "ec")), ISSUER, AUDIENCE)
    token = issuer.token("ec")
    assert authenticator.at_once(token) is not None
    gone = asyncio.Event()
    authenticator.on_withdrawn(lambda _: gone.set())
    monkeypatch.setattr(auth, "REFRESH_S", 0.01)
    watch = asyncio.create_task(authenticator.watch())
    try:
        issuer.publish(path, "rsa")
        await asyncio.wait_for(gone.wait(), 10)
    finally:
        watch.cancel()
    assert authenticator.at_once(token) is None


def test_a_file_that_is_gone_withdraws_nothing(issuer: Issuer, tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    authenticator = Authenticator(Keys(issuer.publish(path, "ec")), ISSUER, AUDIENCE)
    assert authenticator.at_once(issuer.token("ec")) is not None
    path.unlink()
    assert authenticator.at_once(issuer.token("ec", headers={"kid": "made up"})) is None
    assert authenticator.at_once(issuer.token("ec", sub="another")) is not None


async def test_a_missing_file_is_no_keys(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        await Keys(str(tmp_path / "none.json")).find("ec")


# -- the header


@pytest.mark.parametrize("header", ["Bearer abc", "bearer abc", "BEARER abc", "Bearer  abc "])
def test_a_bearer_token_is_found(header: str) -> None:
    assert bearer(header) == "abc"


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (None, "TOKEN_MISSING"),
        ("", "TOKEN_MISSING"),
        ("Basic abc", "TOKEN_INVALID"),
        ("Bearer", "TOKEN_INVALID"),
        ("Bearer ", "TOKEN_INVALID"),
        ("abc", "TOKEN_INVALID"),
    ],
)
def test_without_a_token_the_answer_says_how_to_get_one(header: str | None, reason: str) -> None:
    with pytest.raises(Unauthenticated, match="crown token --user") as caught:
        bearer(header)
    assert caught.value.reason == reason


def test_nobody_calls_outside_of_a_call() -> None:
    assert auth.caller() == auth.NOBODY
    assert Principal("nobody", "", frozenset(), 0.0) == auth.NOBODY


async def test_a_token_says_when_it_was_issued_and_to_which_login(
    authenticator: Authenticator, issuer: Issuer
) -> None:
    now = int(time.time())
    found = await authenticator.principal(issuer.token(iat=now, sid="phone"))
    assert (found.issued, found.session) == (now, "phone")
    assert (await authenticator.principal(issuer.token())).session == ""


async def test_a_token_that_was_good_can_be_refused(authenticator: Authenticator, issuer: Issuer) -> None:
    ended: set[str] = set()
    authenticator.refuse(lambda principal: principal.session in ended)
    token = issuer.token(sid="phone")
    await authenticator.principal(token)
    ended.add("phone")
    with pytest.raises(Unauthenticated, match="revoked"):
        await authenticator.principal(token)
