"""No process keeps what it was sent: how its memory goes as very many hostile inputs of every kind come by. `make
hostile` tries a hundred thousand, for ten minutes at most, and publishes; the ordinary run, a thousand, is too short
for a slope to say anything, and only shows that this works."""

from __future__ import annotations

import asyncio
import statistics
import time

import grpc
import psutil
import pytest

from stack.control import Stack
from tests import figures
from tests.e2e.rest import Rest
from tests.trust.counting import Count, each
from tests.trust.spoiling import Spoiler
from tests.trust.test_hostile import try_grpc, try_grpc_web, try_rest

pytestmark = pytest.mark.usefixtures("steady")
COLUMNS = ("process", "inputs tried", "MB before", "MB after", "KiB per 10,000 inputs, after the warm-up")
COMMAND = "make hostile"
SEED = 20_261_151
# So many here for each input of a surface elsewhere, and seconds after which no more are begun.
TIMES = 20
LONGEST_S = 600.0
# Inputs after which a slope says something, and the part of them after which caches are full: services that get few
# of them take long to get warm.
LEAST = 50_000
WARM_UP = 0.4
SAMPLES = 100
SLOPE_MOST_BYTES = 1 << 20
# Stores hold what they are for; the sandbox and the mailbox are the outside.
OTHERS = {"mongod", "nats", "valkey", "sandbox", "mailbox"}


async def test_memory(
    stack: Stack, rest: Rest, channel: grpc.aio.Channel, number: int, pytestconfig: pytest.Config
) -> None:
    spoiler, count, total = Spoiler(SEED), Count("memory"), TIMES * number
    processes = {
        one.name: psutil.Process(one.pid) for one in stack.status() if one.pid and one.name not in OTHERS
    }
    samples: dict[str, list[tuple[int, int]]] = {name: [] for name in processes}
    began = time.monotonic()

    async def attempt(index: int) -> None:
        if index % max(total // SAMPLES, 1) == 0:
            for name, process in processes.items():
                samples[name].append((index, process.memory_info().rss))
        if time.monotonic() - began > LONGEST_S:
            return
        match index % 5:
            case 0 | 1:
                await try_rest(rest, spoiler, count)
            case 2 | 3:
                await try_grpc(rest, channel, spoiler, count)
            case _:
                await try_grpc_web(rest, spoiler, count)

    await each(total, attempt)
    # What was accepted is worked off before the last look.
    await asyncio.sleep(1)
    assert (count.faults, count.undocumented, count.hung) == (0, 0, 0), count
    slopes = {name: slope([at for at in found if at[0] <= count.tried]) for name, found in samples.items()}
    if pytestconfig.getoption("inputs", None):
        rows = [
            (
                name,
                f"{count.tried:,}",
                f"{found[0][1] / 1e6:.0f}",
                f"{found[-1][1] / 1e6:.0f}",
                f"{slopes[name] * 10_000 / 1024:.0f}",
            )
            for name, found in samples.items()
        ]
        figures.publish("memory", COLUMNS, rows, command=COMMAND)
    if count.tried >= LEAST:
        assert max(slopes.values()) * 10_000 < SLOPE_MOST_BYTES, slopes


def slope(samples: list[tuple[int, int]]) -> float:
    """Bytes an input, by a line through what came after the warm-up."""
    late = samples[int(len(samples) * WARM_UP) :]
    found: float = statistics.linear_regression(*zip(*late, strict=True)).slope
    return found
