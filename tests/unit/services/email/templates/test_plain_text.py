"""The plain-text part that is made of HTML."""

from __future__ import annotations

import pytest

from services.email.templates.plain_text import plain_text, tidy
from tests.unit.services.email.templates.cases import render


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<h1>A</h1><p>B</p><p>C<br>D</p>", "A\n\nB\n\nC\nD\n"),
        ("<p>A  \n b&nbsp;c &amp; &lt;d&gt;</p>", "A b c & <d>\n"),
        ("See <a href='https://x.example/'>this</a>.", "See this (https://x.example/).\n"),
        ("<p><a href='https://x.example/'>This</a></p><p>B</p>", "This:\nhttps://x.example/\n\nB\n"),
        ("<a href='https://x.example/'>https://x.example/</a>", "https://x.example/\n"),
        ("<a href='mailto:a@x.example'>a@x.example</a>", "a@x.example\n"),
        ("<a href='#top'>Up</a>", "Up\n"),
        ("<a href='https://x.example/'><img src='x' alt='Logo'></a>", "Logo:\nhttps://x.example/\n"),
        ("<ul><li>A<li>B<ul><li>C</ul></ul>D", "- A\n- B\n\xa0\xa0- C\n\nD\n"),
        ("<ol><li>A</li><li>B</li></ol>", "1. A\n2. B\n"),
        ("<table><tr><td>Place:<td>Hamburg</tr><tr><th>A<td>B</tr></table>", "Place: Hamburg\nA  B\n"),
        ("<table><tr><td><table><tr><td>A</td></tr></table></td></tr></table>B", "A\n\nB\n"),
        ("A<hr>B", "A\n\n--------------------\n\nB\n"),
        ("<head><title>T</title><style>p{}</style></head>A", "A\n"),
        ("<div style='DISPLAY : none'>A<p>B</p></div>C", "C\n"),
        ("<span aria-hidden='true'>A<br></span>B", "B\n"),
        ("<!-- A -->B<!--[if mso]><p>C</p><![endif]-->", "B\n"),
        ("", "\n"),
    ],
)
def test_what_html_says(html: str, text: str) -> None:
    assert tidy(plain_text(html)) == text


def test_a_block_that_says_nothing_leaves_nothing() -> None:
    html = (
        "<p>A</p>{% if image_url %}<p>{{ image_url }}</p>{% endif %}"
        "<table>{% for name, value in extra.items() %}<tr><td>{{ name }}:</td><td>{{ value }}</td></tr>{% endfor %}"
        "</table>{%- if title -%}<p>B</p>{%- endif -%}<p>C</p>"
    )
    said = render(html, extra={"x": "1", "y": "2"})
    assert said.text == "A\n\nx: 1\ny: 2\n\nB\n\nC\n"


def test_what_is_said_in_it_is_no_html() -> None:
    assert render("<p>{{ title }}</p>", title="<b> & &amp;").text == "<b> & &amp;\n"
