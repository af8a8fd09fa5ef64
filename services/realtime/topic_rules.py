"""The rules of topics, as they stand beside RealtimeService in its proto."""

from __future__ import annotations

from crown import access
from crown.notification.v1 import realtime_service_pb2

_SERVICE = realtime_service_pb2.DESCRIPTOR.services_by_name["RealtimeService"]

# By what stands before the colon of a topic.
RULES = access.topic_rules(_SERVICE)
