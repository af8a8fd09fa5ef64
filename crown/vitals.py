"""What a process says of itself to operators who watch: the present values of some of its metrics, on the bus, when
it is asked. Nobody asks while nobody watches, so that this costs nothing then; services/realtime/vitals.py asks.

There is nothing of people in it, as there is nothing of them in any metric."""

from __future__ import annotations

import os
import socket
import time

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from crown import logs, metrics, subjects

log = logs.get(__name__)

# Samples that are told, by name, as /metrics has them. One that this process does not have is left out.
TOLD = frozenset(
    {
        "crown_accepted_total",
        "crown_attempt_errors_total",
        "crown_attempt_seconds_bucket",
        "crown_bus_connected",
        "crown_consumer_pending",
        "crown_consumer_unsettled",
        "crown_dead_letters_total",
        "crown_deliveries_in_flight",
        "crown_deliveries_paused",
        "crown_dispatched_total",
        "crown_frames_total",
        "crown_handed_seconds_bucket",
        "crown_loop_lag_seconds_bucket",
        "crown_outcomes_total",
        "crown_presence_entries",
        "crown_problems_total",
        "crown_provider_state",
        "crown_refused_total",
        "crown_rpc_seconds_bucket",
        "crown_socket_refusals_total",
        "crown_sockets",
        "crown_stream_bytes",
        "crown_stream_messages",
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
    }
)
# Those that only grow, of which rates are made; the others are levels.
_GROWING = ("_total", "_bucket")
# Several nodes may ask at about the same time: one answer is for all.
_LEAST_PERIOD_S = 0.5

# Labels and value.
Sample = tuple[dict[str, str], float]

_STARTED = time.time()
_ID = os.urandom(6).hex()
_PLACE = f"{socket.gethostname()}:{os.getpid()}"


class Snapshot(msgspec.Struct, frozen=True):
    """The metrics of one process at one moment. `id` is another after each start, `place` is host and pid, `time_s`
    is by a clock of the process's own."""

    process: str
    place: str
    id: str
    started: float
    time_s: float
    samples: dict[str, list[Sample]]


_DECODER = msgspec.json.Decoder(Snapshot)


def grows(name: str) -> bool:
    """True of samples that only grow while their process runs."""
    return name.endswith(_GROWING)


def snapshot(process: str) -> Snapshot:
    """This process now."""
    found: dict[str, list[Sample]] = {}
    for name, labels, value in metrics.present(TOLD):
        # What has never happened tells nothing.
        if value or not grows(name):
            found.setdefault(name, []).append((labels, value))
    return Snapshot(process, _PLACE, _ID, _STARTED, time.monotonic(), found)


def read(body: bytes) -> Snapshot:
    """What a process told. Raises msgspec.DecodeError."""
    return _DECODER.decode(body)


async def answer(client: Client, process: str) -> None:
    """Tells from now on how this process is, whenever somebody asks. Raises what the client raises."""
    told = -_LEAST_PERIOD_S

    async def hear(_message: Msg) -> None:
        nonlocal told
        present = time.monotonic()
        if present - told < _LEAST_PERIOD_S:
            return
        told = present
        try:
            await client.publish(subjects.VITALS_TOLD, msgspec.json.encode(snapshot(process)))
        except nats.errors.Error as error:
            log.debug("vitals_untold", error=type(error).__name__)

    await client.subscribe(subjects.VITALS_ASKED, cb=hear)
