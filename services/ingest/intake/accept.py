"""From a request to what goes on the intake: resolved, given its id, and sealed. Pure but for chance and time."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from hashlib import sha256

from google.protobuf.timestamp_pb2 import Timestamp

from crown import access, addresses, catalogue, ids, links, validation, vault
from crown.auth import Principal
from crown.errors import NotAllowed, Violation
from crown.notification.v1.events_pb2 import Audience, IntakeEvent, NotificationContent, Sealed
from crown.notification.v1.ingest_service_pb2 import SendNotificationRequest
from crown.notification.v1.types_pb2 import Category, Channel, Priority
from crown.subjects import LANES
from services.ingest.webhook.hosts import WebhookHosts

# What a service needs to send; with `:<category>` behind it, to send what is of that category.
SCOPE = "notifications.send"
RECIPIENTS_A_PART = 1_000
# The lane that what was meant for a lane, and is for so many people, travels on.
Share = Callable[[Priority.Type.ValueType, int], Priority.Type.ValueType]
DATA_MOST_BYTES = 16 << 10
_SHOWN = (Channel.IN_APP, Channel.REAL_TIME)
_COLLAPSE_KEY_MOST = 64


@dataclass(frozen=True, slots=True)
class Accepted:
    """A notification on its way to the intake. `request_hash` is empty where there is no idempotency key. Version 0.1
    wrote `former_hash` in its place; where that is kept, it still stands for the same body."""

    notification_id: str
    lane: str
    request_hash: bytes
    parts: list[bytes]
    former_hash: bytes = b""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the rules in the protos cannot say of a request of `sender`: where its links may lead, and which hosts
    may be called about it."""

    sender: str
    links: Collection[str]
    webhooks: WebhookHosts


def problems(request: SendNotificationRequest, rules: Rules) -> list[Violation]:
    """What breaks `rules`; see `all_problems`."""
    data = request.data
    found = links.problems(data, rules.links)
    if data.ByteSize() > DATA_MOST_BYTES:
        found.append(Violation("data", f"must be at most {DATA_MOST_BYTES} bytes", "size"))
    if request.kind and request.kind not in catalogue.KINDS:
        found.append(Violation("kind", f"must be one of {', '.join(catalogue.KINDS)}", "kind"))
    if request.HasField("address"):
        found += _address_problems(request)
    if request.webhook_url and (why := rules.webhooks.problem(rules.sender, request.webhook_url)):
        found.append(Violation("webhook_url", why, "webhook"))
    return found


def _address_problems(request: SendNotificationRequest) -> list[Violation]:
    given = request.address
    checked = [
        addresses.email(given.email, "address.email") if given.email else "",
        addresses.phone(given.phone, "address.phone") if given.phone else "",
    ]
    return [problem for problem in checked if isinstance(problem, Violation)]


def all_problems(request: SendNotificationRequest, rules: Rules) -> list[Violation]:
    """Every violation of one item of a bulk, whose items the door does not check."""
    return validation.together(validation.violations(request), problems(request, rules))


def beyond_scope(request: SendNotificationRequest, sender: Principal) -> NotAllowed | None:
    """Why a service whose token is for some categories only may not send this; None where it may. A kind and a
    template speak in the name of their category, whatever category is given with them. Who asks for the priority
    CRITICAL needs what SECURITY needs: filters are not asked, and it has a lane of its own. Operators may."""
    allowed = access.categories(sender, SCOPE) if sender.use == "service" else None
    if allowed is None:
        return None
    said = {request.category or catalogue.kind_or_default(request.kind).category}
    template = request.template_id
    said |= {
        kind.category
        for name, kind in catalogue.KINDS.items()
        if name == request.kind or (template and template in (name, kind.template))
    }
    if request.priority == Priority.CRITICAL:
        said.add(Category.SECURITY)
    missing = sorted({Category.Type.Name(one).lower() for one in said} - allowed)
    if not missing:
        return None
    needs = f"the scope {SCOPE}:{missing[0]}"
    return NotAllowed(f"this notification needs {needs}", metadata={"needs": needs})


def as_asked(lane: Priority.Type.ValueType, recipients: int) -> Priority.Type.ValueType:
    """Every lane takes everything."""
    del recipients
    return lane


def recipients(request: SendNotificationRequest) -> int:
    """How many people it counts as: a group, or everyone, as one."""
    return len(request.user_ids) or len(request.group_ids) or 1


def resolve(
    request: SendNotificationRequest,
    sender: str,
    method: str,
    key: str,
    index: int,
    data_key: vault.Key,
    share: Share = as_asked,
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
    written = _written(request) if own or key else b""
    request_hash = _hash(written, data_key) if written else b""
    content = vault.seal(data_key, _content(request))
    event = _event(request, sender, notification_id, request_hash, content)
    _mark(event, request, data_key)
    lane = share(event.priority, recipients(request))
    if lane != event.priority:
        event.demoted_from, event.priority = event.priority, lane
    former = sha256(written).digest() if written else b""
    return Accepted(notification_id, LANES[event.priority], request_hash, _parts(event, request), former)


def _event(
    request: SendNotificationRequest, sender: str, notification_id: str, request_hash: bytes, content: Sealed
) -> IntakeEvent:
    kind = catalogue.kind(request.kind)
    count = _count(request)
    category = request.category or kind.category
    event = IntakeEvent(
        notification_id=notification_id,
        channels=_channels(request, kind.channels),
        kind=request.kind,
        category=category,
        priority=catalogue.priority(request.priority, category, count or catalogue.BULK_FROM + 1),
        create_time=_present(),
        sender=sender,
        request_hash=request_hash,
        recipient_count=count,
        content=content,
    )
    _add_wishes(event, request)
    return event


def _add_wishes(event: IntakeEvent, request: SendNotificationRequest) -> None:
    """What most senders say nothing of. Set only where it is said: a field that is given empty costs
    time as well."""
    if request.webhook_url:
        event.webhook_url = request.webhook_url
    if request.local_time:
        event.local_time = request.local_time
    if request.HasField("expires_at"):
        event.expire_time.CopyFrom(request.expires_at)
    if request.HasField("send_at"):
        event.send_time.CopyFrom(request.send_at)
    if request.group_ids or request.everyone:
        event.audience.CopyFrom(_audience(request))
    if request.escalations:
        event.escalations.extend(request.escalations)


def _channels(
    request: SendNotificationRequest, usual: Sequence[Channel.Type.ValueType]
) -> list[Channel.Type.ValueType]:
    """Those that were named, or the usual ones of its kind; of these, a broadcast takes what the app shows."""
    if request.type:
        return [request.type]
    if request.channels:
        return list(request.channels)
    return (
        [channel for channel in usual if channel in _SHOWN] or list(_SHOWN)
        if request.everyone
        else list(usual)
    )


def _count(request: SendNotificationRequest) -> int:
    """How many people it is for; 0 where that shows only when they are listed."""
    return 0 if request.group_ids or request.everyone else len(request.user_ids) or 1


def _audience(request: SendNotificationRequest) -> Audience:
    return Audience(
        everyone=request.everyone, group_ids=request.group_ids, exclude_user_ids=request.exclude_user_ids
    )


def _mark(event: IntakeEvent, request: SendNotificationRequest, data_key: vault.Key) -> None:
    """What it is about and who did it, so that equal ones can be told, and no more."""
    if request.group_key:
        event.group_hash = group_hash(data_key, request.group_key)
    if who := request.actor.user_id or request.actor.name:
        event.actor_hash = vault.tag(data_key, "actor", who)


def group_hash(data_key: vault.Key, group_key: str) -> bytes:
    """What stands for a group key where nobody has to read it."""
    return vault.tag(data_key, "group", group_key)


def _present() -> Timestamp:
    """The present, to the millisecond."""
    millis = time.time_ns() // 1_000_000
    return Timestamp(seconds=millis // 1_000, nanos=millis % 1_000 * 1_000_000)


def _content(request: SendNotificationRequest) -> bytes:
    address = request.address.SerializeToString() if request.HasField("address") else b""
    kind = catalogue.kind(request.kind)
    return NotificationContent(
        data=request.data.SerializeToString(),
        address=address,
        template_id=request.template_id or kind.template,
        collapse_key=request.collapse_key or _collapse_key(request.group_key) or kind.collapse_key,
        actor_name=request.actor.name,
        group_key=request.group_key,
    ).SerializeToString()


def _collapse_key(group_key: str) -> str:
    """What is one entry of the inbox is one message on a phone, too, where providers take the key."""
    return group_key if len(group_key) <= _COLLAPSE_KEY_MOST else ""


def _parts(event: IntakeEvent, request: SendNotificationRequest) -> list[bytes]:
    if not request.user_ids:
        if request.user_id:
            event.user_ids.append(request.user_id)
        return [event.SerializeToString()]
    people = list(request.user_ids)
    parts = []
    for start in range(0, len(people), RECIPIENTS_A_PART):
        del event.user_ids[:]
        event.user_ids.extend(people[start : start + RECIPIENTS_A_PART])
        parts.append(event.SerializeToString())
    return parts


def _hash(written: bytes, data_key: vault.Key) -> bytes:
    """Keyed: it is kept beside the sealed content, and a plain one would tell who guesses a code of six digits that
    they have guessed right, even after its person was erased."""
    return hmac.digest(data_key.raw, b"request\0" + written, "sha256")


def _written(request: SendNotificationRequest) -> bytes:
    """Equal for requests that mean the same, whatever way they were written."""
    bare = SendNotificationRequest()
    bare.CopyFrom(request)
    bare.idempotency_key = ""
    bare.DiscardUnknownFields()
    return bare.SerializeToString(deterministic=True)
