"""What can happen: each kind with its category and the channels it takes where the sender names none; and what
holds in each category for people who chose nothing. It stands in catalogue.toml; a file of the operators' own may be
laid over it at the start of a process, and never later."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from crown.notification.v1.types_pb2 import Category, Channel, Priority, Rhythm, Span, Weekday

BULK_FROM = 100

CATEGORIES: Mapping[Category.Type.ValueType, str] = {
    Category.ACTIVITY: "activity",
    Category.SOCIAL: "social",
    Category.SYSTEM: "system",
    Category.MARKETING: "marketing",
    Category.SECURITY: "security",
}
_CATEGORY_OF = {name: value for value, name in CATEGORIES.items()}
_CHANNEL_OF = {
    name.lower(): value for name, value in Channel.Type.items() if value not in (0, Channel.WEBHOOK)
}
_LOUD = ("push", "email", "sms")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_MOST = 1_000


class CatalogueError(ValueError):
    """What is wrong with a file: every problem, with the place in it."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of happening."""

    category: Category.Type.ValueType
    channels: tuple[Channel.Type.ValueType, ...]
    # Of e-mail; empty: the one with the kind's name.
    template: str = ""
    # On a device one stands instead of an earlier one with the same; empty: of none.
    collapse_key: str = ""
    # True: it is not held back by quiet hours.
    passes_quiet_hours: bool = False
    # False: it is never an item of a digest.
    digestable: bool = True


@dataclass(frozen=True, slots=True)
class DefaultDigest:
    """A digest that who chose none gets; `at` is a minute of the local day, `weekday` 0 on Mondays."""

    every: Rhythm.Type.ValueType
    at: int = 0
    weekday: int = 0


@dataclass(frozen=True, slots=True)
class DefaultCap:
    """At most so many on one channel in any such span."""

    channel: str
    most: int
    per: Span.Type.ValueType


@dataclass(frozen=True, slots=True)
class CategoryRules:
    """What holds in a category where a person chose nothing; channels by their names."""

    # Channels that it is off on.
    off: frozenset[str] = frozenset()
    # Channels that it is off on until the person turns it on.
    consent: frozenset[str] = frozenset()
    digest: Mapping[str, DefaultDigest] = field(default_factory=dict)
    caps: tuple[DefaultCap, ...] = ()
    # Days after which what is final is deleted.
    retention_days: int = 90


# -- reading


class _Reader:
    """Reads tables and keeps every problem, with its place."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def table(self, where: str, given: Any, known: Mapping[str, Callable[[str, Any], Any]]) -> dict[str, Any]:
        """What is given of `known`, each as its reader makes it."""
        if not isinstance(given, dict):
            self.problem(where, "must be a table")
            return {}
        for word in given.keys() - known.keys():
            self.problem(f"{where}.{word}" if where else word, f"is none of {', '.join(known)}")
        found = {
            name: read(f"{where}.{name}" if where else name, given[name])
            for name, read in known.items()
            if name in given
        }
        return {name: value for name, value in found.items() if value is not None}

    def problem(self, where: str, allowed: str) -> None:
        self.problems.append(f"{where} {allowed}")

    def tables(self, where: str, given: Any) -> dict[str, Any]:
        """What is given by names of its own."""
        if isinstance(given, dict):
            return given
        self.problem(where, "must be a table")
        return {}

    def one_of(self, *words: Any) -> Callable[[str, Any], Any]:
        def read(where: str, given: Any) -> Any:
            if given in words and type(given) is type(words[0]):
                return given
            self.problem(where, f"must be one of {', '.join(map(str, words))}")
            return None

        return read

    def some_of(self, *words: str) -> Callable[[str, Any], list[str] | None]:
        def read(where: str, given: Any) -> list[str] | None:
            if (
                isinstance(given, list)
                and all(one in words for one in given)
                and len(set(given)) == len(given)
            ):
                return given
            self.problem(where, f"must be a list of {', '.join(words)}, each once")
            return None

        return read

    def name(self, where: str, given: Any) -> str | None:
        if isinstance(given, str) and _NAME.fullmatch(given):
            return given
        self.problem(where, "must be lower-case letters, digits or _ and begin with a letter")
        return None

    def most(self, where: str, given: Any) -> int | None:
        if type(given) is int and 1 <= given <= _MOST:
            return given
        self.problem(where, f"must be a number from 1 to {_MOST}")
        return None

    def time(self, where: str, given: Any) -> int | None:
        found = _TIME.fullmatch(given) if isinstance(given, str) else None
        if found is None:
            self.problem(where, 'must be a time of day such as "09:00"')
            return None
        return int(found[1]) * 60 + int(found[2])

    def kind(self, where: str, given: Any, old: Kind | None) -> Kind | None:
        found = self.table(
            where,
            given,
            {
                "category": self.one_of(*_CATEGORY_OF),
                "channels": self.some_of(*_CHANNEL_OF),
                "template": self.name,
                "collapse_key": self.name,
                "quiet_hours": self.one_of("defer", "pass"),
                "digestable": self.one_of(True, False),
            },
        )
        if "category" in found:
            found["category"] = _CATEGORY_OF[found["category"]]
        if "channels" in found:
            found["channels"] = tuple(_CHANNEL_OF[name] for name in found["channels"])
        if "quiet_hours" in found:
            found["passes_quiet_hours"] = found.pop("quiet_hours") == "pass"
        if (old is None and not {"category", "channels"} <= found.keys()) or found.get("channels") == ():
            self.problem(where, "must have a category and channels")
            return None
        return replace(old, **found) if old is not None else Kind(**found)

    def category(self, where: str, given: Any, old: CategoryRules) -> CategoryRules:
        found = self.table(
            where,
            given,
            {
                "off": self.some_of(*_CHANNEL_OF),
                "consent": self.some_of(*_CHANNEL_OF),
                "digest": lambda at, table: self.table(at, table, dict.fromkeys(_LOUD, self.digest)),
                "caps": self.caps,
                "retention_days": self.most,
            },
        )
        for name in ("off", "consent"):
            if name in found:
                found[name] = frozenset(found[name])
        return replace(old, **found)

    def digest(self, where: str, given: Any) -> DefaultDigest | None:
        days = [name.lower() for name, value in Weekday.Type.items() if value]
        known = {
            "every": self.one_of("hourly", "daily", "weekly"),
            "at": self.time,
            "weekday": self.one_of(*days),
        }
        found = self.table(where, given, known)
        every = found.get("every")
        wanted = {"hourly": {"every"}, "daily": {"every", "at"}, "weekly": {"every", "at", "weekday"}}
        if every is None or found.keys() != wanted[every]:
            self.problem(where, "must have every; with daily and weekly at, with weekly weekday, and no more")
            return None
        weekday = days.index(found["weekday"]) if "weekday" in found else 0
        return DefaultDigest(Rhythm.Type.Value(every.upper()), found.get("at", 0), weekday)

    def caps(self, where: str, given: Any) -> tuple[DefaultCap, ...] | None:
        if not isinstance(given, list):
            self.problem(where, "must be a list of tables")
            return None
        spans = ("hour", "day", "week")
        known = {"channel": self.one_of(*_LOUD), "most": self.most, "per": self.one_of(*spans)}
        found = []
        for number, one in enumerate(given, 1):
            cap = self.table(f"{where} {number}", one, known)
            if cap.keys() == known.keys():
                found.append(DefaultCap(cap["channel"], cap["most"], Span.Type.Value(cap["per"].upper())))
            else:
                self.problem(f"{where} {number}", "must have channel, most and per")
        return tuple(found)


Read = tuple[dict[str, Kind], dict[str, CategoryRules]]


def read(text: str, kinds: Mapping[str, Kind], categories: Mapping[str, CategoryRules]) -> Read:
    """Kinds and categories with those of a file laid over them. Raises CatalogueError."""
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CatalogueError(f"is not TOML: {error}") from None
    reader = _Reader()
    made, rules = dict(kinds), dict(categories)

    def read_kinds(where: str, table: Any) -> None:
        for name, one in reader.tables(where, table).items():
            at = f"{where}.{name}"
            if reader.name(at, name) and (found := reader.kind(at, one, kinds.get(name))):
                made[name] = found

    def read_categories(where: str, table: Any) -> None:
        for name, one in reader.tables(where, table).items():
            at = f"{where}.{name}"
            if name not in _CATEGORY_OF:
                reader.problem(at, f"must be one of {', '.join(_CATEGORY_OF)}")
            elif name == "security" and isinstance(one, dict) and one.keys() - {"retention_days"}:
                reader.problem(at, "must have retention_days only: it passes all else")
            else:
                rules[name] = reader.category(at, one, categories.get(name, _NO_RULES))

    reader.table("", given, {"kinds": read_kinds, "categories": read_categories})
    if reader.problems:
        raise CatalogueError("; ".join(reader.problems))
    return made, rules


_NO_RULES = CategoryRules()
_BUILT_IN = read(Path(__file__).with_name("catalogue.toml").read_text(encoding="utf-8"), {}, {})
# The kinds that come with us, whatever the operators lay over them.
BUILT_IN = tuple(_BUILT_IN[0])
_kinds, _categories = dict(_BUILT_IN[0]), dict(_BUILT_IN[1])
KINDS: Mapping[str, Kind] = _kinds
_NO_KIND = Kind(Category.ACTIVITY, (Channel.IN_APP, Channel.REAL_TIME))


def read_file(path: str) -> Read:
    """The catalogue that comes with us, with the file at `path` laid over it. Raises CatalogueError."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise CatalogueError(f"cannot read the file ({why})") from None
    return read(text, *_BUILT_IN)


def lay_over(path: str) -> None:
    """Lays the file at `path` over the catalogue that comes with us, for all of this process; empty: none. Raises
    CatalogueError, and then nothing has changed."""
    kinds, categories = read_file(path) if path else _BUILT_IN
    _kinds.clear()
    _kinds.update(kinds)
    _categories.clear()
    _categories.update(categories)


def kind(name: str) -> Kind:
    """The kind called `name`; without a name, the one of everyday activity. Raises KeyError."""
    return KINDS[name] if name else _NO_KIND


def kind_or_default(name: str) -> Kind:
    """The kind called `name`; the one of everyday activity where the catalogue has none of that name any more."""
    return KINDS.get(name, _NO_KIND)


def category(name: str) -> CategoryRules:
    """The rules of the category called `name`."""
    return _categories.get(name, _NO_RULES)


def priority(
    asked: Priority.Type.ValueType, category: Category.Type.ValueType, recipients: int
) -> Priority.Type.ValueType:
    """The lane: as asked, else critical for security, bulk for marketing and for many people."""
    if asked:
        return asked
    if category == Category.SECURITY:
        return Priority.CRITICAL
    if category == Category.MARKETING or recipients > BULK_FROM:
        return Priority.BULK
    return Priority.NORMAL
