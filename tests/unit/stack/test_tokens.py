"""The claims of the tokens that `crown token` prints."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from stack.control import Stack
from stack.errors import StackError
from stack.tokens import SCOPES


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return Stack(13000, home=tmp_path)


def claims(stack: Stack, token: str) -> dict[str, Any]:
    keys = jwt.PyJWKSet.from_dict(json.loads(stack.secrets.jwks().read_text()))
    key = keys[jwt.get_unverified_header(token)["kid"]]
    found: dict[str, Any] = jwt.decode(
        token, key, algorithms=["ES256"], audience="crown-notification", issuer="crown-stack"
    )
    return found


def test_a_user_acts_for_themself(stack: Stack) -> None:
    found = claims(stack, stack.token(user="user123"))
    assert (found["use"], found["sub"]) == ("user", "user123")
    assert "scope" not in found
    assert abs(found["exp"] - time.time() - 24 * 3600) < 5


def test_a_service_gets_every_scope_unless_some_are_named(stack: Stack) -> None:
    assert claims(stack, stack.token(service="feed"))["scope"].split() == list(SCOPES)
    assert claims(stack, stack.token(service="feed", scopes=["inbox.read"]))["scope"] == "inbox.read"


def test_an_operator(stack: Stack) -> None:
    found = claims(stack, stack.token(operator="ada", ttl_s=60))
    assert (found["use"], found["sub"], found["exp"] - found["iat"]) == ("operator", "ada", 60)


def test_a_token_can_be_born_expired(stack: Stack) -> None:
    with pytest.raises(jwt.ExpiredSignatureError):
        claims(stack, stack.token(user="user123", ttl_s=-120))


@pytest.mark.parametrize("named", [{}, {"user": "a", "service": "b"}], ids=["nobody", "two"])
def test_a_token_is_for_exactly_one(stack: Stack, named: dict[str, str]) -> None:
    with pytest.raises(StackError, match="one of"):
        stack.token(**named)  # type: ignore[arg-type]


def test_a_token_may_belong_to_a_login(stack: Stack) -> None:
    assert claims(stack, stack.token(user="user123", session="phone"))["sid"] == "phone"
    assert "sid" not in claims(stack, stack.token(user="user123"))
