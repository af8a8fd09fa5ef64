"""The client of the suite for programs without asyncio, scripts and threads alike:

    with Client("localhost:3005", token=token) as client:
        notification_id = client.send(user_id="user123", type="push", title="Hello", message="There")

It has the methods of crown.client, without `await`, and the same deadlines, retries and errors. It is made from that
one by tools/sync_client.py, and speaks gRPC without an event loop. Threads may share a client; forks may not."""

from __future__ import annotations

from crown.client.bulk import Sent
from crown.client.calls import Patience
from crown.client.chosen import Preferences
from crown.client.contact import Contact
from crown.client.draft import draft
from crown.client.marks import ALL
from crown.client.sync.calls import TokenSource
from crown.client.sync.root import Client

__all__ = ["ALL", "Client", "Contact", "Patience", "Preferences", "Sent", "TokenSource", "draft"]
