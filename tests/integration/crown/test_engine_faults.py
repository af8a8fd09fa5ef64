"""The engine when processes and servers die under it: nothing is lost, and nothing is sent twice that need not
be."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest
from pymongo.errors import AutoReconnect

from crown import delivery
from crown.ledger import Change, Ledger
from crown.notification.v1.types_pb2 import Channel
from crown.outcome import Delivered, Outcome, Retry
from crown.provider import Attempt
from tests.integration.crown.scripted import Scripted, delivering
from tests.integration.local import Local
from tests.integration.rig import Rig, until

pytestmark = pytest.mark.usefixtures("quick")

ADDRESS = {"device_tokens": ["token"], "phone": "+14155550123", "email": "a@b.org"}


@pytest.fixture(scope="module")
async def dispatching(local: Local) -> AsyncIterator[None]:
    """A dispatcher works all the time."""
    async with local.dispatching():
        yield


@pytest.fixture
def busy(dispatching: None, local: Local) -> Local:
    """Everything, while a dispatcher works."""
    return local


async def open_of(local: Local, notification_ids: list[str]) -> int:
    where = {"notification_id": {"$in": notification_ids}}
    found = [row["open"] async for row in local.db.ledger.find(where, {"open": 1})]
    return sum(map(bool, found)) + len(notification_ids) - len(found)


async def ended(local: Local, notification_ids: list[str], within_s: float = 40.0) -> None:
    """Returns when every delivery of these is final."""
    await until(partial(open_of, local, notification_ids), lambda count: count == 0, within_s)


async def states(local: Local, notification_ids: list[str], channel: str) -> Counter[str]:
    return Counter([(await local.state(one, channel))[0] for one in notification_ids])


# -- a process dies between any two of its steps

PLACES = ("delivery.after_claim", "delivery.after_send", "delivery.after_record")


async def crashed(
    rig: Rig, local: Local, place: str, channel: str, folder: Path
) -> tuple[list[str], Counter[str]]:
    """Twenty deliveries, whose worker dies at `place`; another one ends them. Answers the notifications, and how
    often each delivery was sent."""
    armed, written = folder / f"armed-{channel}", folder / f"written-{channel}"
    armed.touch()
    found = [await local.send(type=channel, address=ADDRESS) for _ in range(20)]
    await local.dispatched()
    command = ["-m", "tests.integration.crown.worker", channel, str(written)]
    async with rig.started(command, f"worker-{channel}", CROWN_FAILPOINT=f"{place}:{armed}") as service:
        assert await service.ended() == -signal.SIGKILL
    after = Scripted()
    async with delivering(local, getattr(Channel, channel), after):
        await ended(local, found)
    lines = written.read_text().split() if written.exists() else []
    return found, Counter([*lines, *(attempt.delivery_id for attempt in after.sent)])


@pytest.mark.parametrize("place", PLACES)
async def test_a_crash_between_any_two_steps_loses_nothing(
    rig: Rig, busy: Local, tmp_path: Path, place: str
) -> None:
    (pushes, pushed), (texts, texted) = await asyncio.gather(
        *(crashed(rig, busy, place, channel, tmp_path) for channel in ("PUSH", "SMS"))
    )
    # A push goes again where nobody can say, and only there.
    assert await states(busy, pushes, "push") == {"DELIVERED_TO_PROVIDER": 20}
    assert len(pushed) == 20
    assert set(pushed.values()) <= ({1, 2} if place == "delivery.after_send" else {1})
    # A text never goes twice; where nobody can say, that is what the ledger says.
    assert set(texted.values()) <= {1}
    counted = await states(busy, texts, "sms")
    assert set(counted) <= {"DELIVERED_TO_PROVIDER", "UNKNOWN"}
    assert bool(counted["UNKNOWN"]) == (place != "delivery.after_record")
    assert counted["DELIVERED_TO_PROVIDER"] <= len(texted)
    letters = [letter for letter in await busy.letters("sms") if letter.delivery.notification_id in texts]
    assert [letter.reason for letter in letters] == ["OUTCOME_UNKNOWN"] * counted["UNKNOWN"]


# -- a process is stopped for longer than its claims hold, and goes on


@dataclass
class Listing(Scripted):
    """A provider that can say what it was sent, by whomever: what a process wrote into `written` is such."""

    written: Path = Path()

    async def find(self, attempt: Attempt, since: datetime) -> Outcome | None:
        """What is written down."""
        self.asked.append(attempt)
        return Delivered("listed") if attempt.delivery_id in self.sent_by_all() else Retry("NOT_LISTED")

    def sent_by_all(self) -> Counter[str]:
        """How often each delivery was sent."""
        lines = self.written.read_text().split() if self.written.exists() else []
        return Counter([*lines, *(attempt.delivery_id for attempt in self.sent)])


async def test_a_process_that_was_stopped_does_not_send_what_others_took_over(
    rig: Rig, busy: Local, tmp_path: Path
) -> None:
    armed, written = tmp_path / "armed", tmp_path / "written"
    armed.write_text("SIGSTOP")
    peer = Listing("written", written=written)
    found = [await busy.send(type="SMS", address=ADDRESS) for _ in range(2)]
    await busy.dispatched()
    # It works on a few at a time, so that little of what comes again goes to the one that cannot hear.
    command = ["-m", "tests.integration.crown.worker", "SMS", str(written), str(delivery.LEASE_S), "2"]
    async with rig.started(command, "sleeper", CROWN_FAILPOINT=f"delivery.after_claim:{armed}") as sleeper:
        await sleeper.stands()
        async with delivering(busy, Channel.SMS, peer):
            await ended(busy, found)
        assert sleeper.process is not None
        claims = await busy.db.claims.count_documents({"worker": {"$regex": f":{sleeper.process.pid}:"}})
        # What a claim was held of was asked about, once the claim had ended.
        assert len(peer.asked) == claims > 0
        sleeper.signal(signal.SIGCONT)

        async def dropped_or_sent() -> int:
            sent = written.read_text().split() if written.exists() else []
            return sleeper.events().count("claim_too_old") + len(sent)

        await until(dropped_or_sent, lambda count: count >= claims)
        await sleeper.stop()
    assert await states(busy, found, "sms") == {"DELIVERED_TO_PROVIDER": 2}
    assert list(peer.sent_by_all().values()) == [1, 1]


# -- servers die, or hang


async def run_through(local: Local, trouble: asyncio.Task[None]) -> list[str]:
    found = await asyncio.gather(*(local.send(type="EMAIL", address=ADDRESS) for _ in range(150)))
    await trouble
    await ended(local, found)
    return list(found)


@pytest.mark.parametrize("server", ["mongod", "nats"])
async def test_a_server_that_dies_costs_nothing(rig: Rig, busy: Local, server: str) -> None:
    provider = Scripted(slow_s=0.05)

    async def trouble() -> None:
        await until(lambda: _count(provider))
        await rig.killed(server)

    async with delivering(busy, Channel.EMAIL, provider, in_flight=20):
        found = await run_through(busy, asyncio.create_task(trouble()))
    assert await states(busy, found, "email") == {"DELIVERED_TO_PROVIDER": len(found)}
    sends = Counter(attempt.notification_id for attempt in provider.sent)
    assert set(sends) >= set(found)
    # What was under way when the store died may have lost its claim's answer; nothing else goes twice.
    assert sum(sends.values()) - len(sends) <= (20 if server == "mongod" else 0)


async def _count(provider: Scripted) -> int:
    return len(provider.sent)


async def test_while_the_store_hangs_nothing_is_sent_and_then_all_is(rig: Rig, busy: Local) -> None:
    provider = Scripted()
    async with delivering(busy, Channel.EMAIL, provider) as engine:
        first = await busy.send(type="EMAIL", address=ADDRESS)
        await ended(busy, [first])
        async with rig.suspended("mongod"):
            assert not await engine.healthy()
            found = [await busy.send(type="EMAIL", address=ADDRESS) for _ in range(20)]
            await asyncio.sleep(0.5)
            assert len(provider.sent) == 1
        await ended(busy, found)
    assert Counter(attempt.notification_id for attempt in provider.sent) == Counter([first, *found])


async def test_an_outcome_is_kept_until_the_store_is_back(rig: Rig, busy: Local) -> None:
    """The store dies between the provider's yes and our note of it."""
    sent, go_on = asyncio.Event(), asyncio.Event()
    provider = Scripted()

    async def step(_attempt: Attempt) -> Outcome:
        sent.set()
        await go_on.wait()
        return Delivered("kept")

    person = busy.somebody()
    provider.steps[person] = [step]
    async with delivering(busy, Channel.SMS, provider):
        notification_id = await busy.send(type="SMS", address=ADDRESS, user_id=person)
        await sent.wait()
        killing = asyncio.create_task(rig.killed("mongod"))
        await asyncio.sleep(0.1)
        go_on.set()
        await killing
        await ended(busy, [notification_id])
    assert await busy.state(notification_id, "sms") == ("DELIVERED_TO_PROVIDER", "")
    assert len(provider.sent) == 1


async def test_an_outcome_is_recorded_once_the_store_answers_again(
    busy: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails for longer than the driver tries by itself."""
    record, failed = Ledger._record, 0

    async def away(ledger: Ledger, changes: list[Change]) -> list[bool]:
        nonlocal failed
        if failed < 2:
            failed += 1
            raise AutoReconnect("away")
        return await record(ledger, changes)

    monkeypatch.setattr(Ledger, "_record", away)
    provider = Scripted()
    async with delivering(busy, Channel.SMS, provider):
        notification_id = await busy.send(type="SMS", address=ADDRESS)
        await ended(busy, [notification_id])
    assert failed == 2
    assert len(provider.sent) == 1


async def test_stopping_lets_the_last_ones_finish(busy: Local) -> None:
    provider = Scripted(slow_s=0.5)
    found = [await busy.send(type="EMAIL", address=ADDRESS) for _ in range(30)]
    await busy.dispatched()
    async with delivering(busy, Channel.EMAIL, provider, in_flight=10):
        await until(lambda: _count(provider))
    # Left at once, with ten under way: they are finished, and no further one is begun.
    done = len(found) - await open_of(busy, found)
    assert done == len(provider.sent)
    assert 1 <= done <= 20
    async with delivering(busy, Channel.EMAIL, provider):
        await ended(busy, found)
    assert len(provider.sent) == len(found)
