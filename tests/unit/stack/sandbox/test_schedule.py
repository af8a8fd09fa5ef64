"""Scripts by schedule, by chance and by name, on a clock that the test turns."""

from __future__ import annotations

import random
import statistics
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec
import pytest

from stack.sandbox import preset, script
from stack.sandbox.ledger import Draft
from stack.sandbox.script import Behaviour, Latency, Scripts

if TYPE_CHECKING:
    from tests.unit.stack.sandbox.conftest import Sandbox

SMS = {"To": "+14155550100", "From": "+15005550006", "Body": "x"}


class Scene:
    """Scripts with a clock of their own."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.scripts = Scripts(lambda: self.now, random.Random(7))

    def order(self, **order: Any) -> None:
        self.scripts.apply(script.read(msgspec.json.encode({"provider": "fcm", **order})))

    def statuses(self, *moments: float) -> list[int | None]:
        """What calls at these seconds are answered; None: as ever."""
        found = []
        for moment in moments:
            self.now = 1_000.0 + moment
            behaviour = self.scripts.take("fcm", "POST", [Draft("device")])
            found.append(behaviour.status if behaviour else None)
        return found


def test_a_behaviour_holds_from_its_start_for_its_time() -> None:
    scene = Scene()
    scene.order(start_s=10, seconds=60, answer={"status": 503})
    assert scene.statuses(0, 9.9, 10, 69.9, 70, 71) == [None, None, 503, 503, None, None]
    assert scene.scripts.pending() == []


def test_phases_follow_each_other() -> None:
    scene = Scene()
    scene.order(seconds=10, answer={"status": 500})
    scene.order(start_s=10, seconds=10, answer={"status": 429})
    scene.order(start_s=5, seconds=30, answer={"status": 503})
    assert scene.statuses(1, 9, 11, 19, 21, 36) == [500, 500, 429, 429, 503, None]


def test_times_and_time_both_end_it() -> None:
    scene = Scene()
    scene.order(times=2, seconds=10, answer={"status": 500})
    assert scene.statuses(1, 2, 3) == [500, 500, None]


def test_some_of_the_calls_fail_the_rest_go_on_to_the_next_script() -> None:
    scene = Scene()
    scene.order(percent=30, answer={"status": 500})
    scene.order(percent=50, answer={"status": 429})
    found = scene.statuses(*range(2_000))
    assert 0.27 < found.count(500) / 2_000 < 0.33
    assert 0.31 < found.count(429) / 2_000 < 0.39


def test_what_waits_says_when_it_comes_and_goes() -> None:
    scene = Scene()
    scene.order(start_s=10, seconds=60, times=5, answer={"hang": True})
    scene.order(answer={"status": 500})
    scene.statuses(1)
    first, second = scene.scripts.pending()
    assert (first.starts_in_s, first.ends_in_s, first.times, first.used) == (9, 69, 5, 0)
    assert (second.starts_in_s, second.ends_in_s, second.times, second.used) == (0, None, None, 1)


def test_latency_has_its_median_and_its_tail() -> None:
    chance, latency = random.Random(7), Latency(median_s=0.2, p99_s=2)
    drawn = sorted(latency.draw(chance) for _ in range(5_000))
    assert statistics.median(drawn) == pytest.approx(0.2, rel=0.1)
    assert drawn[4_950] == pytest.approx(2, rel=0.3)
    widest = Latency(median_s=299, p99_s=300)
    assert max(widest.draw(chance) for _ in range(500)) == 300


async def test_a_list_of_orders_begins_at_once(sandbox: Sandbox) -> None:
    orders = [
        {"provider": "twilio", "answer": {"status": 500}, "times": 1},
        {"provider": "fcm", "clear": True},
    ]
    assert await sandbox.call("POST", "/script", json=orders) == (200, {"queued": {"twilio": 1, "fcm": 0}})
    assert (await sandbox.sms(**SMS))[0] == 500


async def test_a_preset_is_enough(sandbox: Sandbox) -> None:
    order = {"preset": "throttled", "provider": "twilio", "seconds": 60}
    assert await sandbox.call("POST", "/script", json=order) == (200, {"provider": "twilio", "queued": 1})
    status, body = await sandbox.sms(**SMS)
    assert (status, body["code"]) == (429, 20429)
    _, body = await sandbox.call("GET", "/script")
    [pending] = body["scripts"]
    assert 58 < pending["ends_in_s"] <= 60
    assert "outage" in body["presets"]


async def test_a_preset_without_a_provider_is_for_all(sandbox: Sandbox) -> None:
    _, body = await sandbox.call("POST", "/script", json={"preset": "down", "times": 1})
    assert set(body["queued"]) == {"sendgrid", "twilio", "sns", "fcm", "web_push"}


@pytest.mark.parametrize(("name", "providers"), preset.choices().items(), ids=preset.choices())
def test_every_preset_makes_good_orders(name: str, providers: list[str]) -> None:
    for provider in providers:
        [order] = preset.read(msgspec.json.encode({"preset": name, "provider": provider}))
        plain = msgspec.to_builtins(order.answer)
        written = {
            key: value for key, value in plain.items() if value != msgspec.to_builtins(Behaviour()).get(key)
        }
        script.read(msgspec.json.encode({"provider": provider, "answer": written}))


async def test_an_answer_is_cut_in_the_middle(sandbox: Sandbox) -> None:
    await sandbox.script(provider="twilio", answer={"cut": True}, times=1)
    path = f"/2010-04-01/Accounts/{sandbox.twilio_sid}/Messages.json"
    headers = {"Authorization": aiohttp.encode_basic_auth(sandbox.twilio_sid, sandbox.twilio_token)}
    async with sandbox.http.post(sandbox.url + path, data=SMS, headers=headers) as answer:
        assert answer.status == 201
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    assert len(await sandbox.entries()) == 1


BAD: dict[str, tuple[Any, str]] = {
    "unknown preset": ({"preset": "tornado"}, "preset"),
    "preset of another": ({"preset": "unregistered", "provider": "twilio"}, "provider"),
    "preset and answer": ({"preset": "slow", "answer": {}}, "answer"),
    "no time": ({"preset": "slow", "seconds": 0}, "seconds"),
    "percent": ({"provider": "fcm", "percent": 101, "answer": {}}, "percent"),
    "start": ({"provider": "fcm", "start_s": -1, "answer": {}}, "start_s"),
    "two latencies": (
        {"provider": "fcm", "answer": {"delay_s": 1, "latency": {"median_s": 1, "p99_s": 2}}},
        "answer.latency",
    ),
    "tail below the median": (
        {"provider": "fcm", "answer": {"latency": {"median_s": 2, "p99_s": 1}}},
        "answer.latency.p99_s",
    ),
    "cut of nothing": ({"provider": "fcm", "answer": {"hang": True, "cut": True}}, "answer.cut"),
    "callbacks of FCM": ({"provider": "fcm", "answer": {"callbacks": [{"event": "x"}]}}, "answer.callbacks"),
    "unknown event": (
        {"provider": "sns", "answer": {"callbacks": [{"event": "delivered"}, {"event": "open"}]}},
        "answer.callbacks.1.event",
    ),
    "old Twilio": (
        {"provider": "twilio", "answer": {"callbacks": [{"event": "sent", "signed": "old"}]}},
        "answer.callbacks.0.signed",
    ),
    "in a list": ([{"provider": "fcm", "answer": {}}, {"provider": "fcm", "answer": {"x": 1}}], "1.answer.x"),
    "an empty list": ([], ""),
}


@pytest.mark.parametrize(("order", "field"), BAD.values(), ids=BAD.keys())
async def test_a_bad_schedule_is_refused_by_field(sandbox: Sandbox, order: Any, field: str) -> None:
    status, body = await sandbox.call("POST", "/script", json=order)
    assert (status, body["field"]) == (400, field), body
    assert (await sandbox.call("GET", "/script"))[1]["scripts"] == []
