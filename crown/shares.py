"""How a setting names the providers of a channel: `sendgrid:3,smtp:1`, each a name with or without a weight, in
the order of preference. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

_WEIGHT_MOST = 1_000


# What each provider of a channel cannot do without: the variable, and the field of settings that holds it, a secret.
Needs = Mapping[str, tuple[str, str]]


def configured(text: str, needs: Needs, fields: Mapping[str, Any]) -> str:
    """`text`; where it is empty, the providers that have all they need in `fields`. Raises ValueError where there is
    none, or where one is listed that has not."""
    if any(field not in fields for _, field in needs.values()):
        return text  # what is wrong with one of them is told already
    ready = [name for name, (_, field) in needs.items() if fields[field].get_secret_value()]
    if not ready:
        raise ValueError(f"{' or '.join(variable for variable, _ in needs.values())} is required")
    for name in parse(text, needs):
        if name not in ready:
            raise ValueError(f"lists {name}, which needs {needs[name][0]}")
    return text or ",".join(ready)


def parse(text: str, known: Collection[str]) -> Mapping[str, int]:
    """Name to weight, in the order given; empty where `text` is. A provider without a weight stands in for the
    others and has 0; where none has one, the first gets everything. Raises ValueError."""
    found: dict[str, int] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, colon, weight = (piece.strip() for piece in part.partition(":"))
        if name not in known:
            raise ValueError(f"must list {' and '.join(known)} in the order of preference")
        if name in found:
            raise ValueError(f"lists {name} twice")
        if colon and not (weight.isascii() and weight.isdecimal() and int(weight) <= _WEIGHT_MOST):
            raise ValueError(f"has a weight for {name} that is no number from 0 to {_WEIGHT_MOST}")
        found[name] = int(weight or 0)
    if found and not any(found.values()):
        found[next(iter(found))] = 1
    return found
