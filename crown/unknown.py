"""What to do when an attempt broke off and nobody can say whether the provider took it. Sending again may
reach the person twice, not sending may not reach them at all; which is worse depends on channel and category.

| channel | category  | then                                                             |
| ------- | --------- | ---------------------------------------------------------------- |
| push    | any       | send again: the device shows one message, by its collapse id     |
| email   | any       | send again with the same Message-ID, which many receivers drop   |
| sms     | security  | send again, once: a miss is worse than a repetition              |
| sms     | all other | leave it: final state UNKNOWN, in the dead letters               |

For SMS, where a repetition is worst, the provider is asked first: it lists what it took.
"""

from __future__ import annotations

from crown.notification.v1.types_pb2 import Category, Channel

_UNLIMITED = 1_000


def resends_allowed(channel: Channel.Type.ValueType, category: Category.Type.ValueType) -> int:
    """How often a delivery may be sent again after an unknown outcome."""
    if channel != Channel.SMS:
        return _UNLIMITED
    return 1 if category == Category.SECURITY else 0


def asks_first(channel: Channel.Type.ValueType) -> bool:
    """Whether the provider is asked what became of an attempt before anything is decided."""
    return channel == Channel.SMS
