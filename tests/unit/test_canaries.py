"""The canaries of other tests find what they are for: each form in which an address might stand somewhere."""

from __future__ import annotations

import base64
import hashlib
import json
from urllib.parse import quote, quote_plus

import pytest

from tests.canaries import Canaries

ADDRESS = "ann@heron.example"
DOMAIN = "heron.example"
CANARIES = Canaries([DOMAIN, "+1202556"], [ADDRESS])

TOLD = {
    "as it is": f"to {ADDRESS} now".encode(),
    "in capitals": ADDRESS.upper().encode(),
    "UTF-16": ADDRESS.encode("utf-16"),
    "UTF-16, the other way round": ADDRESS.encode("utf-16-be"),
    "in a query": quote("+12025560001").encode(),
    "in a form": quote_plus("a +12025560001").encode(),
    "hexadecimal": ADDRESS.encode().hex().encode(),
    **{
        f"base64 behind {before}": base64.b64encode(b"x" * before + ADDRESS.encode() + b"tail")
        for before in range(7)
    },
    "base64 for addresses": base64.urlsafe_b64encode(f"??>{ADDRESS}".encode()),
    **{
        f"{name}, {form.__name__}": form(hashlib.new(name, ADDRESS.encode()).digest())
        for name in ("md5", "sha1", "sha256", "sha512")
        for form in (bytes, base64.b64encode, base64.urlsafe_b64encode)
    },
    "a hash in hexadecimal": hashlib.sha256(ADDRESS.encode()).hexdigest().encode(),
    "in JSON": json.dumps({"to": ADDRESS}).encode(),
}


@pytest.mark.parametrize("form", TOLD)
def test_each_form_is_found(form: str) -> None:
    assert CANARIES.within(TOLD[form])


@pytest.mark.parametrize("content", [b"", b"ann and a heron", b"heron-example", bytes(range(256)), "\udcff"])
def test_what_tells_nothing_is_none(content: bytes | str) -> None:
    assert CANARIES.within(content) == set()
