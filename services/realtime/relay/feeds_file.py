"""Reads the file that CROWN_RELAY_FEEDS names: TOML with a [[feed]] for each feed and in it a [[feed.event]] for each
kind of event that becomes a notification. Every problem is told at once."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from functools import partial
from pathlib import Path as File
from typing import Any, get_args
from urllib.parse import urlsplit

import msgspec

from crown.catalogue import KINDS
from crown.client.draft import CategoryName, ChannelName, Fields, PriorityName
from crown.settings import SettingsError
from services.realtime.relay import headers, table
from services.realtime.relay.document import Path
from services.realtime.relay.feed import Condition, Feed, Rule, Scalar
from services.realtime.relay.table import Table
from services.realtime.relay.template import Template

_VARIABLE = "CROWN_RELAY_FEEDS"
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_SUBPROTOCOL = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_LOCAL = {"localhost", "127.0.0.1", "::1"}
_TEXTS = ("title", "message")
_LINKS = ("action_url", "image_url")
IDLE_MOST_S = 86_400.0


def read(path: File) -> tuple[Feed, ...]:
    """The feeds of the file. Raises SettingsError with every problem."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError([f"{_VARIABLE}: cannot read the file ({error.strerror})"]) from None
    except UnicodeDecodeError:
        raise SettingsError([f"{_VARIABLE}: cannot read the file (it is not text)"]) from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError([f"{_VARIABLE}: the file is not TOML: {error}"]) from None
    problems: list[str] = []
    top = Table(f"{_VARIABLE}: ", found, problems)
    tables = top.tables("feed", "[[feed]]")
    top.end()
    feeds = [_feed(one, path.parent) for one in tables]
    names = [feed.name for feed in feeds if feed.name]
    for name in sorted({name for name in names if names.count(name) > 1}):
        problems.append(f"{_VARIABLE}: feed {name}: name: must be another one for each feed")
    if problems:
        raise SettingsError(problems)
    return tuple(feeds)


def _feed(found: Table, folder: File) -> Feed:
    name = found.need("name", _name) or ""
    if name:
        found.where = f"{_VARIABLE}: feed {name}: "
    url = found.need("url", _url) or ""
    headers_file = found.take("headers_file", partial(_headers_file, folder))
    if headers_file and not _keeps_secrets(url):
        found.problem(
            "url", "must be wss://… where there is a headers_file: ws:// shows headers to everybody"
        )
    feed = Feed(
        name=name,
        url=url,
        headers_file=headers_file,
        subprotocols=found.take("subprotocols", _subprotocols) or (),
        send=found.take("send", _messages) or (),
        idle_s=found.take("idle_s", table.seconds(1, IDLE_MOST_S)),
        rules=tuple(
            _rule(one, number) for number, one in enumerate(found.tables("event", "[[feed.event]]"), 1)
        ),
    )
    found.end()
    return feed


def _rule(found: Table, number: int) -> Rule:
    _check_recipients(found)
    rule = Rule(
        number=number,
        when=found.take("when", _conditions) or (),
        # Where there is a problem nobody will use this.
        id=found.need("id", _path) or Path(()),
        each=found.take("each", _path),
        user_id=found.take("user_id", _path),
        user_ids=found.take("user_ids", _path),
        fixed=_fixed(found),
        texts=_templates(found.table("data")),
    )
    found.end()
    return rule


def _check_recipients(found: Table) -> None:
    named = [name for name in ("user_id", "user_ids", "each") if found.has(name)]
    if named not in (["user_id"], ["user_ids"], ["each"], ["user_id", "each"]):
        found.problem(
            "user_id", "exactly one of user_id, user_ids and each is required; each may have user_id"
        )


def _fixed(found: Table) -> Fields:
    if found.has("type") and found.has("channels"):
        found.problem("type", "give type or channels, not both")
    given: dict[str, Any] = {
        "type": found.take("type", table.one_of(get_args(ChannelName))),
        "channels": found.take("channels", table.some_of(get_args(ChannelName))),
        "kind": found.take("kind", table.one_of(tuple(KINDS))),
        "category": found.take("category", table.one_of(get_args(CategoryName))),
        "priority": found.take("priority", table.one_of(get_args(PriorityName))),
    }
    fixed: Any = {name: value for name, value in given.items() if value is not None}
    fields: Fields = fixed
    return fields


def _templates(found: Table) -> dict[str, Template]:
    texts = {name: found.take(name, _template) for name in _TEXTS}
    links = {name: found.take(name, partial(_template, is_link=True)) for name in _LINKS}
    if not any(found.has(name) for name in _TEXTS):
        found.problem("title", "title or message is required")
    found.end()
    return {name: template for name, template in {**texts, **links}.items() if template is not None}


def _name(value: Any) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError("must be 1 to 32 lower-case letters, digits or _- and begin with a letter")
    return value


def _url(value: Any) -> str:
    try:
        parts = urlsplit(table.text(value))
        good = parts.scheme in {"ws", "wss"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or re.search(r"[\x00-\x20\x7f]", value) or parts.fragment:
        raise ValueError("must be wss://host/path, or ws://host/path for a feed without secrets")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user or a password: they go to a headers_file")
    return str(value)


def _keeps_secrets(url: str) -> bool:
    """Whether headers may go there; yes where the address is wrong anyway."""
    parts = urlsplit(url)
    return parts.scheme != "ws" or parts.hostname in _LOCAL


def _subprotocols(value: Any) -> tuple[str, ...]:
    names = table.texts(value)
    if not all(_SUBPROTOCOL.fullmatch(name) for name in names) or len(set(names)) < len(names):
        raise ValueError("must be a list of names without spaces and commas, each once at most")
    return names


def _headers_file(folder: File, value: Any) -> File:
    # Beside the file of feeds, unless it says otherwise.
    path = folder / table.text(value)
    headers.read(path)
    return path


def _messages(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str | dict) for one in value):
        raise ValueError("must be a list of strings, sent as they are, and tables, sent as JSON")
    return tuple(one if isinstance(one, str) else msgspec.json.encode(one).decode() for one in value)


def _path(value: Any) -> Path:
    return Path.of(table.text(value))


def _template(value: Any, is_link: bool = False) -> Template:
    return Template.of(table.text(value), is_link)


def _conditions(value: Any) -> tuple[Condition, ...]:
    if not isinstance(value, dict):
        raise ValueError('must be a table of paths and values, such as {type = "goal"}')
    return tuple(Condition(Path.of(path), scalar) for path, scalar in _leaves("", value))


def _leaves(above: str, values: dict[str, Any]) -> Iterator[tuple[str, Scalar]]:
    """What a table asks for by path: match.live = true means the same as {match = {live = true}}."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(f"{above}{name}.", value)
        elif isinstance(value, str | int | float):
            yield f"{above}{name}", value
        else:
            raise ValueError(f"{above}{name} must be a string, a number or a boolean")
