"""From a feed's event to the requests that ingest is asked to take. Pure; made one by one as they are asked for,
since one message can be for thousands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from typing import Any

from crown.client.draft import Fields, draft
from crown.notification.v1.ingest_service_pb2 import SendNotificationRequest
from services.realtime.relay.document import EACH, Event, Path, text_of
from services.realtime.relay.feed import Rule
from services.realtime.relay.template import Unmappable

# People that one event can be for; ingest takes no more in a notification either.
RECIPIENTS_MOST = 10_000
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_ENTRY = Path((EACH,))


def requests(feed: str, rule: Rule, event: Event) -> Iterator[SendNotificationRequest | Unmappable]:
    """What `rule` makes of `event`; an Unmappable in the place of what cannot be made."""
    try:
        events = _each(rule, event)
    except Unmappable as error:
        yield error
        return
    for one in events:
        try:
            yield _request(feed, rule, one)
        except Unmappable as error:
            yield error


def key(feed: str, event_id: str, user_id: str = "") -> str:
    """The idempotency key of an event: the same for the same event, whenever it comes again. Ids that do not fit
    into a key are hashed."""
    # No user id has a slash.
    own = f"{event_id}/{user_id}" if user_id else event_id
    plain = f"relay:{feed}:{own}"
    if _KEY.fullmatch(plain):
        return plain
    return f"relay:{feed}:sha256:{sha256(own.encode()).hexdigest()}"


def _each(rule: Rule, event: Event) -> list[Event]:
    if rule.each is None:
        return [event]
    return [replace(event, entry=entry) for entry in _list(rule.each, event)]


def _request(feed: str, rule: Rule, event: Event) -> SendNotificationRequest:
    fields: Fields = {**rule.fixed, **_texts(rule, event)}
    event_id = _text(rule.id, event)
    if rule.user_ids is not None:
        fields["user_ids"] = _people(rule.user_ids, event)
        fields["idempotency_key"] = key(feed, event_id)
    else:
        fields["user_id"] = _text(rule.user_id or _ENTRY, event)
        fields["idempotency_key"] = key(feed, event_id, fields["user_id"] if rule.each else "")
    return draft(**fields)


def _texts(rule: Rule, event: Event) -> Fields:
    found: Any = {name: template.render(event) for name, template in rule.texts.items()}
    texts: Fields = found
    return texts


def _people(path: Path, event: Event) -> list[str]:
    people = [text_of(entry) for entry in _list(path, event)]
    known = [person for person in people if person]
    if not known or len(known) < len(people):
        raise Unmappable(str(path))
    # Once each: ingest refuses who names somebody twice.
    return list(dict.fromkeys(known))


def _list(path: Path, event: Event) -> list[Any]:
    found = path.find(event)
    if not isinstance(found, list) or len(found) > RECIPIENTS_MOST:
        raise Unmappable(str(path))
    return found


def _text(path: Path, event: Event) -> str:
    """Text that has to be there. Raises Unmappable."""
    text = text_of(path.find(event))
    if not text:
        raise Unmappable(str(path))
    return text
