"""Content under keys: who has the key reads it, and nobody else."""

from __future__ import annotations

import base64
from itertools import pairwise

import pytest

from crown import vault
from crown.notification.v1.events_pb2 import Sealed
from crown.vault import Key, VaultError

PLAIN = "canary é 👩‍👩‍👧".encode()


def test_what_was_sealed_opens() -> None:
    key = Key.fresh()
    assert key.open(key.seal(PLAIN)) == PLAIN
    assert key.open(key.seal(b"")) == b""


def test_nothing_of_it_shows() -> None:
    key = Key.fresh()
    sealed = vault.seal(key, PLAIN * 10)
    assert b"canary" not in sealed.SerializeToString()
    assert key.seal(PLAIN) != key.seal(PLAIN)


@pytest.mark.parametrize("place", range(0, 12 + len(PLAIN) + 16, 7))
def test_an_altered_byte_is_noticed(place: int) -> None:
    key = Key.fresh()
    sealed = bytearray(key.seal(PLAIN))
    sealed[place] ^= 1
    with pytest.raises(VaultError):
        key.open(bytes(sealed))


@pytest.mark.parametrize("sealed", [b"", b"x", b"x" * 11, b"x" * 12, b"x" * 27, b"x" * 28, b"x" * 100])
def test_what_is_not_ours_does_not_open(sealed: bytes) -> None:
    with pytest.raises(VaultError):
        Key.fresh().open(sealed)
    with pytest.raises(VaultError):
        Key.fresh().unwrap(sealed)


def test_a_key_travels_wrapped() -> None:
    data_key, other, content_key = Key.fresh(), Key.fresh(), Key.fresh()
    wrapped = data_key.wrap(content_key)
    assert content_key.raw not in wrapped
    assert data_key.unwrap(wrapped).open(content_key.seal(PLAIN)) == PLAIN
    with pytest.raises(VaultError):
        other.unwrap(wrapped)


def test_content_rides_the_bus_under_a_key_of_its_own() -> None:
    data_key = Key.fresh()
    one, two = vault.seal(data_key, PLAIN), vault.seal(data_key, PLAIN)
    assert one.wrapped_key != two.wrapped_key
    assert vault.unseal(data_key, Sealed.FromString(one.SerializeToString())) == PLAIN
    with pytest.raises(VaultError):
        vault.unseal(data_key, Sealed(ciphertext=one.ciphertext, wrapped_key=two.wrapped_key))
    with pytest.raises(VaultError):
        vault.unseal(Key.fresh(), one)
    with pytest.raises(VaultError):
        vault.unseal(data_key, Sealed())


def test_what_is_wrapped_must_be_a_key() -> None:
    data_key = Key.fresh()
    with pytest.raises(VaultError):
        data_key.unwrap(data_key.seal(b"too short"))


def test_the_data_key_comes_in_base64() -> None:
    raw = bytes(range(32))
    assert vault.data_key(base64.b64encode(raw).decode()).raw == raw


# -- a data key that is changed

FIRST, NEXT = bytes(range(32)), bytes(range(1, 33))


def encoded(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def test_old_data_opens_through_every_step_of_a_change() -> None:
    """What a process of the step before sealed opens in the one of the next step, and the other way round: both run
    side by side while processes are started anew."""
    steps = [
        vault.data_key(encoded(FIRST)),
        vault.data_key(encoded(FIRST), f"data,{encoded(NEXT)}"),
        vault.data_key(encoded(FIRST), encoded(NEXT)),
    ]
    for one, other in pairwise(steps):
        assert other.open(one.seal(b"heron")) == b"heron"
        assert one.open(other.seal(b"heron")) == b"heron"
    assert steps[2].open(steps[0].seal(b"heron")) == b"heron"


def test_only_the_first_seals() -> None:
    sealed = vault.data_key(encoded(FIRST), encoded(NEXT)).seal(b"heron")
    assert Key(NEXT).open(sealed) == b"heron"
    with pytest.raises(VaultError):
        Key(FIRST).open(sealed)


def test_hashes_stay_what_they_are() -> None:
    """By them suppressions, erasures and links of mails are found again."""
    changed = vault.data_key(encoded(FIRST), encoded(NEXT))
    assert changed.raw == FIRST
    assert vault.tag(changed, "p", "t") == vault.tag(vault.data_key(encoded(FIRST)), "p", "t")


@pytest.mark.parametrize("listed", ["x", "data,x", encoded(b"short"), f"{encoded(NEXT)};data"])
def test_what_lists_no_keys(listed: str) -> None:
    with pytest.raises(ValueError, match="must list keys of 32 bytes"):
        vault.data_key(encoded(FIRST), listed)
