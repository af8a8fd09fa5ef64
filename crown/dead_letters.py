"""Dead letters as services other than their keeper see them. What operators do with them stands in
services/ingest/dead/service.py.

A letter: {_id, state, reason, error, channel, notification_id, user_id, delivery_id, kind, category, sender,
provider, attempts, claims, create_time, update_time, update_by, stream, sequence, body, replay_id}. What is
not known is empty. `body` is there where the message could not be read, `replay_id` where a replay of many has
come by."""

from __future__ import annotations

from crown.clock import now
from crown.notification.v1.types_pb2 import DeadLetterState
from crown.store import Database

# Who settled it, where no operator did.
PROVIDER = "provider"


async def reconcile(db: Database, delivery_id: str) -> int:
    """Marks the open dead letters of a delivery as settled by its provider's later word, and answers how many
    there were. The same call twice is harmless. Raises PyMongoError."""
    changed = await db.dead_letters.update_many(
        {"delivery_id": delivery_id, "state": DeadLetterState.OPEN},
        {"$set": {"state": DeadLetterState.RECONCILED, "update_time": now(), "update_by": PROVIDER}},
    )
    return int(changed.modified_count)
