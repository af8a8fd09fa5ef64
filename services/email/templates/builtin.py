"""The built-in templates: one for every kind of the catalogue, one for digests and a plain one for all else, in
English and German. Put together once, from the files beside this one; no file outside of them is read."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from crown.catalogue import BUILT_IN, CATEGORIES, KINDS
from crown.notification.v1.types_pb2 import Category
from services.email.templates.text import Text

PLAIN = "plain"
DIGEST = "digest"
DEFAULT_LANGUAGE = "en"
NAMES = (*BUILT_IN, DIGEST, PLAIN)

_FOLDER = Path(__file__).with_name("builtin")
_LANGUAGES = ("en", "de")
# Of the small letters over the title, by category, on white; the layout has those for dark mode.
_COLOURS = {
    "activity": "#3f51d6",
    "social": "#3f51d6",
    "system": "#0b6c96",
    "marketing": "#9a3aad",
    "security": "#b23a16",
}


@dataclass(frozen=True, slots=True)
class Builtin:
    """A built-in template with its texts by language."""

    name: str
    description: str
    texts: Mapping[str, Text]


@cache
def all_builtin() -> Mapping[str, Builtin]:
    """The built-in templates by name."""
    words = {name: tomllib.loads((_FOLDER / f"{name}.toml").read_text("utf-8")) for name in _LANGUAGES}
    pieces = _pieces()
    return {
        name: Builtin(
            name,
            _description(name),
            {language: _text(pieces, name, language, words[language]) for language in words},
        )
        for name in NAMES
    }


@cache
def examples() -> Mapping[str, Mapping[str, Any]]:
    """What each built-in template is tried with: fields of NotificationData, by name."""
    return tomllib.loads((_FOLDER / "examples.toml").read_text("utf-8"))


def _description(name: str) -> str:
    if name == DIGEST:
        return "Built in, for what goes out together"
    return f"Built in, for {name}" if name in BUILT_IN else "Built in, for everything without one of its own"


def _pieces() -> Environment:
    return Environment(
        loader=FileSystemLoader(_FOLDER), undefined=StrictUndefined, autoescape=False,  # noqa: S701
        block_start_string="[%", block_end_string="%]", variable_start_string="[[", variable_end_string="]]",
        comment_start_string="[#", comment_end_string="#]", trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip


def _text(pieces: Environment, name: str, language: str, words: Mapping[str, Any]) -> Text:
    mine = words[name]
    category = KINDS[name].category if name in BUILT_IN else Category.ACTIVITY
    given = {
        "words": words,
        "mine": mine,
        "language": language,
        "tone": CATEGORIES[category],
        "colours": _COLOURS,
    }
    sets = str(pieces.get_template("parts.mjml").make_module(given).sets())  # type: ignore[attr-defined]
    heading = mine["heading"] or "{{ message|first_line }}"
    return Text(
        subject=f"{sets}{{% if title %}}{{{{ title }}}}{{% else %}}{heading}{{% endif %}}",
        preheader=f"{sets}{{% if message %}}{{{{ message }}}}{{% else %}}{mine['lead']}{{% endif %}}",
        mjml=pieces.get_template(f"{name}.mjml").render(given).strip() + "\n",
    )
