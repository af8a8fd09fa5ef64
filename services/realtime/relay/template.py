"""Text with places to fill in: `{team} scored`. A place is a path into the event and no more: no attributes, no
calls, no formats. `{{` and `}}` stand for braces."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

from services.realtime.relay.document import Event, Path, text_of

_PARTS = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]|[^{}]+")


class Unmappable(Exception):
    """The event does not have what a rule needs. Says which path, never what stands there."""


@dataclass(frozen=True, slots=True)
class Template:
    """Text and places, in order. `is_link`: what is filled in must not change where the text leads."""

    parts: tuple[str | Path, ...]
    is_link: bool = False

    @classmethod
    def of(cls, text: str, is_link: bool = False) -> Template:
        """The template written as `text`. Raises ValueError saying what is wrong."""
        return cls(tuple(_parts(text)), is_link)

    def render(self, event: Event) -> str:
        """The text for `event`. Raises Unmappable where a place has no string, number or boolean."""
        return "".join(
            part if isinstance(part, str) else self._filled(part, event, first=number == 0)
            for number, part in enumerate(self.parts)
        )

    def _filled(self, place: Path, event: Event, first: bool) -> str:
        text = text_of(place.find(event))
        if text is None:
            raise Unmappable(str(place))
        # What a link begins with is the feed's to say, and ingest looks at where it leads.
        return quote(text, safe="") if self.is_link and not first else text


def _parts(text: str) -> Iterator[str | Path]:
    for found in _PARTS.finditer(text):
        match found[0]:
            case "{{" | "}}":
                yield found[0][0]
            case "{" | "}":
                raise ValueError("has a brace without its other half; write {{ or }} for a brace")
            case _ if found[1] is not None:
                yield _place(found[1])
            case plain:
                yield plain


def _place(text: str) -> Path:
    try:
        return Path.of(text)
    except ValueError as error:
        raise ValueError(f"a place in braces {error}") from None
