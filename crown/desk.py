"""What a channel does between a delivery's row and its claim: `prepare` makes the attempt, or says why there is
none. The engine knows no more of it. PersonDesk serves the channels that lead to people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from crown import choices
from crown.erasures import ERASED
from crown.judgement import final
from crown.ledger import Change, Entry
from crown.lookup import Lookup
from crown.notification.v1.events_pb2 import NotificationContent
from crown.notification.v1.notification_pb2 import Address, NotificationData
from crown.notification.v1.types_pb2 import Channel, DeliveryState, SuppressionReason
from crown.provider import Attempt
from crown.recipients import Destination
from crown.store import Database
from crown.vault import Key, VaultError


class Desk(Protocol):
    """Prepares attempts on one channel."""

    async def prepare(self, entry: Entry) -> Attempt | Change:
        """The next attempt at this delivery; the change that ends it where none may be made. Nothing is kept
        between two calls: what was decided since the last one counts. Raises what the store raises."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A notification's content in the clear."""

    data: NotificationData
    address: Address
    template_id: str
    collapse_key: str


class PersonDesk:
    """Opens the content, asks what the person chose, resolves where they are reached, and leaves out what is
    suppressed."""

    def __init__(self, channel: Channel.Type.ValueType, db: Database, data_key: Key) -> None:
        self._channel = channel
        self._lookup = Lookup(db, data_key, channel)

    async def prepare(self, entry: Entry) -> Attempt | Change:
        """As Desk says."""
        person = await self._lookup.person(entry.event.user_id)
        letter = _opened(entry, person.key)
        if letter is None:
            return final(entry, DeliveryState.SUPPRESSED, ERASED)
        # Read again here, at the last moment: an opt-out since the dispatch is obeyed.
        if refused := choices.refusal(person.choices, entry.category, entry.event.channel):
            return final(entry, DeliveryState.SUPPRESSED, refused)
        own = given(letter.address, self._channel)
        places = [place for place in own or person.destinations if place.id not in entry.done]
        if not places:
            if entry.done:
                return final(entry, DeliveryState.DELIVERED_TO_PROVIDER, "")
            return final(entry, DeliveryState.SUPPRESSED, "NO_ADDRESS")
        suppression = await self._lookup.suppression(own[0].address) if own else person.suppression
        if suppression is not None:
            why = SuppressionReason.Type.Name(suppression.reason)
            return final(entry, DeliveryState.SUPPRESSED, f"ADDRESS_SUPPRESSED: {why}")
        return _attempt(entry, letter, places, person.locale)


def _opened(entry: Entry, key: Key | None) -> Letter | None:
    """The content; None where the person, or the notification, was erased."""
    if key is None or not entry.ciphertext:
        return None
    try:
        raw = key.unwrap(entry.wrapped_key).open(entry.ciphertext)
    except VaultError:
        # Erased and known anew since: the new key opens nothing old.
        return None
    content = NotificationContent.FromString(raw)
    return Letter(
        NotificationData.FromString(content.data),
        Address.FromString(content.address),
        content.template_id,
        content.collapse_key,
    )


def given(address: Address, channel: Channel.Type.ValueType) -> list[Destination]:
    """The address that came with the notification, if it has one for this channel."""
    match channel:
        case Channel.EMAIL if address.email:
            return [Destination("given", address.email)]
        case Channel.SMS if address.phone:
            return [Destination("given", address.phone)]
        case Channel.PUSH:
            return [Destination(f"given{n}", token) for n, token in enumerate(address.device_tokens)]
    return []


def _attempt(entry: Entry, letter: Letter, places: list[Destination], locale: str) -> Attempt:
    event = entry.event
    return Attempt(
        event.delivery_id,
        event.notification_id,
        event.user_id,
        entry.claims + 1,
        entry.kind,
        entry.category,
        letter.data,
        tuple(places),
        entry.create_time,
        entry.expire_time,
        letter.template_id,
        letter.collapse_key,
        locale,
        event.priority,
    )
