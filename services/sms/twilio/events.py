"""What Twilio tells later about texts, read into the suite's own words.

| MessageStatus                                 | callback  |
| --------------------------------------------- | --------- |
| accepted, scheduled, queued, sending, sent    | ACCEPTED  |
| delivered                                     | DELIVERED |
| read                                          | OPENED    |
| undelivered, failed                           | BOUNCED   |
| canceled                                      | DROPPED   |

With the error 21610 the number has said STOP to Twilio, and is suppressed. All else is ignored. Twilio says nothing
of when it happened: the moment that we heard of it counts. Its texts are left aside; only its code is taken over."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

from crown.notification.v1.types_pb2 import CallbackType
from services.sms import told
from services.sms.told import Told

NAME = "twilio"

_TYPES: Mapping[str, CallbackType.Type.ValueType] = {
    **dict.fromkeys(("accepted", "scheduled", "queued", "sending", "sent"), CallbackType.ACCEPTED),
    "delivered": CallbackType.DELIVERED,
    "read": CallbackType.OPENED,
    "undelivered": CallbackType.BOUNCED,
    "failed": CallbackType.BOUNCED,
    "canceled": CallbackType.DROPPED,
}
_STOPPED = "21610"
_SID = re.compile(r"[A-Z]{2}[0-9a-f]{32}")
_CODE = re.compile(r"[0-9]{4,6}")
_DELIVERY_ID = re.compile(r"[0-9a-f]{32}")
_NOTIFICATION_ID = re.compile(r"[0-9a-f-]{32,36}")


def read(
    form: Mapping[str, str], notification_id: str, delivery_id: str, receive_time: datetime
) -> Told | None:
    """What a signed call tells; None where it means nothing here. The ids are those of its address, which is
    signed as well."""
    sid, status, code = form.get("MessageSid", ""), form.get("MessageStatus", ""), form.get("ErrorCode", "")
    if status not in _TYPES or not _SID.fullmatch(sid):
        return None
    event = told.callback(
        NAME,
        sid,
        status,
        _TYPES[status],
        code if _CODE.fullmatch(code) else "",
        receive_time,
        receive_time,
        delivery_id if _DELIVERY_ID.fullmatch(delivery_id) else "",
        notification_id if _NOTIFICATION_ID.fullmatch(notification_id) else "",
    )
    return Told(event, told.number(form.get("To", "")) if code == _STOPPED else "")
