"""Which addresses may be called, and that a name which leads elsewhere is not followed."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from crown.egress import AddressRefused, Egress, PublicResolver, is_public
from crown.http import CallBroken, Http
from crown.outcome import Retry

ALLOWED = Egress.of(
    ["push.example.org", "*.wide.example", "127.0.0.1:3009", "localhost:3009", "in.example:8443"]
)


@pytest.mark.parametrize(
    "url",
    [
        "https://push.example.org",
        "https://push.example.org/a/b?c=d",
        "https://PUSH.example.org:443/",
        "https://a.b.wide.example/x",
        "http://127.0.0.1:3009/web-push/1",
        "http://localhost:3009/",
        "https://127.0.0.1:3009/",
        "https://in.example:8443/hook",
    ],
)
def test_allowed(url: str) -> None:
    assert ALLOWED.problem(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "push.example.org",
        "http://push.example.org/",
        "http://push.example.org:443/",
        "http://in.example:8443/",
        "ftp://push.example.org/",
        "https://push.example.org:8443/",
        "https://push.example.org.evil.example/",
        "https://evilpush.example.org/",
        "https://wide.example/",
        "https://notwide.example/",
        "https://push.example.org@evil.example/",
        "https://user:word@push.example.org/",
        "https://evil.example\\@push.example.org/",
        "https://push.example.org\\.evil.example/",
        "https://evil.example#push.example.org/",
        "https://push.example.org/#x",
        "https://push.example.org/a b",
        "https://push.example.org/\n",
        "https://push.example.org./",
        "https://púsh.example.org/",
        "https://127.0.0.1/",
        "http://127.0.0.1:3010/",
        "http://127.1:3009/",
        "http://2130706433:3009/",
        "http://[::1]:3009/",
        "https://169.254.169.254/latest/meta-data",
    ],
)
def test_refused(url: str) -> None:
    assert ALLOWED.problem(url) is not None


def test_an_address_needs_its_port_named() -> None:
    assert Egress.of(["192.0.2.1"]).problem("https://192.0.2.1/") is not None


def test_nothing_is_allowed_without_a_list() -> None:
    assert Egress().problem("https://push.example.org/") is not None


@pytest.mark.parametrize(
    "entry", ["", "*", "*.", "https://a.example", "a.example/", "a b", "a:0", "a:65536", "[::1]:9"]
)
def test_no_entry(entry: str) -> None:
    with pytest.raises(ValueError, match="must be hosts"):
        Egress.of([entry])


@pytest.mark.parametrize("address", ["8.8.8.8", "142.250.1.1", "2607:f8b0:4004:c07::5f"])
def test_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "192.168.1.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:10.0.0.1",
        "::ffff:8.8.8.8",
        "64:ff9b::a00:1",
        "64:ff9b:1::a00:1",
        "2001:0:a00:1::",
        "2002:a00:1::",
        "fd00:ec2::254",
        "fe80::1",
        "ff02::1",
    ],
)
def test_not_public(address: str) -> None:
    assert not is_public(address)


class Names(AbstractResolver):
    """Answers each of `answers` once, as a name server does that changes its mind."""

    def __init__(self, *answers: list[str]) -> None:
        self.left = list(answers)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        flags = {"family": socket.AF_INET, "proto": 0, "flags": socket.AI_NUMERICHOST}
        return [ResolveResult(hostname=host, host=one, port=port, **flags) for one in self.left.pop(0)]  # type: ignore[typeddict-item]

    async def close(self) -> None:
        pass


async def test_one_private_address_among_others_is_one_too_many() -> None:
    resolver = PublicResolver(ALLOWED, Names(["8.8.8.8", "10.0.0.1"], ["8.8.8.8"], ["10.0.0.1"]))
    with pytest.raises(AddressRefused):
        await resolver.resolve("push.example.org", 443)
    assert len(await resolver.resolve("push.example.org", 443)) == 1
    # Vouched for, with its port.
    assert len(await resolver.resolve("in.example", 8443)) == 1


@pytest.fixture
async def inside() -> AsyncIterator[tuple[int, list[str]]]:
    """A server on loopback, its port, and what it was asked."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        raise web.HTTPFound("/elsewhere")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield runner.addresses[0][1], asked
    await runner.cleanup()


async def test_a_name_that_leads_inside_is_not_called(
    inside: tuple[int, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, asked = inside
    names = Names(["127.0.0.1"])
    monkeypatch.setattr("crown.egress.ThreadedResolver", lambda: names)
    # Without the port in the list nothing vouches for it; 443 is the server's here.
    monkeypatch.setattr("crown.egress.Egress.problem", lambda *_: None)
    http = Http(egress=Egress.of(["push.example.org"]))
    with pytest.raises(CallBroken) as broken:
        await http.post(f"http://push.example.org:{port}/", {}, b"")
    await http.close()
    assert broken.value.outcome == Retry("ADDRESS_REFUSED")
    assert asked == []
    assert names.left == []


async def test_the_text_is_judged_before_anybody_is_asked(inside: tuple[int, list[str]]) -> None:
    port, asked = inside
    http = Http(egress=ALLOWED)
    with pytest.raises(CallBroken) as broken:
        await http.post(f"http://127.0.0.1:{port}/", {}, b"")
    await http.close()
    assert (broken.value.word, broken.value.written, asked) == ("ADDRESS_REFUSED", False, [])


async def test_a_redirect_is_not_followed(inside: tuple[int, list[str]]) -> None:
    port, asked = inside
    http = Http(egress=Egress.of([f"127.0.0.1:{port}"]))
    answer = await http.post(f"http://127.0.0.1:{port}/here", {}, b"")
    await http.close()
    assert (answer.status, asked) == (302, ["/here"])
