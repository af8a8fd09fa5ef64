"""Links by which people unsubscribe: what was put in comes out, and nothing else does."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crown.notification.v1.types_pb2 import Category
from crown.vault import Key
from services.email.unsubscribe_link import UnsubscribeLinks, keys

GATEWAY = "https://api.crown.example"
START = f"{GATEWAY}/unsubscribe/"
DATA_KEY = Key(b"d" * 32)
TODAY = datetime(2026, 11, 25, 23, 59, tzinfo=UTC)
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
OFF = [Category.ACTIVITY, Category.SOCIAL, Category.SYSTEM, Category.MARKETING]

people = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._~@|:+=-]{0,127}", fullmatch=True)


def made(written: str = "", moment: datetime = TODAY, gateway: str = GATEWAY) -> UnsubscribeLinks:
    return UnsubscribeLinks(keys(written, DATA_KEY), gateway, lambda: moment)


def key(letter: bytes) -> str:
    return base64.b64encode(letter * 32).decode()


def token(links: UnsubscribeLinks, user_id: str = "user1") -> str:
    return links.url(user_id, Category.SOCIAL).removeprefix(START)


@given(people, st.sampled_from(OFF))
def test_what_was_put_in_comes_out(user_id: str, category: Category.Type.ValueType) -> None:
    links = made()
    url = links.url(user_id, category)
    assert url.startswith(START)
    written = url.removeprefix(START)
    assert set(written) <= set(ALPHABET)
    assert len(written) <= 1024
    assert links.read(written) == (user_id, category)
    # No chance in it: every attempt at a mail has the same bytes.
    assert links.url(user_id, category) == url


@given(people)
@settings(max_examples=8)
def test_every_flipped_bit_is_seen(user_id: str) -> None:
    links = made()
    written = token(links, user_id)
    raw = base64.urlsafe_b64decode(written + "=" * (-len(written) % 4))
    for bit in range(len(raw) * 8):
        altered = bytearray(raw)
        altered[bit // 8] ^= 1 << bit % 8
        assert links.read(base64.urlsafe_b64encode(altered).rstrip(b"=").decode()) is None


def test_every_other_character_is_seen() -> None:
    """Also the spare bits of the last one, which stand for nothing."""
    links = made()
    for user_id in ("user1", "user12", "user123"):
        written = token(links, user_id)
        for place, was in enumerate(written):
            for other in ALPHABET:
                if other != was:
                    assert links.read(written[:place] + other + written[place + 1 :]) is None
        for other in (
            written[:-1],
            f"{written}A",
            f"{written}=",
            f"{written} ",
            f" {written}",
            f"{written}\n",
        ):
            assert links.read(other) is None


@given(st.text(max_size=200) | st.text(alphabet=ALPHABET, max_size=300))
def test_anything_is_read(text: str) -> None:
    assert made().read(text) is None


def test_halves_of_two_links_make_none() -> None:
    links = made()
    one, two = token(links, "user1"), token(links, "user2")
    whole = {("user1", Category.SOCIAL), ("user2", Category.SOCIAL), None}
    assert {links.read(one[:cut] + two[cut:]) for cut in range(len(one) + 1)} == whole


def test_nothing_of_it_can_be_read_without_the_key() -> None:
    written = token(made(), "user12345678")
    assert b"user12345678" not in base64.urlsafe_b64decode(written + "=" * (-len(written) % 4))


def test_good_for_half_a_year() -> None:
    written = token(made())
    assert made(moment=TODAY + timedelta(days=180)).read(written) == ("user1", Category.SOCIAL)
    assert made(moment=TODAY + timedelta(days=181)).read(written) is None


def test_keys_rotate() -> None:
    old, new = f"2026:{key(b'a')}", f"2027:{key(b'b')}"
    written = token(made(old))
    assert made(f"{new},{old}").read(written) == ("user1", Category.SOCIAL)
    assert token(made(f"{new}, {old}")) == token(made(new))
    assert made(new).read(written) is None
    # The same key by another name is another key, and so is another key by the same name.
    assert made(f"2025:{key(b'a')}").read(written) is None
    assert made(f"2026:{key(b'b')}").read(written) is None


def test_from_the_data_key_to_keys_of_its_own() -> None:
    written = token(made())
    assert made(f"2026:{key(b'a')},data").read(written) == ("user1", Category.SOCIAL)
    assert made(f"2026:{key(b'a')}").read(written) is None
    assert UnsubscribeLinks(keys("", Key(b"e" * 32)), GATEWAY, lambda: TODAY).read(written) is None


@pytest.mark.parametrize(
    "written",
    [
        "2026",
        "2026:",
        ":" + key(b"a"),
        "2026:AAAA",
        "2026:***",
        f"a:{key(b'a')},a:{key(b'b')}",
        "data,data",
        ",",
    ],
)
def test_wrong_lists_of_keys(written: str) -> None:
    with pytest.raises(
        ValueError, match=r"^(must list keys as id:base64, of 32 bytes each|names a key twice)$"
    ):
        keys(written, DATA_KEY)


@pytest.mark.parametrize(
    ("gateway", "user_id", "category"),
    [
        pytest.param(GATEWAY, "user1", Category.SECURITY, id="cannot be turned off"),
        pytest.param(GATEWAY, "", Category.SOCIAL, id="nobody"),
        pytest.param(GATEWAY, "user1", Category.CATEGORY_UNSPECIFIED, id="no category"),
        pytest.param("", "user1", Category.SOCIAL, id="no public address"),
    ],
)
def test_no_link(gateway: str, user_id: str, category: Category.Type.ValueType) -> None:
    assert made(gateway=gateway).url(user_id, category) == ""
