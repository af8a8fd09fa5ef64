"""Named scripts, short enough to type: an outage, a slow day, and the like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from stack import strict
from stack.sandbox.script import SCHEDULE_LIMIT_S, Behaviour, Latency, Match, Name, Order, Seconds

Preset = Literal[
    "outage", "slow", "flaky", "throttled", "down", "garbage", "cut", "reset",
    "invalid", "unregistered", "bounce", "complaint", "late", "repeated", "disordered", "forged",
]  # fmt: skip

SENDING: tuple[Name, ...] = ("sendgrid", "twilio", "sns", "fcm", "web_push")
_TELLING: tuple[Name, ...] = ("sendgrid", "twilio", "sns")


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /script with a preset. Without `provider` it is for all that it can be for."""

    preset: Preset
    provider: Name | None = None
    match: Match = Match()
    times: Annotated[int, msgspec.Meta(ge=1)] | None = None
    start_s: Annotated[float, msgspec.Meta(ge=0, le=SCHEDULE_LIMIT_S)] = 0
    seconds: Seconds | None = None


def _callbacks(*callbacks: Mapping[str, Any]) -> Behaviour:
    return msgspec.convert({"callbacks": callbacks}, Behaviour)


_GONE = {"error": {"code": 404, "message": "Requested entity was not found.", "status": "NOT_FOUND", "details": [
    {"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": "UNREGISTERED"},
]}}  # fmt: skip
_NO_NUMBER = {"code": 21211, "message": "Invalid 'To' Phone Number", "status": 400,
              "more_info": "https://www.twilio.com/docs/errors/21211"}  # fmt: skip
_NO_SNS_NUMBER = (
    '<ErrorResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><Error><Type>Sender</Type>'
    "<Code>InvalidParameter</Code><Message>Invalid parameter: PhoneNumber Reason: it is not valid to publish to"
    "</Message></Error><RequestId>0</RequestId></ErrorResponse>"
)
_NO_ADDRESS = {"errors": [{"message": "Does not contain a valid address.", "field": "personalizations.0.to.0.email",
                           "help": None}]}  # fmt: skip


def _all(behaviour: Behaviour, providers: tuple[Name, ...] = SENDING) -> dict[Name, Behaviour]:
    return dict.fromkeys(providers, behaviour)


_PERCENT: Mapping[Preset, float] = {"flaky": 30}

_BEHAVIOURS: Mapping[Preset, Mapping[Name, Behaviour]] = {
    "outage": _all(Behaviour(hang=True)),
    "down": _all(Behaviour(status=503)),
    "slow": _all(Behaviour(latency=Latency(median_s=2, p99_s=15))),
    "flaky": _all(Behaviour(status=500)),
    "throttled": _all(Behaviour(status=429, headers={"Retry-After": "5"})),
    "garbage": _all(Behaviour(status=200, body="<html>It works!</html>")),
    "cut": _all(Behaviour(cut=True)),
    "reset": _all(Behaviour(reset="after")),
    "invalid": {
        "sendgrid": Behaviour(status=400, body=_NO_ADDRESS),
        "twilio": Behaviour(status=400, body=_NO_NUMBER),
        "sns": Behaviour(status=400, body=_NO_SNS_NUMBER),
        "fcm": Behaviour(status=400),
        "web_push": Behaviour(status=400),
    },
    "unregistered": {"fcm": Behaviour(status=404, body=_GONE), "web_push": Behaviour(status=410)},
    "bounce": _all(_callbacks({"event": "bounce", "after_s": 0.5}), _TELLING),
    "complaint": {
        "sendgrid": _callbacks(
            {"event": "processed", "after_s": 0.1},
            {"event": "delivered", "after_s": 0.5},
            {"event": "complaint", "after_s": 1},
        )
    },
    "late": _all(_callbacks({"event": "delivered", "after_s": 30}), _TELLING),
    "repeated": _all(_callbacks({"event": "delivered", "after_s": 0.5, "times": 3}), _TELLING),
    "disordered": {
        "sendgrid": _callbacks({"event": "delivered", "after_s": 0.1}, {"event": "processed", "after_s": 1}),
        "twilio": _callbacks({"event": "delivered", "after_s": 0.1}, {"event": "queued", "after_s": 1}),
        "sns": _callbacks({"event": "delivered", "after_s": 0.1}, {"event": "queued", "after_s": 1}),
    },
    "forged": _all(_callbacks({"event": "bounce", "after_s": 0.5, "signed": "wrong"}), _TELLING),
}

_decoder = msgspec.json.Decoder(Asked)


def read(body: bytes) -> list[Order]:
    """The orders that a preset stands for. Raises strict.Violation naming the field that is wrong."""
    asked = strict.decode(_decoder, body)
    behaviours = _BEHAVIOURS[asked.preset]
    if asked.provider is not None and asked.provider not in behaviours:
        problem = f"{asked.preset} is for {', '.join(behaviours)}"
        raise strict.Violation(strict.Fault.VALUE, ("provider",), problem)
    return [
        Order(
            provider=provider,
            match=asked.match,
            times=asked.times,
            percent=_PERCENT.get(asked.preset, 100),
            start_s=asked.start_s,
            seconds=asked.seconds,
            answer=behaviour,
        )
        for provider, behaviour in behaviours.items()
        if asked.provider in (None, provider)
    ]


def is_preset(body: bytes) -> bool:
    """Whether the body of POST /script names one, good or not."""
    try:
        return "preset" in msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False


def choices() -> dict[str, list[str]]:
    """Every preset, with the providers that it is for."""
    return {name: list(behaviours) for name, behaviours in _BEHAVIOURS.items()}
