"""Strict JSON: what is let in comes out as any parser reads it, and all else is refused with a word on why."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from crown import safe_json
from crown.errors import InvalidRequest
from crown.validation import free_form_problem

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


def nested(levels: int, inside: str = "1") -> bytes:
    """A value in that many containers, of both kinds in turn."""
    opening = "".join("[" if level % 2 else '{"a":' for level in range(levels))
    closing = "".join("]" if level % 2 else "}" for level in reversed(range(levels)))
    return f"{opening}{inside}{closing}".encode()


@given(JSON)
def test_what_is_sound_comes_out_as_it_is(value: Any) -> None:
    assert safe_json.decode(json.dumps(value).encode()) == value
    assert safe_json.decode(json.dumps(value, ensure_ascii=False, indent=1).encode()) == value
    assert safe_json.decode(msgspec.Raw(msgspec.json.encode(value))) == value


@given(st.binary(max_size=200) | st.text(alphabet='{}[]",:\\1e-u0 \n').map(str.encode))
def test_no_bytes_do_any_harm_and_two_parsers_agree(data: bytes) -> None:
    try:
        value = safe_json.decode(data)
    except InvalidRequest:
        return
    assert json.loads(data, object_pairs_hook=unique) == value


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys differ."""
    found = dict(pairs)
    assert len(found) == len(pairs)
    return found


@given(st.dictionaries(st.text(max_size=3), JSON, min_size=1, max_size=3), st.data())
def test_a_key_that_comes_twice_is_found_wherever_it_is(value: dict[str, Any], data: st.DataObject) -> None:
    again = data.draw(st.sampled_from(sorted(value)))
    members = [f"{json.dumps(key)}:{json.dumps(inner)}" for key, inner in value.items()]
    # Written another way, it is the same key.
    members.insert(0, '"' + "".join(f"\\u{unit:04x}" for unit in units(again)) + '":0')
    for text in ("{" + ",".join(members) + "}", '[":{",{"x":{' + ",".join(members) + "}}]"):
        with pytest.raises(InvalidRequest, match="twice"):
            safe_json.decode(text.encode())


def units(text: str) -> list[int]:
    """`text` in UTF-16."""
    encoded = text.encode("utf-16-be")
    return [int.from_bytes(encoded[at : at + 2], "big") for at in range(0, len(encoded), 2)]


@given(st.integers(0, 20), st.sampled_from(["1", "{}", "[]", '"[["']))
def test_the_depth_is_that_of_free_form_parts(levels: int, inside: str) -> None:
    data = nested(levels, inside)
    struct = Struct()
    struct.update({"a": json.loads(data)})
    allowed = free_form_problem(struct) is None
    whole = b'{"a":' + data + b"}"
    if allowed:
        assert safe_json.decode(whole) == {"a": json.loads(data)}
    else:
        with pytest.raises(InvalidRequest, match="16 levels"):
            safe_json.decode(whole)


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        pytest.param(b"", "json", id="nothing"),
        pytest.param(b"NaN", "json", id="NaN"),
        pytest.param(b"[-Infinity]", "json", id="infinity"),
        pytest.param(b"1e999", "json", id="beyond a double"),
        pytest.param(b'{"a":[-1e400]}', "json", id="beyond a double, inside"),
        pytest.param(b"01", "json", id="leading zero"),
        pytest.param(b'{"a":1,}', "json", id="trailing comma"),
        pytest.param(b"{} {}", "json", id="two values"),
        pytest.param(b"// no\n{}", "json", id="comment"),
        pytest.param(b"\xef\xbb\xbf{}", "json", id="byte order mark"),
        pytest.param(b'"\xff"', "json", id="not utf-8"),
        pytest.param(b'"\xc0\x80"', "json", id="overlong utf-8"),
        pytest.param(b'"\xed\xa0\x80"', "json", id="surrogate in utf-8"),
        pytest.param(b'"\\ud800"', "json", id="lone high surrogate"),
        pytest.param(b'{"\\udc00":1}', "json", id="lone low surrogate in a key"),
        pytest.param(b'"\\ud800\\u0041"', "json", id="half a pair"),
        pytest.param(b'"\x00"', "json", id="control character"),
        pytest.param(b"9223372036854775808", "json.integer", id="2^63"),
        pytest.param(b'[{"a":-9223372036854775808}]', "json.integer", id="-2^63"),
        pytest.param(b"1" + b"0" * 300, "json.integer", id="huge"),
        pytest.param(b"1" + b"0" * 60_000, "json", id="endless"),
        pytest.param(nested(17), "json.depth", id="17 levels"),
        pytest.param(b"[" * 60_000 + b"]" * 5_000, "json.depth", id="60,000 levels"),
        pytest.param(b'"' + b"x" * (64 << 10) + b'"', "bytes.max_len", id="too big"),
        pytest.param(b'{"a":1,"a":1}', "json.duplicate_key", id="key twice"),
    ],
)
def test_the_rest_is_refused_by_name(data: bytes, rule: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        safe_json.decode(data, "meta")
    (violation,) = refused.value.violations
    assert (violation.field, violation.rule) == ("meta", rule)


def test_the_bound_is_the_callers() -> None:
    assert safe_json.decode(b'"abc"', most_bytes=5) == "abc"
    with pytest.raises(InvalidRequest, match="at most 4 bytes"):
        safe_json.decode(b'"abc"', most_bytes=4)
