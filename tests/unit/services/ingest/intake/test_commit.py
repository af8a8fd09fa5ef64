"""Group commit: when requests go alone, when together, and what each is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from crown import metrics
from crown.bus import BusError, NoTaker, Outgoing
from crown.errors import BusUnavailable, CrownError, IntakeFull, OutcomeUnknown
from services.ingest.intake import commit
from services.ingest.intake.commit import GroupCommit

SUBJECT = "crown.intake.normal"
Answer = Callable[[list[bytes]], BaseException | None]


class FakeBus:
    """Remembers what is published. `gate` holds answers back; `answer` says what each publish raises."""

    def __init__(self) -> None:
        self.published: list[list[bytes]] = []
        self.stored: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.answer: Answer = lambda _payloads: None
        # Whether a link that was lost is soon there again.
        self.comes_back = False

    async def back(self) -> bool:
        return self.comes_back

    async def until(self, done: Callable[[], bool]) -> None:
        """Waits for what is about to happen; fails where it does not within a second."""
        async with asyncio.timeout(1):
            while not done():  # noqa: ASYNC110 -- bounded, and there is nothing to wait on
                await asyncio.sleep(0.001)

    async def publish_batch(self, messages: list[Outgoing], timeout_s: float = 5.0) -> None:
        payloads = [message.data for message in messages]
        assert {message.subject for message in messages} == {SUBJECT}
        self.published.append(payloads)
        self.headers.extend(dict(message.headers or {}) for message in messages)
        await self.gate.wait()
        if (error := self.answer(payloads)) is not None:
            raise error
        self.stored.extend(payloads)


@pytest.fixture
def bus() -> FakeBus:
    return FakeBus()


@pytest.fixture
def group(bus: FakeBus, monkeypatch: pytest.MonkeyPatch) -> GroupCommit:
    monkeypatch.setattr(commit, "_AGAIN_S", 0.0)
    return GroupCommit(bus, SUBJECT)  # type: ignore[arg-type]


def payload(number: int) -> bytes:
    return f"n{number}".encode()


async def put_many(group: GroupCommit, count: int) -> list[BaseException | None]:
    puts = (group.put([payload(number)]) for number in range(count))
    return await asyncio.gather(*puts, return_exceptions=True)


def in_turn(*errors: BaseException | None) -> Answer:
    """Each error once, then none."""
    left = list(errors)
    return lambda _payloads: left.pop(0) if left else None


def commits() -> dict[str, float]:
    return {form: metrics.COMMITS.labels(form)._value.get() for form in ("plain", "batch")}


async def test_a_lone_request_is_a_plain_publish(bus: FakeBus, group: GroupCommit) -> None:
    before = commits()
    await group.put([b"a"])
    assert bus.published == [[b"a"]]
    assert commits() == {"plain": before["plain"] + 1, "batch": before["batch"]}


async def test_a_few_at_once_are_plain_publishes_side_by_side(bus: FakeBus, group: GroupCommit) -> None:
    bus.gate.clear()
    puts = asyncio.gather(*(group.put([payload(n)]) for n in range(10)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [len(payloads) for payloads in bus.published] == [1] * 10
    bus.gate.set()
    await puts


async def test_many_at_once_go_in_few_batches(bus: FakeBus, group: GroupCommit) -> None:
    before = commits()
    assert await put_many(group, 500) == [None] * 500
    assert sorted(bus.stored) == sorted(payload(n) for n in range(500))
    assert len(bus.published) <= 15
    after = commits()
    assert after["plain"] + after["batch"] - before["plain"] - before["batch"] == len(bus.published)


async def test_a_slow_disk_brings_those_together_that_come_one_by_one(
    bus: FakeBus, group: GroupCommit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit, "_BUSY_WITHIN_S", 0.0)
    bus.gate.clear()
    puts = [asyncio.create_task(group.put([payload(n)])) for n in range(40)]
    await bus.until(lambda: len(bus.published) == 11)
    bus.gate.set()
    await asyncio.gather(*puts)
    assert [len(payloads) for payloads in bus.published] == [1] * 10 + [30]
    await group.put([b"alone"])
    assert bus.published[-1] == [b"alone"]


async def test_what_comes_meanwhile_rides_the_next(bus: FakeBus, group: GroupCommit) -> None:
    bus.gate.clear()
    puts = [asyncio.create_task(group.put([payload(n)])) for n in range(30)]
    await bus.until(lambda: len(bus.published) == 11)
    puts += [asyncio.create_task(group.put([payload(n)])) for n in range(30, 60)]
    await asyncio.sleep(0.02)
    assert len(bus.published) == 11
    bus.gate.set()
    await asyncio.gather(*puts)
    assert [len(payloads) for payloads in bus.published[10:]] == [20, 30]


@pytest.mark.parametrize(
    ("gap_s", "linger_s"), [(0.0001, 0.003), (0.0005, 0.005), (0.0015, 0.010)], ids=["many", "some", "few"]
)
async def test_a_batch_waits_until_about_ten_have_come(
    bus: FakeBus, monkeypatch: pytest.MonkeyPatch, gap_s: float, linger_s: float
) -> None:
    waits: list[float] = []
    loop = asyncio.get_running_loop()
    now_s = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now_s)
    monkeypatch.setattr(loop, "call_later", lambda delay_s, _action: waits.append(delay_s))
    group = GroupCommit(bus, SUBJECT)  # type: ignore[arg-type]
    puts = []
    for number in range(11):
        puts.append(asyncio.create_task(group.put([payload(number)])))
        await asyncio.sleep(0)
        now_s += gap_s
    assert waits == [pytest.approx(linger_s, rel=0.01)]
    group._flush()
    await asyncio.gather(*puts)


async def test_no_batch_is_larger_than_the_server_takes(bus: FakeBus, group: GroupCommit) -> None:
    units = [[payload(n)] * 400 for n in range(20)]
    bus.gate.clear()
    puts = asyncio.gather(*(group.put(unit) for unit in units))
    await asyncio.sleep(0.02)
    bus.gate.set()
    await puts
    assert max(len(payloads) for payloads in bus.published) <= 1_000
    assert len(bus.stored) == 20 * 400


async def test_no_batch_is_larger_than_its_bytes(
    bus: FakeBus, group: GroupCommit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit, "_BATCH_MOST_BYTES", 10)
    await asyncio.gather(*(group.put([b"xxxx"]) for _ in range(40)))
    assert max(sum(map(len, payloads)) for payloads in bus.published) <= 10


async def test_one_request_is_never_split(bus: FakeBus, group: GroupCommit) -> None:
    units = [[f"{n}:{part}".encode() for part in range(n % 7 + 1)] for n in range(200)]
    await asyncio.gather(*(group.put(unit) for unit in units))
    for unit in units:
        (home,) = [payloads for payloads in bus.published if unit[0] in payloads]
        at = home.index(unit[0])
        assert home[at : at + len(unit)] == unit


async def test_the_caller_s_trace_travels_along(bus: FakeBus, group: GroupCommit) -> None:
    await group.put([b"a", b"b"])
    assert [set(headers) for headers in bus.headers] == [{"traceparent"}] * 2


# -- what the bus says


@pytest.mark.parametrize("count", [1, 50])
@pytest.mark.parametrize("error", [IntakeFull("full"), BusUnavailable("away")], ids=["full", "away"])
async def test_a_clear_no_is_told_at_once(
    bus: FakeBus, group: GroupCommit, error: CrownError, count: int
) -> None:
    bus.answer = lambda _payloads: error
    found = await put_many(group, count)
    assert {type(one) for one in found} == {type(error)}
    assert sum(map(len, bus.published)) == count


@pytest.mark.parametrize("count", [1, 50])
async def test_a_link_that_is_soon_there_again_is_waited_for(
    bus: FakeBus, group: GroupCommit, count: int
) -> None:
    """As where one server of a cluster is told to go: nobody is refused for that."""
    bus.comes_back = True
    bus.answer = in_turn(BusUnavailable("away"))
    assert await put_many(group, count) == [None] * count
    assert sorted(bus.stored) == sorted(payload(n) for n in range(count))


@pytest.mark.parametrize("count", [1, 50])
async def test_a_stream_that_changes_its_leader_is_waited_for(
    bus: FakeBus, group: GroupCommit, count: int
) -> None:
    bus.answer = in_turn(*[NoTaker("no leader")] * 3)
    assert await put_many(group, count) == [None] * count
    assert sorted(bus.stored) == sorted(payload(n) for n in range(count))


async def test_a_stream_that_nobody_leads_is_waited_for_once(
    bus: FakeBus, group: GroupCommit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not by each request again: they would pile up while a cluster has no majority."""
    monkeypatch.setattr(commit, "_TURN_S", 0.2)
    bus.answer = lambda _payloads: NoTaker("no leader")
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert {type(one) for one in await put_many(group, 5)} == {NoTaker}
    assert loop.time() - began >= 0.2
    for _ in range(2):
        published = len(bus.published)
        with pytest.raises(NoTaker):
            await group.put([b"a"])
        assert len(bus.published) == published + 1
    # Until one is taken: from then on it is news again.
    bus.answer = in_turn()
    await group.put([b"a"])
    bus.answer = in_turn(NoTaker("no leader"))
    await group.put([b"a"])


async def test_a_refused_batch_is_taken_apart(bus: FakeBus, group: GroupCommit) -> None:
    bus.answer = lambda payloads: BusError(10201, "duplicate in batch") if payload(30) in payloads else None
    found = await put_many(group, 50)
    assert [type(one) for one in found if one is not None] == [BusUnavailable]
    assert found[30] is not None
    assert sorted(bus.stored) == sorted(payload(n) for n in range(50) if n != 30)


async def test_no_confirmation_is_no_refusal(bus: FakeBus, group: GroupCommit) -> None:
    bus.answer = in_turn(OutcomeUnknown("?"), OutcomeUnknown("?"))
    await group.put([b"a"])
    assert bus.published == [[b"a"]] * 3


@pytest.mark.parametrize(
    "error", [BusUnavailable("away"), IntakeFull("full"), BusError(10176, "too many batches")], ids=type
)
async def test_after_no_confirmation_a_no_says_nothing(
    bus: FakeBus, group: GroupCommit, error: BaseException
) -> None:
    """The first try may be stored: only a later yes, or "unknown", is true."""
    bus.answer = in_turn(OutcomeUnknown("?"), error, error)
    await group.put([b"a"])
    assert bus.published == [[b"a"]] * 4


@pytest.mark.parametrize(
    "later", [OutcomeUnknown("?"), BusUnavailable("away"), IntakeFull("full")], ids=["silent", "away", "full"]
)
async def test_in_the_end_nobody_can_say(
    bus: FakeBus, group: GroupCommit, monkeypatch: pytest.MonkeyPatch, later: CrownError
) -> None:
    monkeypatch.setattr(commit, "PATIENCE_S", 0.05)
    first = in_turn(OutcomeUnknown("?"))
    bus.answer = lambda payloads: first(payloads) or later
    with pytest.raises(OutcomeUnknown, match="same idempotency key"):
        await group.put([b"a", b"b"])


async def test_a_bug_is_told_as_not_stored(bus: FakeBus, group: GroupCommit) -> None:
    bus.answer = lambda _payloads: ValueError("a bug")
    assert {type(one) for one in await put_many(group, 20)} == {BusUnavailable}
    bus.answer = lambda _payloads: None
    assert await put_many(group, 20) == [None] * 20


async def test_who_leaves_takes_nothing_back(bus: FakeBus, group: GroupCommit) -> None:
    bus.gate.clear()
    puts = [asyncio.create_task(group.put([payload(n)])) for n in range(30)]
    await asyncio.sleep(0.02)
    for put in puts:
        put.cancel()
    bus.gate.set()
    assert {type(one) for one in await asyncio.gather(*puts, return_exceptions=True)} == {
        asyncio.CancelledError
    }
    await bus.until(lambda: len(bus.stored) == 30)
    await group.put([b"next"])
    assert bus.stored[-1] == b"next"


async def test_nobody_is_left_behind(bus: FakeBus, group: GroupCommit) -> None:
    """Waves that overlap, with refusals among them: every request hears something, in time."""
    errors = [None, IntakeFull("full"), None, OutcomeUnknown("?"), BusError(10176, "many"), None]
    bus.answer = lambda payloads: errors[len(bus.published) % len(errors)]
    puts = []
    for wave in range(20):
        puts += [asyncio.create_task(group.put([payload(wave * 100 + n)] * (n % 3 + 1))) for n in range(40)]
        await asyncio.sleep(0.001 * (wave % 4))
    async with asyncio.timeout(10):
        found = await asyncio.gather(*puts, return_exceptions=True)
    assert {type(one) for one in found} <= {type(None), IntakeFull, BusUnavailable, OutcomeUnknown}
    stored = set(bus.stored)
    for number, one in enumerate(found):
        if one is None:
            assert payload(number // 40 * 100 + number % 40) in stored
