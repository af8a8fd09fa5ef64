"""The built-in e-mail templates with their examples, and a picture for those that show one."""

from __future__ import annotations

import math
import struct
import zlib
from functools import cache
from typing import Any

from google.protobuf.json_format import ParseDict

from crown.catalogue import KINDS
from crown.notification.v1.notification_pb2 import NotificationData
from crown.notification.v1.types_pb2 import Category
from crown.rendering import Links
from services.email.templates import builtin
from services.email.templates.compiled import Compiled
from services.email.templates.text import Rendered
from services.email.templates.values import values

LINKS = Links("https://crown.example", ("crown.example",))
UNSUBSCRIBE = "https://api.crown.example/unsubscribe/AQ3kZ0hb"


def said(name: str, language: str, **given: Any) -> Rendered:
    """What a built-in template says of its example, with these fields over it."""
    example = {**builtin.examples()[name], **given}
    if "image_url" in example:
        example["image_url"] = f"{LINKS.public_url}{example['image_url']}"
    category = KINDS[name].category if name in KINDS else Category.ACTIVITY
    seen = values(
        ParseDict(example, NotificationData()),
        LINKS,
        kind=name,
        category=category,
        sender_name="Crown",
        unsubscribe_url="" if category == Category.SECURITY else UNSUBSCRIBE,
    )
    return _compiled(name, language).render({**seen, "locale": language}, LINKS)


@cache
def _compiled(name: str, language: str) -> Compiled:
    return Compiled(builtin.all_builtin()[name].texts[language])


@cache
def picture_of(width: int, height: int) -> bytes:
    """A sunset over a harbour, as PNG."""
    rows = (b"\0" + bytes(_row(y, width, height)) for y in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(b"".join(rows), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def _row(y: int, width: int, height: int) -> bytearray:
    sea, part = 0.66, y / height
    if part > sea:
        colour = (52 - int(30 * part), 84 - int(40 * part), 128 - int(50 * part))
    else:
        colour = (250 - int(70 * part), 168 + int(40 * part), 134 + int(70 * part))
    row = bytearray(bytes(colour) * width)
    for x in range(width):
        hill = sea - 0.10 - 0.07 * math.sin(x / width * 6 + 0.6) - 0.03 * math.sin(x / width * 17)
        sun = (x - width * 0.72) ** 2 + (y - height * 0.44) ** 2 < (height * 0.11) ** 2
        if part <= sea and sun:
            row[3 * x : 3 * x + 3] = bytes((255, 243, 214))
        if hill < part <= sea:
            row[3 * x : 3 * x + 3] = bytes((84, 74, 112))
    return row
