"""What to do when an attempt broke off and nobody can say whether the provider took it. Sending again may
reach the person twice, not sending may not reach them at all; which is worse depends on channel and category.

| channel | category  | then                                                                     |
| ------- | --------- | ------------------------------------------------------------------------ |
| push    | any       | `resend`: the device shows one message, by its collapse id               |
| email   | any       | `resend`, with the same Message-ID, which many receivers drop            |
| sms     | security  | `once`: sent again, but once; a miss is worse than a repetition          |
| sms     | all other | `park`: final state UNKNOWN, in the dead letters                         |
| webhook | any       | `resend`: its receiver knows repetitions by their id                     |

For SMS, where a repetition is worst, the provider is asked first, where it can list what it took."""

from __future__ import annotations

from collections.abc import Mapping

from crown.notification.v1.types_pb2 import Category, Channel

_RESENDS: Mapping[str, int] = {"resend": 1_000, "once": 1, "park": 0}
_CHANNELS = {"push": Channel.PUSH, "email": Channel.EMAIL, "sms": Channel.SMS, "webhook": Channel.WEBHOOK}
_CATEGORIES = {name.lower(): value for name, value in Category.Type.items() if value}
_USUAL = "*.*=resend,sms.*=park,sms.security=once"


class Policy:
    """What follows an unknown outcome, by channel and category."""

    def __init__(self, resends: Mapping[tuple[int, int], int]) -> None:
        self._resends = resends

    def resends_allowed(self, channel: Channel.Type.ValueType, category: Category.Type.ValueType) -> int:
        """How often a delivery may be sent again after an unknown outcome."""
        return self._resends.get((channel, category), self._resends.get((channel, 0), 0))


def parse(text: str) -> Policy:
    """The usual policy with the changes that a setting names: `sms.marketing=park,email.*=once`. What stands later
    wins. Raises ValueError."""
    resends: dict[tuple[int, int], int] = {}
    for part in filter(None, (part.strip() for part in f"{_USUAL},{text}".split(","))):
        where, _, word = (piece.strip() for piece in part.partition("="))
        channel, _, category = where.partition(".")
        if word not in _RESENDS or not (_known(channel, _CHANNELS) and _known(category, _CATEGORIES)):
            raise ValueError(
                f"must be channel.category=word with {', '.join(_CHANNELS)} or *, then"
                f" {', '.join(_CATEGORIES)} or *, then {', '.join(_RESENDS)}"
            )
        for one in _CHANNELS.values() if channel == "*" else (_CHANNELS[channel],):
            for other in (0, *_CATEGORIES.values()) if category == "*" else (_CATEGORIES[category],):
                resends[one, other] = _RESENDS[word]
    return Policy(resends)


def _known(name: str, among: Mapping[str, int]) -> bool:
    return name == "*" or name in among


USUAL = parse("")


def asks_first(channel: Channel.Type.ValueType) -> bool:
    """Whether the provider is asked what became of an attempt before anything is decided."""
    return channel == Channel.SMS
