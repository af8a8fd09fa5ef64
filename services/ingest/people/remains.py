"""What stays in the books of somebody who was erased: rows that say how deliveries ended, and nothing of whose they
were. Nothing here reads or writes."""

from __future__ import annotations

from datetime import datetime

from crown import ids
from crown.erasures import ERASED, Erasures
from crown.ledger import FINAL, row_id
from crown.notification.v1.types_pb2 import DeliveryState
from crown.store import Document

_KEPT = (
    "notification_id",
    "create_time",
    "decide_time",
    "expire_time",
    "kind",
    "category",
    "lane",
    "channels",
    "sender",
)
_KEPT_OF_DELIVERY = ("state", "decided", "reason", "attempts", "claims", "provider", "update_time")
_SUPPRESSED = {"state": DeliveryState.SUPPRESSED, "reason": ERASED, "due_time": None}


def remains(row: Document, erasures: Erasures, moment: datetime) -> Document:
    """What stays of a row."""
    pseudonym = erasures.pseudonym(row["notification_id"], row["user_id"])
    deliveries = {
        channel: _remains(delivery, ids.delivery(row["notification_id"], pseudonym, channel), moment)
        for channel, delivery in row["deliveries"].items()
    }
    return {
        "_id": row_id(row["notification_id"], pseudonym),
        "user_id": pseudonym,
        **{name: row[name] for name in _KEPT if name in row},
        "wrapped_key": b"",
        "deliveries": deliveries,
        "open": [],
        "hidden": True,
        "delete_time": row.get("delete_time") or moment,
    }


def _remains(delivery: Document, delivery_id: str, moment: datetime) -> Document:
    kept = {name: delivery[name] for name in _KEPT_OF_DELIVERY if name in delivery}
    if delivery["state"] not in FINAL:
        kept |= {**_SUPPRESSED, "update_time": moment}
    return {"id": delivery_id, **kept}
