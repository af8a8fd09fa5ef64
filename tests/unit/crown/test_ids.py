"""Ids: a function of the idempotency key where there is one, and never the same for two things."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from crown import ids

KEYED = ("feed", "SendNotification", "key-1", 0)


def test_the_same_key_gives_the_same_id_for_ever() -> None:
    # Written down: a change of this value would let every retry across a deploy send twice.
    assert ids.keyed_notification(*KEYED) == "1367e512-ae82-86c4-b7a9-8f3998b972f5"
    assert ids.delivery("n", "u", "push") == ids.delivery("n", "u", "push")
    assert ids.direct("feed", "sms", "k") == ids.direct("feed", "sms", "k")
    assert ids.device("token") == ids.device("token")
    assert ids.callback("sendgrid", "m1", "bounce") == ids.callback("sendgrid", "m1", "bounce")


def test_a_keyed_id_is_a_uuid_of_version_8() -> None:
    found = UUID(ids.keyed_notification(*KEYED))
    assert (found.version, found.variant) == (8, "specified in RFC 4122")


def test_fresh_ids_sort_by_time() -> None:
    found = [ids.fresh_notification() for _ in range(100)]
    assert found == sorted(found)
    assert len(set(found)) == 100
    assert {UUID(one).version for one in found} == {7}


TEXT = st.text(st.characters(min_codepoint=1, max_codepoint=0x2FF), max_size=8)
CALL = st.tuples(TEXT, TEXT, TEXT, st.integers(0, 999))


@given(CALL, CALL)
def test_two_calls_give_two_ids(one: tuple[str, str, str, int], other: tuple[str, str, str, int]) -> None:
    assert (ids.keyed_notification(*one) == ids.keyed_notification(*other)) == (one == other)


@given(st.tuples(TEXT, TEXT, TEXT), st.tuples(TEXT, TEXT, TEXT))
def test_two_deliveries_have_two_ids(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    assert (ids.delivery(*one) == ids.delivery(*other)) == (one == other)


def test_kinds_of_ids_do_not_meet() -> None:
    found = {ids.delivery("a", "b", "c"), ids.direct("a", "b", "c"), ids.device("a\x00b\x00c")}
    assert len(found) == 3
