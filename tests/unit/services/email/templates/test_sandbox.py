"""What templates cannot do, whoever wrote them, and that what they are given is never run."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.email.templates.compiled import PART_MOST_BYTES
from services.email.templates.sandbox import breaks, first_line, paragraphs
from services.email.templates.text import FAILED, TOO_LARGE, TemplateError
from tests.unit.services.email.templates.cases import render

# All fail, most when they are compiled and some when they are run; none gets anywhere.
PAYLOADS = [
    "{{ ''.__class__ }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''['__class__'] }}",
    "{{ title.__class__.__base__ }}",
    "{{ title|attr('__class__') }}",
    "{{ '%s'|format(title) }}",
    "{{ '%s' % title }}",
    "{{ '{0.__class__}'.format(title) }}",
    "{{ title.format_map(extra) }}",
    "{{ [title]|map(attribute='__class__')|list }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ range.__globals__ }}",
    "{{ extra.items.__self__ }}",
    "{{ extra.__init__.__globals__ }}",
    "{{ extra.update({'a': 1}) }}",
    "{{ extra.pop('a') }}",
    "{{ extra.clear() }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ lipsum.__globals__ }}",
    "{{ joiner.__init__ }}",
    "{{ namespace().__class__ }}",
    "{{ dict.__base__ }}",
    "{{ config }}",
    "{{ request.application }}",
    "{{ title|safe }}",
    "{{ title|xmlattr }}",
    "{{ title|tojson }}",
    "{{ title|pprint }}",
    "{{ title|random }}",
    "{% include 'x' %}",
    "{% import 'x' as y %}",
    "{% extends 'x' %}",
    "{% for i in range(10**9) %}x{% endfor %}",
    "{% for i in range(1000000000) %}x{% endfor %}",
    "{{ range(99999999999)|list }}",
    "{{ 'a' * 1000000000 }}",
    "{{ 1000000000 * 'a' }}",
    "{{ [1] * 1000000000 }}",
    "{{ 2 ** 100000000 }}",
    "{{ '%999999999d' % 1 }}",
    "{{ '{:>999999999}'.format(1) }}",
    "{{ title.ljust(999999999) }}",
    "{{ title.zfill(999999999) }}",
    "{{ title.encode() }}",
    "{{ title|center(999999999) }}",
    "{{ title|indent(999999999) }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{{ " + "(" * 5000 + ")" * 5000 + " }}",
    "{{ title.nothing }}",
    "{{ extra.nothing }}",
    "{{ nothing }}",
    "{% if extra.nothing %}x{% endif %}",
]


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: payload[:40])
@pytest.mark.parametrize("part", ["html", "subject", "text"])
def test_it_says_nothing(payload: str, part: str) -> None:
    parts: dict[str, Any] = {"html": {}, "subject": {"subject": payload}, "text": {"text": payload}}[part]
    with pytest.raises(TemplateError) as error:
        render(payload if part == "html" else "<p>x</p>", **parts)
    assert error.value.reason in {FAILED, TOO_LARGE}
    assert error.value.flaws
    assert len(str(error.value.flaws[0])) < 300


@pytest.mark.parametrize(
    "text", ["{{7*7}}", "{{ title }}", "{% for i in range(10) %}x{% endfor %}", "{#x#}", "${7*7}", "#{7*7}"]
)
def test_what_it_is_given_is_a_text(text: str) -> None:
    said = render(
        "<p>{{ title }}</p>",
        subject="{{ title }}",
        preheader="{{ title }}",
        text="{{ message }} {{ extra.a }}",
        title=text,
        message=text,
        extra={"a": text},
    )
    assert (said.subject, said.preheader, said.text) == (text, text, f"{text} {text}\n")
    assert f"<p>{text}</p>" in said.html


def test_what_a_variable_of_ones_own_is_missing() -> None:
    with pytest.raises(TemplateError) as error:
        render("\n<p>{{ extra.order_id }}</p>")
    assert error.value.flaws[0].missing == "order_id"
    assert error.value.flaws[0].line == 2
    assert "<p>none</p>" in render("<p>{{ extra.order_id|default('none') }}</p>").html


def test_what_it_says_is_bounded() -> None:
    loop = "{% for a in range(1000) %}{{ title }}{% endfor %}"
    assert len(render(loop, title="x" * 250).html) < PART_MOST_BYTES
    with pytest.raises(TemplateError) as error:
        render(loop, title="x" * 300)
    assert error.value.reason == TOO_LARGE
    with pytest.raises(TemplateError) as error:
        render(subject=loop)
    assert error.value.reason == TOO_LARGE


def test_numbers_of_json_are_printed_as_they_were_written() -> None:
    said = render("<p>{{ extra.a }} {{ extra.b }} {{ extra.c }}</p>", extra={"a": 3.0, "b": 2.5, "c": None})
    assert "<p>3 2.5 </p>" in said.html


def test_what_templates_are_for_works() -> None:
    html = (
        "{% set greeting = 'Hello ' ~ title|upper %}<h1>{{ greeting }}</h1>"
        "{% macro row(name, value) %}<li>{{ name }}: {{ value }}</li>{% endmacro %}"
        "<ul>{% for name, value in extra.items()|sort %}{{ row(name, value) }}{% else %}none{% endfor %}</ul>"
        "{{ '%s' ~ 1 }}{{ 2 * 3 }}{{ '-' * 3 }}{{ 7 % 4 }}{{ title.upper() }}{{ title.split('l')|join('-') }}"
    )
    said = render(html, extra={"b": 2.0, "a": "<x>"})
    assert "<h1>Hello HELLO</h1><ul><li>a: &lt;x&gt;</li><li>b: 2</li></ul>%s16---3HELLOHe--o" in said.html


@settings(deadline=None)
@given(st.text(max_size=300))
def test_paragraphs_lose_nothing_but_empty_lines(text: str) -> None:
    found = paragraphs(text)
    assert all(block.strip() for block in found)
    assert "".join("".join(found).split()) == "".join(text.split())


@pytest.mark.parametrize(
    ("text", "expected"),
    [("\n  Hello\tAnn \nand more", "Hello Ann"), ("", ""), (" \n ", ""), ("x" * 300, "x" * 199 + "…")],
)
def test_the_first_line(text: str, expected: str) -> None:
    assert first_line(text) == expected


def test_breaks_show_in_html_only() -> None:
    source = "{{ message|breaks }}"
    said = render(source, text=source, message="<a>\r\nb\rc")
    assert "&lt;a&gt;<br>b<br>c" in said.html
    assert said.text == "<a>\nb\nc\n"
    assert breaks.__doc__
