"""Whatever a notification says is shown as it is, in every place where a template may put it."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.email.templates.compiled import PREHEADER_MOST_CHARS, Compiled
from services.email.templates.text import TemplateError, Text
from tests.unit.services.email.templates.cases import LINKS, render, values

MJML = """<mjml><mj-body><mj-section><mj-column>
<mj-text><p id="one">{{ title }}</p></mj-text>
<mj-image src="{{ image_url }}" alt="{{ title }}" title="{{ message }}" />
<mj-button href="{{ action_url }}">{{ title }}</mj-button>
<mj-table><tr><td>{{ extra.a }}</td></tr></mj-table>
<mj-text>{% for paragraph in message|paragraphs %}<p>{{ paragraph|breaks }}</p>{% endfor %}</mj-text>
</mj-column></mj-section></mj-body></mjml>"""
TEMPLATE = Compiled(Text(subject="{{ title }}", preheader="{{ message }}", mjml=MJML))


class Page(HTMLParser):
    """A page as a browser reads it: texts, tags, values of attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = [""]
        self.tags: list[str] = []
        self.values: dict[str, list[str]] = {}
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.texts.append("")
        for name, value in attrs:
            self.values.setdefault(name, []).append(value or "")

    def handle_endtag(self, tag: str) -> None:
        self.texts.append("")

    def handle_data(self, data: str) -> None:
        self.texts[-1] += data


TAGS = [
    tag for tag in Page(TEMPLATE.render(values(extra={"a": "x"}), LINKS).html).tags if tag not in {"p", "br"}
]


@settings(deadline=None, max_examples=200)
@given(
    st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), min_size=1, max_size=80
    ).filter(str.strip)
)
@example('"><script>alert(1)</script>')
@example("' onmouseover='alert(1)")
@example("&lt;b&gt;&amp;&#34;")
@example("{{ 7*7 }}{% raw %}")
@example("]]><!--[if mso]>-->")
@example("x7value0x7 x7jinja0x7")
@example("\ue000\u2028\u200b")
def test_any_text_is_the_same_text(text: str) -> None:
    said = TEMPLATE.render(values(title=text, message=text, extra={"a": text}), LINKS)
    page = Page(said.html)
    # The title, the button and the table; nothing of it became a tag, or part of one.
    assert page.texts.count(text) >= 3
    assert [tag for tag in page.tags if tag not in {"p", "br"}] == TAGS
    assert page.values["alt"] == page.values["title"] == [text]
    assert page.values["href"] == ["https://crown.example/m/1"]
    assert said.subject == text.strip(" \t\r\n")


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        " javascript:alert(1)",
        "data:text/html,x",
        "vbscript:x",
        "http://crown.example/x",
        "//evil.example",
        "/\\evil.example",
        "https:evil.example",
        "https://evil.example/",
        "https://crown.example@evil.example/",
        "https://crown.example\\@evil.example/",
        "https://crown.example.evil.example/",
        "/x\ny",
    ],
)
@pytest.mark.parametrize("filters", ["", "|default('x')", "|trim", "|e"])
def test_a_link_that_came_from_outside_leads_where_links_may(url: str, filters: str) -> None:
    said = render(f'<a href="{{{{ extra.url{filters} }}}}">x</a>', extra={"url": url})
    assert Page(said.html).values["href"] == [""]
    assert url not in said.text


def test_a_link_that_may_be_is() -> None:
    said = render('<a href="{{ extra.url }}">x</a>', extra={"url": "/orders/1"})
    assert Page(said.html).values["href"] == ["https://crown.example/orders/1"]
    assert said.text == "x:\nhttps://crown.example/orders/1\n"
    said = render('<a href="{{ extra.url }}">x</a>', extra={"url": '/x"onclick="y'})
    assert Page(said.html).values == {"href": ['https://crown.example/x"onclick="y']}
    said = render('<a href="https://shop.example/{{ extra.path }}?utm=1">x</a>', extra={"path": 'a"b'})
    assert Page(said.html).values["href"] == ['https://shop.example/a"b?utm=1']


def test_the_preheader_is_there_and_not_seen() -> None:
    said = render(
        "<html><body class='x'><p>Text</p></body></html>", preheader="{{ message }}", message="Be\nfore"
    )
    assert said.preheader == "Be fore"
    assert said.html.startswith("<html><body class='x'><div style=\"display:none")
    assert said.text == "Text\n"


def test_without_a_preheader_the_text_begins() -> None:
    said = render("<p>Text " + "x" * 500 + "</p>")
    assert said.preheader.startswith("Text xxx")
    assert len(said.preheader) == PREHEADER_MOST_CHARS
    assert "display:none" not in said.html


def test_every_flaw_of_every_part_is_told() -> None:
    text = Text(subject="{{ a }}", preheader="{% if %}", html="\n{{ b }}\n<script>", text="{{ c|d|nope }}")
    with pytest.raises(TemplateError) as error:
        Compiled(text)
    assert {flaw.part for flaw in error.value.flaws} == {"subject", "html", "text"}


def test_a_name_that_is_set_in_a_branch_is_known_there() -> None:
    assert "<p>1</p>" in render("{% if title %}{% set n = 1 %}<p>{{ n }}</p>{% endif %}").html


def test_a_body_is_mjml_or_html() -> None:
    for html, mjml in (("", ""), ("<p>", MJML)):
        with pytest.raises(TemplateError, match="exactly one"):
            Compiled(Text(subject="s", html=html, mjml=mjml))
