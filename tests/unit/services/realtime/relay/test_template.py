"""Places are filled with what stands at a path, and with nothing cleverer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.realtime.relay.document import Event
from services.realtime.relay.template import Template, Unmappable

EVENT = Event(
    {"team": "Crown & Co", "score": {"home": 2}, "odd": {"__class__": "x"}, "none": None, "list": []}
)


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("Goal", "Goal"),
        ("{team} scored", "Crown & Co scored"),
        ("{score.home}:{score.home}", "2:2"),
        ("{{team}} {team}", "{team} Crown & Co"),
        ("{odd.__class__}", "x"),
    ],
)
def test_render(text: str, rendered: str) -> None:
    assert Template.of(text).render(EVENT) == rendered


@pytest.mark.parametrize("place", ["nobody", "none", "list", "score", "team.upper", "team.__class__"])
def test_what_is_not_there_is_told_by_its_path(place: str) -> None:
    with pytest.raises(Unmappable, match=rf"^{place}$"):
        Template.of(f"x {{{place}}}").render(EVENT)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{team", "without its other half"),
        ("team}", "without its other half"),
        ("{{team}", "without its other half"),
        ("{}", "names separated by dots"),
        ("{team!r}", "names separated by dots"),
        ("{team:>10}", "names separated by dots"),
        ("{team[0]}", "names separated by dots"),
        ("{ team }", "names separated by dots"),
        ("{a{b}c}", "without its other half"),
    ],
)
def test_a_wrong_template_says_what_is_wrong(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Template.of(text)


@pytest.mark.parametrize(
    ("text", "value", "rendered"),
    [
        ("/matches/{x}", "7", "/matches/7"),
        ("/matches/{x}", "../../pay?to=me", "/matches/..%2F..%2Fpay%3Fto%3Dme"),
        ("/{x}", "/evil.example", "/%2Fevil.example"),
        ("https://crown.example/{x}", "@evil.example", "https://crown.example/%40evil.example"),
        ("{x}", "https://crown.example/a?b=c", "https://crown.example/a?b=c"),
    ],
)
def test_what_is_filled_into_a_link_does_not_change_where_it_leads(
    text: str, value: str, rendered: str
) -> None:
    assert Template.of(text, is_link=True).render(Event({"x": value})) == rendered


@given(text=st.text(), value=st.one_of(st.text(), st.integers(), st.booleans()))
def test_values_are_not_read_as_templates(text: str, value: Any) -> None:
    escaped = text.replace("{", "{{").replace("}", "}}")
    assert Template.of(escaped + "{x}").render(Event({"x": value, "y": "secret"})).startswith(text)
    assert Template.of("{x}").render(Event({"x": "{y}", "y": "secret"})) == "{y}"
