"""What texts count as."""

# ruff: noqa: RUF001

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.sms.segments import GSM_7, UCS_2, Count, count, is_gsm

_BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Count(GSM_7, 0, 0)),
        ("a", Count(GSM_7, 1, 1)),
        ("a" * 160, Count(GSM_7, 160, 1)),
        ("a" * 161, Count(GSM_7, 161, 2)),
        ("a" * 306, Count(GSM_7, 306, 2)),
        ("a" * 307, Count(GSM_7, 307, 3)),
        ("a" * 459, Count(GSM_7, 459, 3)),
        ("a" * 1_530, Count(GSM_7, 1_530, 10)),
        ("a" * 1_531, Count(GSM_7, 1_531, 11)),
        ("€", Count(GSM_7, 2, 1)),
        ("€" * 80, Count(GSM_7, 160, 1)),
        ("€" * 80 + "a", Count(GSM_7, 161, 2)),
        # 153 holds 76 of them: the 77th begins the next message.
        ("€" * 152, Count(GSM_7, 304, 2)),
        ("€" * 153, Count(GSM_7, 306, 3)),
        ("a" * 152 + "€" + "a" * 151, Count(GSM_7, 305, 2)),
        ("a" * 152 + "€" + "a" * 152, Count(GSM_7, 306, 3)),
        ("^{}\\[~]|\f", Count(GSM_7, 18, 1)),
        ("Grüße", Count(GSM_7, 5, 1)),
        ("ç", Count(UCS_2, 1, 1)),
        ("`", Count(UCS_2, 1, 1)),
        ("\t", Count(UCS_2, 1, 1)),
        ("ж" * 70, Count(UCS_2, 70, 1)),
        ("ж" * 71, Count(UCS_2, 71, 2)),
        ("ж" * 134, Count(UCS_2, 134, 2)),
        ("ж" * 135, Count(UCS_2, 135, 3)),
        ("a" * 70 + "’", Count(UCS_2, 71, 2)),
        ("🎉", Count(UCS_2, 2, 1)),
        ("🎉" * 35, Count(UCS_2, 70, 1)),
        ("🎉" * 36, Count(UCS_2, 72, 2)),
        # 67 holds 33 of them.
        ("🎉" * 66, Count(UCS_2, 132, 2)),
        ("🎉" * 67, Count(UCS_2, 134, 3)),
        ("ж" * 66 + "🎉" + "ж" * 66, Count(UCS_2, 134, 3)),
        ("👨‍👩‍👧", Count(UCS_2, 8, 1)),
    ],
)
def test_known_cases(text: str, expected: Count) -> None:
    assert count(text) == expected


def test_the_alphabet_is_whole() -> None:
    assert len(set(_BASIC)) == 127  # the 128th is the escape
    assert is_gsm(_BASIC)
    assert count(_BASIC).units == 127


_TEXTS = st.text(
    st.one_of(st.sampled_from(_BASIC + "€[]^"), st.characters(exclude_categories=["Cs"])), max_size=500
)


def _messages(text: str, encoding: str, single: int, joined: int) -> int:
    """Cut as phones join them, written out."""
    encoded = [
        len(character.encode("utf-16-le")) // 2
        if encoding == UCS_2
        else (2 if character in "\f^{}\\[~]|€" else 1)
        for character in text
    ]
    if sum(encoded) <= single:
        return 1
    messages: list[list[int]] = [[]]
    for width in encoded:
        if sum(messages[-1]) + width > joined:
            messages.append([])
        messages[-1].append(width)
    return len(messages)


@settings(deadline=None, max_examples=200)
@given(_TEXTS)
def test_as_it_is_cut(text: str) -> None:
    found = count(text)
    single, joined = (160, 153) if found.encoding == GSM_7 else (70, 67)
    assert found.segments == (_messages(text, found.encoding, single, joined) if text else 0)
    if found.encoding == UCS_2:
        assert found.units == len(text.encode("utf-16-le")) // 2


@settings(deadline=None, max_examples=100)
@given(_TEXTS, _TEXTS)
def test_more_text_is_never_less(text: str, more: str) -> None:
    assert count(text + more).segments >= count(text).segments
