"""The bus: a connection to NATS, streams as crown/subjects.py says, publishing that answers when the bytes are
fsynced, and atomic batches. Pulling stands in crown/pull.py."""

from __future__ import annotations

from crown.bus.bus import BATCH_MOST, Bus
from crown.bus.errors import BusError, NoTaker
from crown.bus.messages import Outgoing, PubAck
from crown.bus.rights import RIGHTS, inbox_prefix

__all__ = ["BATCH_MOST", "RIGHTS", "Bus", "BusError", "NoTaker", "Outgoing", "PubAck", "inbox_prefix"]
