"""Which entries of an inbox are meant: one, several, or all that there are."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Final, Literal, TypedDict


class _Everything(Enum):
    ALL = "all"


# All that there are at this moment. A word of its own, so that nobody deletes an inbox by leaving something out.
ALL: Final = _Everything.ALL
Which = str | Iterable[str] | Literal[_Everything.ALL]


class Named(TypedDict, total=False):
    """How requests name them."""

    notification_id: str
    notification_ids: Iterable[str]


class Meant(Named, total=False):
    """The same, of requests that may mean all."""

    all: bool


def meant(which: Which) -> Meant:
    """The part of a request that says which."""
    if which is ALL:
        return {"all": True}
    return {"notification_id": which} if isinstance(which, str) else {"notification_ids": list(which)}


def named(which: str | Iterable[str]) -> Named:
    """The part of a request that names them."""
    return {"notification_id": which} if isinstance(which, str) else {"notification_ids": list(which)}
