"""What the fuzzer of tests/fuzz has learned, told again: every input of its corpora, and some that nobody has seen.
What breaks a parser once is in there from then on."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz import corpora
from tests.fuzz.targets import TARGETS

# Seconds of this process, many times what any of them takes.
LIMIT_S = 1.0
EXAMPLES = settings().max_examples // 2


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_known(target: str) -> None:
    known = corpora.read(target)
    assert known
    began = time.process_time()
    for one in known:
        TARGETS[target](one)
    assert time.process_time() - began < LIMIT_S


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_new(target: str) -> None:
    """Bytes of no sense, text, and what is known with a piece of it exchanged."""
    known = st.sampled_from(corpora.read(target))
    pieces = st.binary(max_size=8)
    altered = st.builds(_exchanged, known, st.integers(0, 400), st.integers(0, 8), pieces)

    @settings(max_examples=EXAMPLES)
    @given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode) | altered)
    def holds(data: bytes) -> None:
        TARGETS[target](data)

    holds()


def _exchanged(data: bytes, at: int, size: int, piece: bytes) -> bytes:
    at %= len(data) + 1
    return data[:at] + piece + data[at + size :]


def test_every_corpus_has_its_parser() -> None:
    assert {path.stem for path in corpora.FOLDER.iterdir()} == set(TARGETS)
