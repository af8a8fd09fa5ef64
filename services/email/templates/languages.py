"""Which language of a template a person gets."""

from __future__ import annotations

from collections.abc import Iterable


def best(wanted: str, there: Iterable[str], default: str) -> str:
    """The one of `there` for a person whose language tag is `wanted`: pt-BR gets pt-BR, else pt, else the default."""
    known = {tag.lower(): tag for tag in there}
    parts = wanted.lower().split("-")
    while parts:
        if found := known.get("-".join(parts)):
            return found
        parts.pop()
    return default
