"""Which field a strict reading blames, and for what."""

from __future__ import annotations

from typing import Annotated

import msgspec
import pytest

from stack.strict import Fault, Violation, decode


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    name: str


class Outer(msgspec.Struct, forbid_unknown_fields=True):
    inner: Inner
    items: list[Inner] = []
    texts: dict[str, str] = {}
    short: dict[Annotated[str, msgspec.Meta(max_length=2)], int] = {}
    small: Annotated[int, msgspec.Meta(le=3)] = 0


DECODER = msgspec.json.Decoder(Outer)

CASES = {
    "cut off": (b"{", Fault.MALFORMED, ""),
    "empty": (b"", Fault.MALFORMED, ""),
    "trailing": (b'{"inner":{"name":"x"}} x', Fault.MALFORMED, ""),
    "not UTF-8": (b'{"inner":{"name":"\xff"}}', Fault.MALFORMED, ""),
    "lone surrogate": (b'{"inner":{"name":"\\ud800"}}', Fault.MALFORMED, ""),
    "too deep": (b'{"inner":{"name":' + b"[" * 200_000, Fault.TYPE, "inner.name"),
    "other body": (b"[]", Fault.TYPE, ""),
    "missing": (b"{}", Fault.MISSING, "inner"),
    "missing, deep": (b'{"inner":{}}', Fault.MISSING, "inner.name"),
    "unknown": (b'{"inner":{"name":"x"},"x":1}', Fault.UNKNOWN, "x"),
    "unknown with odd name": (b'{"inner":{"name":"x","a.b`c":1}}', Fault.UNKNOWN, "inner.a.b`c"),
    "wrong type in list": (b'{"inner":{"name":"x"},"items":[{"name":"x"},5]}', Fault.TYPE, "items.1"),
    "wrong type in map": (b'{"inner":{"name":"x"},"texts":{"a":5}}', Fault.TYPE, "texts"),
    "bad key": (b'{"inner":{"name":"x"},"short":{"abc":5}}', Fault.VALUE, "short"),
    "out of bounds": (b'{"inner":{"name":"x"},"small":9}', Fault.VALUE, "small"),
}


@pytest.mark.parametrize(("body", "fault", "field"), CASES.values(), ids=CASES.keys())
def test_the_first_fault_is_named(body: bytes, fault: Fault, field: str) -> None:
    with pytest.raises(Violation) as caught:
        decode(DECODER, body)
    assert (caught.value.fault, caught.value.field) == (fault, field)
    assert caught.value.problem


def test_types_are_told() -> None:
    with pytest.raises(Violation) as caught:
        decode(DECODER, b'{"inner":{"name":5}}')
    assert (caught.value.expected, caught.value.given) == ("str", "int")


def test_nesting_beyond_the_stack_is_malformed() -> None:
    with pytest.raises(Violation) as caught:
        decode(msgspec.json.Decoder(), b"[" * 200_000)
    assert caught.value.fault is Fault.MALFORMED


def test_a_good_body_is_read() -> None:
    assert decode(DECODER, b'{"inner":{"name":"x"},"small":3}') == Outer(Inner("x"), small=3)
