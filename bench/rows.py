"""Every row of the table. A new one is a module with `measure`, and a line here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bench import (
    broadcast,
    bulk,
    campaign,
    connections,
    deliver,
    echo,
    fanout,
    frame,
    history,
    lateness,
    mtls,
    outage,
    stored,
    storm,
    streamed,
    traces,
    unary,
    validating,
    watching,
)
from bench.site import Site
from bench.table import Figure

_Settings = tuple[tuple[str, str], ...]

# Limits work, and are out of the way of load that comes from one machine, as fast as it can.
_CROWD: _Settings = (
    ("CROWN_CONNECTIONS_PER_ADDRESS", "1000000"),
    ("CROWN_ACCEPT_RATE", "1000000"),
    ("CROWN_MESSAGE_RATE", "1000000"),
    ("CROWN_MESSAGE_BURST", "1000000"),
)
_ONE_PERSON: _Settings = (*_CROWD, ("CROWN_CONNECTIONS_PER_USER", "0"))
# Where it is not accepting that is measured, what one caller may send on a lane is no matter.
_ONE_CALLER: _Settings = (("CROWN_NORMAL_RATE", "off"), ("CROWN_CRITICAL_RATE", "off"))
# What text messages may cost is not what is measured.
_NO_CAPS: _Settings = (
    *_ONE_CALLER,
    *(
        (f"CROWN_SMS_{name}_MOST", "100000000")
        for name in ("DAY", "NUMBER_HOUR", "PREFIX_HOUR", "COUNTRY_HOUR")
    ),
)
_CAMPAIGN = ("ingest-api", "ingest-dispatch-critical", "ingest-dispatch", "ingest-dispatch-2")
_TWO: _Settings = (*_ONE_CALLER, ("CROWN_STACK_SCALE", "ingest-dispatch=2"))
_CHANNELS = ("ingest-api", "ingest-dispatch", "email", "push", "sms")


@dataclass(frozen=True, slots=True)
class Row:
    """What is measured, the processes that it needs (nothing else runs then; none named: the whole suite), and
    the settings that they get."""

    name: str
    measure: Callable[[Site], Awaitable[list[Figure]]]
    only: tuple[str, ...] = ()
    env: _Settings = ()

    @property
    def needs(self) -> tuple[tuple[str, ...], _Settings]:
        """Rows with the same needs can share a stack."""
        return self.only, self.env


# Rows with the same needs stand together: they share a stack.
ROWS = (
    Row("unary", unary.measure, only=("ingest-api",)),
    Row("bulk", bulk.measure, only=("ingest-api",)),
    Row("stream", streamed.measure, only=("ingest-api",)),
    Row("trace", traces.measure, only=("ingest-api",)),
    Row("mtls", mtls.measure, only=("ingest-api",)),
    Row("validating", validating.measure, only=("ingest-api",)),
    Row("watching", watching.measure, only=("ingest-api",)),
    Row("deliver", deliver.measure, only=_CHANNELS, env=(*_NO_CAPS, ("CROWN_EMAIL_PROVIDERS", "sendgrid"))),
    Row(
        "deliver-smtp",
        deliver.measure_smtp,
        only=_CHANNELS,
        env=(*_ONE_CALLER, ("CROWN_EMAIL_PROVIDERS", "smtp")),
    ),
    Row("history", history.measure, only=("ingest-api", "ingest-dispatch")),
    Row("lateness", lateness.measure, only=("ingest-api", "ingest-dispatch"), env=_ONE_CALLER),
    Row("stored", stored.measure, only=(*_CHANNELS, "ingest-record"), env=_ONE_CALLER),
    Row("outage", outage.measure, only=_CHANNELS, env=_NO_CAPS),
    Row("dispatch", campaign.measure, only=_CAMPAIGN, env=_TWO),
    Row("fanout-million", campaign.measure_million, only=_CAMPAIGN, env=_TWO),
    Row("frame", frame.measure),
    # Before the others: memory that they gave back would be no news.
    Row("connections", connections.measure, only=("realtime",), env=_CROWD),
    Row("fanout", fanout.measure, only=("realtime",), env=_CROWD),
    Row("storm", storm.measure, only=("realtime",), env=_CROWD),
    Row("broadcast", broadcast.measure, only=("realtime",), env=_ONE_PERSON),
    Row("echo", echo.measure, only=("realtime",), env=_ONE_PERSON),
)
