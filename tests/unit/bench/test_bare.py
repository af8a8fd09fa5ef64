"""The load of the realtime rows, tried on the bare loop that they are measured beside."""

from __future__ import annotations

from bench.child import Child

HOST = "127.0.0.1"


async def test_a_swarm_gets_everything() -> None:
    async with Child("bench.bare") as bare, Child("bench.swarm") as load:
        where = await bare.ask(20)
        await load.ask(20, open={"host": HOST, **where, "name": "bare", "path": "/listen", "size": 5})
        found = await load.ask(20, run="bare", seconds=0.1, in_flight=4, read_every=2)
    assert found["deliveries"] > 0
    assert found["deliveries"] % 5 == 0


async def test_players_get_their_answers() -> None:
    said = ["a", "b" * 200]
    async with Child("bench.bare") as bare, Child("bench.pingpong") as load:
        where = await bare.ask(20)
        order = {
            "host": HOST,
            **where,
            "name": "bare",
            "path": "/echo",
            "size": 3,
            "said": said,
            "heard": said,
        }
        await load.ask(20, open=order)
        assert (await load.ask(20, play="bare", seconds=0.1))["rounds"] > 3


async def test_guests_come_in() -> None:
    async with Child("bench.bare") as bare, Child("bench.arrival") as load:
        where = await bare.ask(20)
        found = await load.ask(20, enter=[("/listen", "")] * 50, host=HOST, **where, limit_s=10)
    assert found["seconds"] > 0
