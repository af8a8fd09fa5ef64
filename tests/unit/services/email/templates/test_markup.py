"""What is told to authors, with the line, and where values cannot get."""

from __future__ import annotations

import pytest

from services.email.templates.markup import Markup
from services.email.templates.text import TemplateError
from tests.unit.services.email.templates.cases import render


def mjml(inside: str) -> str:
    return f"<mjml>\n<mj-body>\n<mj-section><mj-column>\n{inside}\n</mj-column></mj-section></mj-body></mjml>"


@pytest.mark.parametrize(
    ("source", "line", "why"),
    [
        (mjml("<mj-txt>x</mj-txt>"), 4, "<mj-txt> is no component of MJML"),
        (mjml("<mj-text>x"), 5, "</mj-column> closes nothing that is open there"),
        (mjml("<mj-text>x</mj-button>"), 4, "</mj-button> closes nothing"),
        (mjml("<mj-divider>{% if title %}x{% endif %}</mj-divider>"), 4, "{% if title %}"),
        (mjml("<mj-text>{#\n\n#}</mj-text><mj-divider>{{ title }}</mj-divider>"), 6, "{{ title }}"),
        (mjml('<mj-include path="/etc/passwd" />'), 4, "<mj-include> is not taken"),
        (mjml('<mj-text color="{{ extra.a }}">x</mj-text>'), 4, "no value or block stands in a style"),
        (mjml("<mj-raw><script>x</script></mj-raw>"), 4, "<script> is not taken"),
        (mjml('<mj-button href="javascript:x">x</mj-button>'), 4, "a link leads to"),
        ("<p>hello</p>", 1, "is no MJML"),
        ("<mjml><mj-body>", 1, "<mjml> is not closed"),
        (mjml("<mj-column>" * 200 + "</mj-column>" * 200), 4, "nests too deep"),
    ],
)
def test_flaws_of_mjml(source: str, line: int, why: str) -> None:
    with pytest.raises(TemplateError) as error:
        Markup("mjml", source)
    flaws = error.value.flaws
    assert any(flaw.line == line and why in flaw.why for flaw in flaws), flaws


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("<p>\n<p style='color:{{ title }}'>", "a style"),
        ("<p>\n<style>p { color: {{ title }} }</style>", "a style"),
        ("<p>\n<style>@import 'x'</style>", "a style that loads"),
        ("<p>\n<!-- {{ title }} -->", "a comment"),
        ("<p>\n<{{ title }}>", "a tag"),
        ("<p>\n<p {{ title }}>", "a tag"),
        ("<p>\n<p class={{ title }}>", "a tag"),
        ("<p>\n<p {% if title %}class='x'{% endif %}>", "a tag"),
        ("<p>\n<p onclick='{{ title }}'>", "onclick is not taken"),
        ("<p>\n<a href='{% if title %}x{% endif %}'>", "put the condition around it"),
        ("<p>\n<a href='x{{ title }}'>", "a value in a link"),
        ("<p>\n<a href='https://{{ title }}'>", "a value in a link"),
        ("<p>\n<a href='https://evil{{ title }}/'>", "a value in a link"),
        ("<p>\n<a href='java&#115;cript:x'>", "a link leads to"),
        ("<p>\n<iframe srcdoc='x'>", "<iframe> is not taken"),
        ("<p>\n<object data='x'>", "<object> is not taken"),
        ("<p>\n<base href='https://x.example'>", "<base> is not taken"),
        ("<p>\n<meta http-equiv='{{ title }}'>", "http-equiv"),
    ],
)
def test_where_no_value_gets(source: str, why: str) -> None:
    with pytest.raises(TemplateError) as error:
        Markup("html", source)
    assert any(flaw.line == 2 and why in flaw.why for flaw in error.value.flaws), error.value.flaws


def test_blocks_are_no_markup() -> None:
    said = render(mjml=mjml('<mj-text>{% if 1 < 2 and "<b>" > "<a>" %}yes{% endif %}{# <mj-x> #}</mj-text>'))
    assert ">yes</div>" in said.html
    assert said.text == "yes\n"


def test_nothing_is_loaded() -> None:
    said = render(mjml=mjml('<mj-text font-family="Roboto, Ubuntu">x</mj-text>'))
    assert "http" not in said.html.replace("http://www.w3.org", "").replace("http-equiv", "")
