"""The built-in templates: one for each kind, whole in every language, and not to be broken by what they are given."""

from __future__ import annotations

import re
import time
import tomllib
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crown.catalogue import KINDS
from services.email.templates import builtin, languages
from services.email.templates.compiled import Compiled
from tests.unit.services.email.templates.cases import LINKS, values

EACH = [(name, language) for name in builtin.NAMES for language in ("en", "de")]
each = pytest.mark.parametrize(("name", "language"), EACH)


@cache
def compiled(name: str, language: str) -> Compiled:
    return Compiled(builtin.all_builtin()[name].texts[language])


def test_there_is_one_for_every_kind_with_an_example() -> None:
    assert set(builtin.all_builtin()) == {*KINDS, "digest", "plain"} == set(builtin.examples())


def test_every_language_has_the_same_words() -> None:
    english, german = (
        tomllib.loads((builtin._FOLDER / f"{language}.toml").read_text()) for language in ("en", "de")
    )
    assert {part: set(words) for part, words in english.items()} == {
        part: set(words) for part, words in german.items()
    }
    same = {english[part][word] for part in english for word in english[part] if english[part][word]} & {
        german[part][word] for part in german for word in german[part]
    }
    assert same <= {"Version", "Name"}


@each
def test_with_nothing_but_a_title_or_a_text(name: str, language: str) -> None:
    for title, message in (("Hello", ""), ("", "Hello")):
        bare = values(
            title=title, message=message, action_url="", category="", sender_name="", locale=language
        )
        said = compiled(name, language).render(bare, LINKS)
        assert said.subject
        assert "Hello" in said.text
        assert "None" not in said.html
        assert not re.search(r"[{}\[\]%]", said.text)


@each
@settings(deadline=None, max_examples=15)
@given(data=st.data())
def test_what_else_it_is_given_never_breaks_it(name: str, language: str, data: st.DataObject) -> None:
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
    simple = st.one_of(st.none(), st.booleans(), st.floats(-1e20, 1e20), text)
    anything = st.one_of(simple, st.lists(simple, max_size=3), st.dictionaries(text, simple, max_size=3))
    known = "actor|others|quote|mutual|start|end|affected|version|changes|code|until|device|place|ip|time|name|length"
    extra: dict[str, Any] = data.draw(
        st.dictionaries(st.sampled_from(known.split("|")), anything, max_size=8)
    )
    said = compiled(name, language).render(values(extra=extra), LINKS)
    assert "Hello" in said.html


@each
def test_nothing_is_loaded_but_the_picture(name: str, language: str) -> None:
    picture = "https://img.crown.example/a.png"
    html = compiled(name, language).render(values(image_url=picture), LINKS).html
    loaded = re.findall(r"""(?:src|background|srcset)\s*=\s*["']([^"']*)|url\(([^)]*)|@import|<link""", html)
    shown = {src or url for src, url in loaded}
    assert shown <= {picture}


@each
def test_a_mail_is_small_and_quickly_made(name: str, language: str) -> None:
    template, given = compiled(name, language), values(message="A line of text.\n" * 20)
    assert len(template.render(given, LINKS).html) < 24 << 10  # Gmail cuts off what is longer than 102 KiB
    began = time.process_time()
    for _ in range(20):
        template.render(given, LINKS)
    assert (time.process_time() - began) / 20 < 0.002


@each
def test_one_can_be_taken_stored_and_changed(name: str, language: str) -> None:
    text = builtin.all_builtin()[name].texts[language]
    assert len(text.mjml) < 65_536
    assert "[[" not in text.mjml
    assert "[%" not in text.mjml


def test_links_to_unsubscribe_are_there_where_they_are_given() -> None:
    url = "https://api.crown.example/unsubscribe/x"
    for name, language in EACH:
        for there in (url, ""):
            said = compiled(name, language).render(values(unsubscribe_url=there), LINKS)
            assert (url in said.html) == (url in said.text) == bool(there)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("pt-BR", "pt-BR"), ("pt-br", "pt-BR"), ("pt-PT", "pt"), ("pt", "pt"), ("zh-Hant-TW", "zh-Hant"),
        ("fr", "en"), ("", "en"), ("p", "en"),
    ],
)  # fmt: skip
def test_the_language_for_a_person(wanted: str, expected: str) -> None:
    assert languages.best(wanted, ["en", "pt", "pt-BR", "zh-Hant"], "en") == expected
