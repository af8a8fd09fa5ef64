"""The client of the suite, for callers in Python.

    async with Client("localhost:3005", token=token) as client:
        notification_id = await client.send(user_id="user123", type="push", title="Hello", message="There")

Each call has a deadline, and is tried again with the same idempotency key where that cannot send twice. Errors
are those of crown/errors.py: Unavailable means that nothing happened, OutcomeUnknown that nobody can say. The same
without asyncio is crown/client/sync. It needs grpcio, protobuf and googleapis-common-protos, and nothing else of what
the services need."""

from __future__ import annotations

from crown.client.bulk import Sent
from crown.client.calls import Patience, TokenSource
from crown.client.chosen import Preferences
from crown.client.contact import Contact
from crown.client.draft import draft
from crown.client.marks import ALL
from crown.client.root import Client

__all__ = ["ALL", "Client", "Contact", "Patience", "Preferences", "Sent", "TokenSource", "draft"]
