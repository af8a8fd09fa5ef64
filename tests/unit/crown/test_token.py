"""Tokens as text: one spelling each, and nothing else."""

from __future__ import annotations

import base64

import jwt
import pytest
from jwt.algorithms import RSAAlgorithm

from crown.token import BadToken, _bytes, read
from tests.unit.crown.issuer import Issuer


@pytest.mark.parametrize("size", range(8))
def test_every_length_comes_back(size: int) -> None:
    raw = bytes(range(248, 248 + size))
    assert _bytes(base64.urlsafe_b64encode(raw).rstrip(b"=").decode()) == raw


@pytest.mark.parametrize(
    "part",
    ["A", "AAAAA", "AA==", "AAA=", "+_8", "/_8", "A A", "AA\n", "AB", "AAB", "é", "!!!!"],
    ids=ascii,
)
def test_nothing_else_is_taken(part: str) -> None:
    with pytest.raises(BadToken, match="encoding"):
        _bytes(part)


def test_what_it_shows_of_itself(issuer: Issuer) -> None:
    token = read(issuer.token("rsa"))
    assert (token.algorithm, token.key_id) == ("RS256", "rsa")


@pytest.mark.parametrize("more", ['"crit":["exp"]', '"crit":[]', '"b64":false', '"b64":true'])
def test_extensions_are_not_taken(more: str) -> None:
    header = base64.urlsafe_b64encode(b'{"alg":"ES256",%s}' % more.encode()).rstrip(b"=").decode()
    with pytest.raises(BadToken, match="extension"):
        read(f"{header}..")


def test_deep_nesting_is_no_header() -> None:
    deep = base64.urlsafe_b64encode(b'{"alg":' + b"[" * 100_000).rstrip(b"=").decode()
    with pytest.raises(BadToken, match="form"):
        read(f"{deep}..")


def test_a_token_names_the_algorithm_of_its_key(issuer: Issuer) -> None:
    """A good signature of the key, over a header that says something else of it."""
    header = base64.urlsafe_b64encode(b'{"alg":"none","kid":"rsa"}').rstrip(b"=").decode()
    signed = f"{header}.{issuer.token('rsa').split('.')[1]}"
    raw = RSAAlgorithm(RSAAlgorithm.SHA256).sign(signed.encode(), issuer.private["rsa"])  # type: ignore[arg-type]
    signature = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    (key,) = jwt.PyJWKSet.from_dict(issuer.jwks("rsa")).keys
    with pytest.raises(BadToken, match="algorithm"):
        read(f"{signed}.{signature}").verify(key)
