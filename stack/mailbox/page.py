"""The page at /: what arrived, newest first, as plain HTML in which nothing of a mail can run."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from stack.mailbox.reading import Reading

POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.4rem .8rem .4rem 0;"
    "border-bottom:1px solid #ddd;vertical-align:top}td{overflow-wrap:anywhere}"
    ":root{color-scheme:light dark}"
)


def render(letters: Iterable[Reading], total: int) -> str:
    """The whole page; `letters` are those to show, of `total` kept."""
    rows = "".join(_row(letter) for letter in letters)
    none = "<p>No mail yet.</p>"
    table = f"<table><tr><th>Time<th>From<th>To<th>Subject<th>Source{rows}</table>"
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Mailbox</title><style>{_STYLE}</style>"
        f"<h1>Mailbox</h1><p>{total} in all, newest first</p>{table if rows else none}</html>"
    )


def _row(letter: Reading) -> str:
    cells = (letter.time, letter.from_, ", ".join(letter.to), letter.subject)
    link = f"/messages/{escape(letter.id)}"
    text = "".join(f"<td>{escape(cell)}" for cell in cells)
    return f'<tr>{text}<td><a href="{link}">read</a> <a href="{link}/source">source</a>'
