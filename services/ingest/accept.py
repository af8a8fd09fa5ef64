"""From a request to what goes on the intake: resolved, given its id, and sealed. Pure but for chance and time."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from hashlib import sha256

from crown import addresses, catalogue, ids, links, validation, vault
from crown.clock import now, timestamp
from crown.errors import Violation
from crown.notification.v1.events_pb2 import IntakeEvent, NotificationContent
from crown.notification.v1.ingest_service_pb2 import SendNotificationRequest
from crown.subjects import LANES

RECIPIENTS_A_PART = 1_000
DATA_MOST_BYTES = 16 << 10


@dataclass(frozen=True, slots=True)
class Accepted:
    """A notification on its way to the intake. `request_hash` is empty where there is no idempotency key."""

    notification_id: str
    lane: str
    request_hash: bytes
    parts: list[bytes]


def problems(request: SendNotificationRequest, hosts: Collection[str]) -> list[Violation]:
    """What the rules in the protos cannot say; see `all_problems`."""
    data = request.data
    found = links.problems(data, hosts)
    if data.ByteSize() > DATA_MOST_BYTES:
        found.append(Violation("data", f"must be at most {DATA_MOST_BYTES} bytes", "size"))
    if request.kind and request.kind not in catalogue.KINDS:
        found.append(Violation("kind", f"must be one of {', '.join(catalogue.KINDS)}", "kind"))
    return found + _address_problems(request)


def _address_problems(request: SendNotificationRequest) -> list[Violation]:
    given = request.address
    checked = [
        addresses.email(given.email, "address.email") if given.email else "",
        addresses.phone(given.phone, "address.phone") if given.phone else "",
    ]
    return [problem for problem in checked if isinstance(problem, Violation)]


def all_problems(request: SendNotificationRequest, hosts: Collection[str]) -> list[Violation]:
    """Every violation of one item of a bulk, whose items the door does not check."""
    return validation.together(validation.violations(request), problems(request, hosts))


def resolve(
    request: SendNotificationRequest, sender: str, method: str, key: str, index: int, data_key: vault.Key
) -> Accepted:
    """The notification that `request` means. `key` is the idempotency key of the whole call; the request's
    own one wins, and then neither method nor place matters."""
    own = request.idempotency_key
    if own:
        notification_id = ids.keyed_notification(sender, "SendNotification", own, 0)
    elif key:
        notification_id = ids.keyed_notification(sender, method, key, index)
    else:
        notification_id = ids.fresh_notification()
    request_hash = _hash(request) if own or key else b""
    event = _event(request, sender, notification_id, request_hash)
    event.content.CopyFrom(vault.seal(data_key, _content(request)))
    return Accepted(notification_id, LANES[event.priority], request_hash, _parts(event, request))


def _event(
    request: SendNotificationRequest, sender: str, notification_id: str, request_hash: bytes
) -> IntakeEvent:
    kind = catalogue.kind(request.kind)
    count = len(request.user_ids) or 1
    category = request.category or kind.category
    return IntakeEvent(
        notification_id=notification_id,
        channels=[request.type] if request.type else list(request.channels) or list(kind.channels),
        kind=request.kind,
        category=category,
        priority=catalogue.priority(request.priority, category, count),
        create_time=timestamp(now()),
        expire_time=request.expires_at if request.HasField("expires_at") else None,
        sender=sender,
        request_hash=request_hash,
        recipient_count=count,
    )


def _content(request: SendNotificationRequest) -> bytes:
    address = request.address.SerializeToString() if request.HasField("address") else b""
    return NotificationContent(data=request.data.SerializeToString(), address=address).SerializeToString()


def _parts(event: IntakeEvent, request: SendNotificationRequest) -> list[bytes]:
    people = list(request.user_ids) or [request.user_id]
    parts = []
    for start in range(0, len(people), RECIPIENTS_A_PART):
        del event.user_ids[:]
        event.user_ids.extend(people[start : start + RECIPIENTS_A_PART])
        parts.append(event.SerializeToString())
    return parts


def _hash(request: SendNotificationRequest) -> bytes:
    """Equal for requests that mean the same, whatever way they were written."""
    bare = SendNotificationRequest()
    bare.CopyFrom(request)
    bare.idempotency_key = ""
    bare.DiscardUnknownFields()
    return sha256(bare.SerializeToString(deterministic=True)).digest()
