"""What the relay listens to, and what it makes of it: plain values, as the file says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path as File

from crown.client.draft import Fields
from services.realtime.relay.document import Event, Path
from services.realtime.relay.template import Template

Scalar = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that must stand in an event for a rule to apply."""

    path: Path
    value: Scalar

    def holds(self, event: Event) -> bool:
        """Whether exactly that stands there: text is no number, and true is not 1."""
        found = self.path.find(event)
        numbers = _is_number(found) and _is_number(self.value)
        return bool(found == self.value and (numbers or type(found) is type(self.value)))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True)
class Rule:
    """One [[feed.event]]: which events it is for, whom they are for, and what these are told. Of `each`,
    `user_id` and `user_ids`: each with or without user_id, or exactly one of the other two."""

    number: int
    when: tuple[Condition, ...]
    id: Path
    texts: Mapping[str, Template]
    user_id: Path | None = None
    user_ids: Path | None = None
    each: Path | None = None
    # What is the same for every event: channels, kind, category, priority.
    fixed: Fields = field(default_factory=Fields)

    def applies(self, event: Event) -> bool:
        """Whether all conditions hold; without any, always."""
        return all(condition.holds(event) for condition in self.when)


@dataclass(frozen=True, slots=True)
class Feed:
    """One [[feed]]. `send` are the messages that it gets once connected; without `idle_s` it may be silent for
    ever, as long as it answers pings."""

    name: str
    url: str
    rules: tuple[Rule, ...]
    subprotocols: tuple[str, ...] = ()
    headers_file: File | None = None
    send: tuple[str, ...] = ()
    idle_s: float | None = None

    def rule_for(self, event: Event) -> Rule | None:
        """The first rule that applies; None where there is none."""
        return next((rule for rule in self.rules if rule.applies(event)), None)
