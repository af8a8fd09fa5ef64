"""The OpenAPI document to read and to search: one page that asks nobody for anything."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from html import escape
from typing import Any

from tools.openapi.messages import Schema

_HEAD = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Crown Notification Service: the REST API</title>
<link rel="stylesheet" href="/openapi/openapi.css">
<script src="/openapi/openapi.js" defer></script>
</head>
<body>
"""
_SCHEMAS = "#/components/schemas/"
_RESPONSES = "#/components/responses/"
# What a bound is called, in the order in which it is told.
_BOUNDS = {
    "format": "{}",
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "minProperties": "at least {} entries",
    "maxProperties": "at most {} entries",
    "pattern": "matches {}",
    "const": "always {}",
}
# Those of 32 bits say nothing.
_DULL = {-(2**31), 2**31 - 1, 2**32 - 1}


def page(found: Schema) -> str:
    """The text of the page."""
    calls = [(path, verb, call) for path, verbs in found["paths"].items() for verb, call in verbs.items()]
    services = [tag["name"] for tag in found["tags"]]
    parts = [_HEAD, "<nav>\n<h2>Calls</h2>\n", *_menu(services), "</nav>\n<main>\n", *_intro(found)]
    for tag in found["tags"]:
        mine = [_call(found, *one) for one in calls if tag["name"] in one[2]["tags"]]
        parts += _section(tag["name"], _prose(tag["description"]), mine)
    told = [
        _call(found, name, verb, call)
        for name, verbs in found["webhooks"].items()
        for verb, call in verbs.items()
    ]
    parts += _section("webhooks", "<p>What we call.</p>", told)
    schemas = [_schema(name, one) for name, one in found["components"]["schemas"].items()]
    parts += _section("schemas", "<p>What requests and answers are made of.</p>", schemas)
    parts.append("</main>\n</body>\n</html>\n")
    return "".join(parts)


def _menu(services: Iterable[str]) -> Iterator[str]:
    yield '<label>Find <input type="search" id="find" autocomplete="off"></label>\n<ul>\n'
    for name in (*services, "webhooks", "schemas"):
        yield f'<li><a href="#{name}">{name}</a></li>\n'
    yield "</ul>\n"


def _section(name: str, about: str, entries: Iterable[str]) -> Iterator[str]:
    yield f'<section>\n<h2 id="{name}">{name}</h2>\n{about}\n'
    yield from entries
    yield "</section>\n"


def _intro(found: Schema) -> Iterator[str]:
    info = found["info"]
    yield f"<h1>{escape(info['title'])}</h1>\n{_prose(info['description'])}\n"
    yield f'<p>Version {escape(info["version"])}. The document: <a href="/openapi.yaml">openapi.yaml</a>.</p>\n'


def _call(found: Schema, path: str, verb: str, call: Schema) -> str:
    name = call["operationId"]
    parts = [
        f'<details class="call"><summary><b class="{verb}">{verb.upper()}</b> <code>{escape(path)}</code> '
        f"<span>{_inline(call['summary'])}</span></summary>\n"
        f'<div id="{name}">\n<h3>{name.replace("_", ".")}</h3>\n{_prose(call.get("description", ""))}\n'
    ]
    if call["parameters"]:
        rows = [
            _row(f"{one['name']} <i>{one['in']}</i>", one["schema"], one["description"], one["required"])
            for one in call["parameters"]
        ]
        parts.append(_table("Parameters", rows))
    for kind, body in call.get("requestBody", {}).get("content", {}).items():
        parts.append(_fields(f"Body, {escape(kind)}", body["schema"]))
        if "example" in body:
            told = json.dumps(body["example"], indent=1, ensure_ascii=False)
            parts.append(f"<pre>{escape(told)}</pre>\n")
    parts.append(_answers(found, call["responses"]))
    parts.append("</div></details>\n")
    return "".join(parts)


def _answers(found: Schema, responses: Schema) -> str:
    rows = []
    for status, response in responses.items():
        if "$ref" in response:
            response = found["components"]["responses"][response["$ref"].removeprefix(_RESPONSES)]
        kinds = ", ".join(
            f"{escape(kind)}: {_type(content['schema'])}"
            for kind, content in response.get("content", {}).items()
        )
        rows.append(
            f"<tr><td><code>{status}</code></td><td>{kinds}</td><td>{_prose(response['description'])}</td></tr>"
        )
    return _table("Answers", rows)


def _schema(name: str, schema: Schema) -> str:
    about = _prose(schema.get("description", ""))
    fields = _fields("", schema) if "properties" in schema else ""
    return (
        f'<details class="schema"><summary><code>{name}</code></summary>\n<div id="schema-{name}">\n'
        f"{about}\n{fields}</div></details>\n"
    )


def _fields(title: str, schema: Schema) -> str:
    if "properties" not in schema:
        return f"<h4>{title}</h4>\n<p>{_type(schema) or 'anything'}</p>\n"
    needed = schema.get("required", [])
    rows = [
        _row(escape(name), one, one.get("description", ""), name in needed)
        for name, one in schema["properties"].items()
    ]
    about = _prose(schema.get("description", "")) if title else ""
    return about + _table(title, rows)


def _row(name: str, schema: Schema, about: str, needed: bool) -> str:
    star = " <b>required</b>" if needed else ""
    return f"<tr><td><code>{name}</code>{star}</td><td>{_type(schema)}</td><td>{_prose(about)}</td></tr>"


def _table(title: str, rows: Iterable[str]) -> str:
    head = f"<h4>{title}</h4>\n" if title else ""
    return head + "<table>\n" + "\n".join(rows) + "\n</table>\n"


def _type(schema: Schema) -> str:
    """What a value is, with a link where it is described elsewhere."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_SCHEMAS)
        some = f" ({escape(', '.join(schema['enum']))})" if "enum" in schema else ""
        return f'<a href="#schema-{name}">{name}</a>{some}'
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    kind = str(schema.get("type", ""))
    if kind == "array" and "items" in schema:
        kind = f"array of {_type(schema['items'])}"
    elif isinstance(schema.get("additionalProperties"), dict):
        kind = f"object of {_type(schema['additionalProperties'])}"
    return ", ".join([kind, *_bounds(schema)]).strip(", ")


def _bounds(schema: Schema) -> Iterator[str]:
    for name, words in _BOUNDS.items():
        value: Any = schema.get(name)
        if value is not None and value not in _DULL:
            told = escape(str(value))
            yield words.format(f"<code>{told}</code>" if name in {"pattern", "const"} else told)
    if "enum" in schema:
        yield "one of " + ", ".join(f"<code>{escape(one)}</code>" for one in schema["enum"])


def _prose(text: str) -> str:
    """Paragraphs and lists."""
    parts = []
    for block in text.strip().split("\n\n"):
        lines = block.splitlines()
        if lines and all(line.startswith("- ") for line in lines):
            parts.append("<ul>" + "".join(f"<li>{_inline(line[2:])}</li>" for line in lines) + "</ul>")
        elif block:
            parts.append(f"<p>{_inline(' '.join(lines))}</p>")
    return "".join(parts)


def _inline(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
