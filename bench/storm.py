"""A realtime process is killed with everybody on it, while messages go on: all come back at once and say where they
were. What counts is how long that takes, and that nothing is lost and nothing comes twice."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from bench import signing
from bench.child import Answer, BenchError, Child
from bench.site import Site
from bench.table import Figure
from stack.secrets import read
from stack.settings import LOOPBACK

PEOPLE, PEOPLE_QUICK = 10_000, 2_000
PER_S = 1_000
BACK_MOST_S = 10.0
_SECONDS, _SECONDS_QUICK = 15, 5
_BEFORE_S = 1.0
_LIMIT_S = 60


async def measure(site: Site) -> list[Figure]:
    """Once."""
    count = PEOPLE_QUICK if site.quick else PEOPLE
    people = [f"storm{number:05d}" for number in range(count)]
    tokens = signing.tokens(site.stack, people)
    members = [(token, f"user:{person}") for token, person in zip(tokens, people, strict=True)]
    async with Child("bench.returning") as crowd, Child("bench.publisher") as publisher:
        port = site.stack.settings.ports.websocket()
        await crowd.ask(_LIMIT_S, enter=members, host=LOOPBACK, port=port, limit_s=_LIMIT_S)
        key = read(Path(site.stack.environment("realtime")["CROWN_DATA_KEY_FILE"]))
        await publisher.ask(10, open={"nats": site.nats(), "people": people, "data_key": key})
        answer, cpu_s = await _storm(site, crowd, publisher)
    if answer["away_s"] is None:
        raise BenchError(f"not all of {count:,} came back")
    return _figures(count, answer, cpu_s)


async def _storm(site: Site, crowd: Child, publisher: Child) -> tuple[Answer, float]:
    """What they saw, and the CPU seconds of the process that they came back to, its start among them."""
    expect = PER_S * (_SECONDS_QUICK if site.quick else _SECONDS)
    async with asyncio.TaskGroup() as tasks:
        riding = tasks.create_task(crowd.ask(_LIMIT_S + 10, ride=True, expect=expect, limit_s=_LIMIT_S))
        sent = tasks.create_task(publisher.ask(_LIMIT_S, to="frames", count=expect, per_s=PER_S))
        await asyncio.sleep(_BEFORE_S)
        gone = site.stack.kill("realtime", signal.SIGKILL)
        await asyncio.to_thread(site.stack.wait_healthy, "realtime", gone)
        await sent
        answer = await riding
    return answer, site.cpu_s(site.stack.pid("realtime"))


def _figures(count: int, answer: Answer, cpu_s: float) -> list[Figure]:
    lost, repeated, away_s = answer["lost"], answer["repeated"], answer["away_s"]
    return [
        Figure(
            f"{count:,} come back to a process that was killed",
            f"{away_s:.1f} s",
            reach=f"≤ {BACK_MOST_S:g} s",
            reached=away_s <= BACK_MOST_S,
            note=f"{PER_S:,} messages/s meanwhile; its start included; {cpu_s:.1f} s CPU; "
            f"load {answer['cpu']:.2f} of a core",
        ),
        Figure(
            "  messages lost, repeated",
            f"{lost:,}, {repeated:,}",
            f"{answer['heard']:,} came",
            reach="0, 0",
            reached=lost == repeated == 0,
            note=f"{answer['recovered']:,} recovered, {answer['unrecovered']:,} were told to read the inbox",
        ),
    ]
