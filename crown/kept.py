"""What is kept, where, and what becomes of it: everything that holds something about people, and what holds nothing.
docs/retention.md is made from this table. Tests compare it with the collections of crown/store.py and their indexes,
with the streams of crown/subjects.py and with the keys in Redis, so that nothing new is kept without an answer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

_HOUR_S = 3_600
_DAY_S = 86_400


class Where(Enum):
    """Who keeps it."""

    MONGODB = "MongoDB"
    NATS = "NATS"
    REDIS = "Redis"


@dataclass(frozen=True, slots=True)
class Kept:
    """One collection, one stream, or the keys of Redis that begin alike."""

    where: Where
    name: str
    # What of a person; empty where nothing.
    of_a_person: str
    # Seconds after which it is gone by itself; None where `until` alone says.
    kept_s: int | None
    until: str
    # What erasing the person does to it; empty where there is nothing of theirs.
    erased: str = ""
    # Fields of the export that have it.
    exported: tuple[str, ...] = ()
    # Why the export has it not, where it has something of a person.
    not_exported: str = ""


_BY_CATEGORY = "its notification goes: 30 days marketing, 365 security, 90 all others, after it was accepted"
_DERIVED = "follows from `notifications`"

TABLE: tuple[Kept, ...] = (
    Kept(
        Where.MONGODB,
        "people",
        "id, and their key, sealed under the data key",
        None,
        "erased",
        erased="deleted first",
        not_exported="a key says nothing of them",
    ),
    Kept(
        Where.MONGODB,
        "contacts",
        "id; e-mail address and phone number, sealed; language, time zone",
        None,
        "replaced or erased",
        erased="deleted",
        exported=("contact",),
    ),
    Kept(
        Where.MONGODB,
        "devices",
        "id; token, sealed; language, time zone, when it was last seen",
        None,
        "removed, refused by its provider, or erased",
        erased="deleted",
        exported=("devices",),
    ),
    Kept(
        Where.MONGODB,
        "preferences",
        "id; what they chose",
        None,
        "replaced or erased",
        erased="deleted",
        exported=("preferences",),
    ),
    Kept(
        Where.MONGODB,
        "members",
        "id, and the group",
        None,
        "they leave, the group goes, or erased",
        erased="deleted",
        exported=("groups",),
    ),
    Kept(
        Where.MONGODB,
        "ledger",
        "id; the key of the content, sealed; states, reasons, times, what they read",
        None,
        _BY_CATEGORY,
        erased="stays in its sender's books under a pseudonym, without key and marks",
        exported=("notifications",),
    ),
    Kept(
        Where.MONGODB,
        "notifications",
        "content and the address that its sender gave, sealed",
        None,
        _BY_CATEGORY,
        erased="unreadable, since the key is gone",
        exported=("notifications",),
    ),
    Kept(
        Where.MONGODB,
        "timeline",
        "id; what attempts and providers came to",
        None,
        _BY_CATEGORY,
        erased="deleted",
        exported=("notifications",),
    ),
    Kept(
        Where.MONGODB,
        "threads",
        "id; hashes of what an entry is about",
        366 * _DAY_S,
        "it is read, or not in a year",
        erased="deleted",
        not_exported=_DERIVED,
    ),
    Kept(
        Where.MONGODB,
        "claims",
        "id, in the row that an attempt is for",
        30 * _DAY_S,
        "long after the attempt",
        erased="deleted",
        not_exported=_DERIVED,
    ),
    Kept(
        Where.MONGODB,
        "webhooks",
        "id, in a word to a sender",
        30 * _DAY_S,
        "long after the last attempt",
        erased="deleted once its receiver has taken it",
        not_exported=_DERIVED,
    ),
    Kept(
        Where.MONGODB,
        "digests",
        "id; content, sealed",
        30 * _DAY_S,
        "long after it went out",
        erased="deleted",
        not_exported="its items are `notifications`",
    ),
    Kept(
        Where.MONGODB,
        "dead_letters",
        "id; an error without address and text; of what nobody could read the order, content sealed",
        400 * _DAY_S,
        "longer than anything that it is about",
        erased="deleted; out of an order for several they are taken",
        exported=("dead_letters",),
    ),
    Kept(
        Where.MONGODB,
        "replays",
        "id, where an operator asked for their letters",
        400 * _DAY_S,
        "as its letters",
        erased="deleted, where it is for them",
        not_exported="what an operator asked for",
    ),
    Kept(
        Where.MONGODB,
        "schedules",
        "content, and whom it is for, sealed under the data key; hashes of whom",
        None,
        "its sender deletes it",
        erased="they are taken out; deleted where it is for them alone",
        exported=("schedules",),
    ),
    Kept(
        Where.MONGODB,
        "broadcast_marks",
        "id, and what they marked of notifications to everybody",
        0,
        "with its broadcast; what was marked as a whole until erased",
        erased="deleted",
        exported=("broadcast_marks",),
    ),
    Kept(
        Where.MONGODB,
        "suppressions",
        "a keyed hash of an address, and why it gets nothing",
        None,
        "an operator removes it",
        erased="stays: without the address it says nothing",
        exported=("suppressions",),
    ),
    Kept(
        Where.MONGODB,
        "erasures",
        "a keyed hash of the id; the id itself until the erasing is done",
        400 * _DAY_S,
        "nothing from before it can come any more",
        erased="stays, so that nothing brings them back",
        not_exported="there is nobody to ask any more",
    ),
    Kept(Where.MONGODB, "direct", "", 90 * _DAY_S, "long after it was sent; it has neither address nor text"),
    Kept(Where.MONGODB, "groups", "", None, "it is deleted, and all its members are out"),
    Kept(Where.MONGODB, "templates", "", None, "it is deleted"),
    Kept(Where.MONGODB, "template_versions", "", None, "its template is deleted"),
    Kept(Where.MONGODB, "broadcasts", "", 0, "it retires; its content is for everybody"),
    Kept(
        Where.NATS,
        "INTAKE_<lane>",
        "id; content and address, sealed under the data key",
        None,
        "dispatch has worked on it, and 5 s",
        "worked on, and sent to nobody",
        not_exported="under way",
    ),
    Kept(
        Where.NATS,
        "DELIVERY_<lane>",
        "id",
        None,
        "it was worked on, and 5 s",
        "worked on, and not sent",
        not_exported="under way",
    ),
    Kept(
        Where.NATS,
        "RETRY",
        "id",
        None,
        "it was worked on, and 5 s; three days at most",
        "worked on, and not sent",
        not_exported="under way",
    ),
    Kept(
        Where.NATS,
        "SCHEDULE",
        "id; content and address, sealed under the data key",
        None,
        "it is due, a year at most, and 5 s",
        "worked on at once, and sent to nobody; who is among others is taken out",
        not_exported="under way",
    ),
    Kept(
        Where.NATS,
        "REALTIME",
        "id; content, sealed under the data key",
        4 * _HOUR_S,
        "sockets cannot ask for it any more",
        "purged",
        not_exported="a copy for sockets",
    ),
    Kept(
        Where.NATS,
        "EVENT",
        "id, and how deliveries ended",
        7 * _DAY_S,
        "the recorder has it, and a week",
        "stays, and is written down for nobody",
        not_exported="stands in `notifications`",
    ),
    Kept(
        Where.NATS,
        "REVOKED",
        "id",
        8 * _DAY_S,
        "no token from before is valid any more",
        "stays: it keeps their sockets closed",
        not_exported="says only that sessions ended",
    ),
    Kept(
        Where.NATS,
        "DEAD",
        "id",
        None,
        "the store has it, and 5 s",
        "goes to the store, and is deleted there",
        not_exported="under way",
    ),
    Kept(
        Where.REDIS,
        "crown:presence:",
        "id, while they have sockets; when they were last active",
        30 * _DAY_S,
        "they were away for so long",
        "deleted; sockets are closed",
        ("last_active_time",),
    ),
    Kept(
        Where.REDIS,
        "crown:filter:",
        "id; when something went to them, and how much they read, as numbers",
        _DAY_S,
        "a filter does not hear of it any more",
        "deleted",
        not_exported="counts that follow from `notifications`",
    ),
    Kept(
        Where.REDIS,
        "crown:sms:",
        "keyed hashes of a phone number and of a caller, and how much went there",
        30 * _DAY_S,
        "its hour or day is over; the id of a text from them, by the hash of its id, 30 days",
        "goes by itself",
        not_exported="says nothing without the number",
    ),
    Kept(Where.REDIS, "crown:key:", "", _DAY_S, "a caller's key cannot come again"),
    Kept(Where.REDIS, "crown:quota:", "", None, "a caller's share is full again"),
    Kept(Where.REDIS, "crown:rate:", "", None, "a provider's rate is not in use"),
)


def of(where: Where) -> dict[str, Kept]:
    """What one of them keeps, by name."""
    return {kept.name: kept for kept in TABLE if kept.where is where}
