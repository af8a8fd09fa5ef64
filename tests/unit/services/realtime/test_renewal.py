"""A newer token on a socket that is open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from crown.auth import Principal

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.services.realtime.conftest import Connection, FakeTokens

OK: dict[str, Any] = {"status": "ok", "response": {}}
TOPIC = "user:ann"


def principal(subject: str = "ann", use: str = "user") -> Principal:
    """Who holds a token that is good for longer."""
    return Principal(use, subject, frozenset(), 3e9, "laptop", 1e9)


async def offer(client: Connection, payload: object, topic: str = "phoenix") -> Any:
    """What a client is answered that brings a token."""
    ((*_, answer),) = await client.ask(None, "5", topic, "access_token", payload)
    return answer


async def test_the_socket_goes_on_as_the_new_token_says(client: Connection, tokens: FakeTokens) -> None:
    tokens.known["new"] = principal()
    assert await client.ask(None, "5", "phoenix", "access_token", {"access_token": "new"}) == [
        [None, "5", "phoenix", "phx_reply", OK]
    ]
    assert client.socket.principal == principal()


async def test_a_topic_that_the_client_is_on_takes_it_too(client: Connection, tokens: FakeTokens) -> None:
    tokens.known["new"] = principal()
    message = "1", "2", TOPIC, "access_token", {"access_token": "new"}
    assert (await client.ask(*message))[0][4]["response"]["reason"] == "unmatched topic"
    assert client.socket.principal.expires == 2e9
    await client.ask("1", "1", TOPIC, "phx_join", {})
    assert await client.ask(*message) == [["1", "2", TOPIC, "phx_reply", OK]]
    assert client.socket.principal == principal()


async def test_a_key_that_has_to_be_read_first_holds_nothing_up(
    client: Connection, tokens: FakeTokens
) -> None:
    tokens.known["new"] = principal()
    tokens.cold.add("new")
    client.say(None, "5", "phoenix", "access_token", {"access_token": "new"})
    client.say(None, "6", "phoenix", "heartbeat", {})
    assert [frame[1] for frame in await client.heard()] == ["6", "5"]
    assert client.socket.principal == principal()


@pytest.mark.parametrize("cold", [True, False])
@pytest.mark.parametrize(
    ("found", "reason"),
    [(principal("bob"), "NOT_ALLOWED"), (principal(use="operator"), "NOT_ALLOWED"), (None, "TOKEN_INVALID")],
)
async def test_another_persons_token_changes_nothing(
    connect: Callable[..., Connection],
    tokens: FakeTokens,
    found: Principal | None,
    reason: str,
    cold: bool,
) -> None:
    client = connect()
    before = client.socket.principal
    if found is not None:
        tokens.known["new"] = found
    if cold:
        tokens.cold.add("new")
    answer = await offer(client, {"access_token": "new"})
    assert (answer["status"], answer["response"]["reason"]) == ("error", reason)
    assert client.socket.principal is before
    assert client.outlet.closes == []


@pytest.mark.parametrize(
    "payload",
    [{}, [], None, "new", {"access_token": None}, {"access_token": ""}, {"access_token": "x" * 8_193}],
)
async def test_what_is_no_token_is_refused_by_name(client: Connection, payload: object) -> None:
    answer = await offer(client, payload)
    assert answer["response"]["reason"] == "INVALID_REQUEST"
    assert "access_token" in answer["response"]["message"]
