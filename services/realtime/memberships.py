"""Looks, again and again, whether those on the topics of groups are still members: a word that somebody was
removed can get lost, and a stolen minute is all that this may cost."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import Protocol

from pymongo.errors import PyMongoError

from crown import logs
from crown.groups import Groups

log = logs.get(__name__)

# Seconds between two looks at everybody.
PERIOD_S = 30.0
_AT_ONCE = 500


class Member(Protocol):
    """A channel of a group."""

    @property
    def member(self) -> tuple[str, str]:
        """The group and the person."""

    @property
    def address_topic(self) -> str:
        """The topic, whose kind has to be the group's."""

    def expel(self) -> None:
        """Ends it."""


class Memberships:
    """The channels of groups on this node."""

    def __init__(self, groups: Groups) -> None:
        self._groups = groups
        self._members: dict[Member, None] = {}

    def add(self, member: Member) -> None:
        """Is looked at from now on."""
        self._members[member] = None

    def discard(self, member: Member) -> None:
        """Is looked at no longer."""
        self._members.pop(member, None)

    async def watch(self, period_s: float = PERIOD_S) -> None:
        """Looks until it is cancelled."""
        while True:
            await asyncio.sleep(period_s)
            try:
                await self.look()
            except PyMongoError as error:
                # Nobody is sent away because the store is.
                log.warning("memberships_unread", error=type(error).__name__)

    async def look(self) -> None:
        """Expels who is a member no longer. Raises PyMongoError."""
        everybody = iter(list(self._members))
        while part := list(islice(everybody, _AT_ONCE)):
            groups = await asyncio.gather(*(self._groups.membership(member.member) for member in part))
            for member, group in zip(part, groups, strict=True):
                if member in self._members and (group is None or group.topic != member.address_topic):
                    member.expel()
