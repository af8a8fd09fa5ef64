"""What a template sees of a notification: plain texts, numbers, lists and objects, and nothing that leads
anywhere."""

from __future__ import annotations

import math
from typing import Any

from google.protobuf.struct_pb2 import Struct, Value

from crown.catalogue import CATEGORIES
from crown.notification.v1.notification_pb2 import NotificationData
from crown.notification.v1.types_pb2 import Category
from crown.rendering import Links

_DEPTH_MOST = 20


def values(
    data: NotificationData,
    links: Links,
    *,
    kind: str,
    category: Category.Type.ValueType,
    sender_name: str,
    unsubscribe_url: str,
) -> dict[str, Any]:
    """The variables of a template, all of `compiled.NAMES` but `locale`. Links that are not allowed are empty."""
    return {
        "title": data.title,
        "message": data.message,
        "action_url": links.action(data.action_url),
        "image_url": links.image(data.image_url),
        "extra": _object(data.extra, _DEPTH_MOST),
        "kind": kind,
        "category": CATEGORIES.get(category, ""),
        "sender_name": sender_name,
        "unsubscribe_url": unsubscribe_url,
    }


def _object(given: Struct, depth: int) -> dict[str, Any]:
    return {name: _value(value, depth - 1) for name, value in given.fields.items()}


def _value(given: Value, depth: int) -> Any:
    if depth < 0:
        return ""
    match given.WhichOneof("kind"):
        case "string_value":
            return given.string_value
        case "number_value":
            return given.number_value if math.isfinite(given.number_value) else str(given.number_value)
        case "bool_value":
            return given.bool_value
        case "struct_value":
            return _object(given.struct_value, depth)
        case "list_value":
            return [_value(one, depth - 1) for one in given.list_value.values]
        case _:
            return None
