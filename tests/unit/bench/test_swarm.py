"""Who speaks to a swarm never gets further ahead than it may, and what does not arrive is noticed."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from bench import wire
from bench.stream import Wrong
from bench.swarm import Swarm

SIZE = 3


class Server:
    """Passes everything on to all, at once; except that `drop` subscribers at the end never get it."""

    def __init__(self) -> None:
        pairs = [socket.socketpair() for _ in range(SIZE)]
        self.clients = [client for client, _ in pairs]
        self.ends = [end for _, end in pairs]
        for client in self.clients:
            client.setblocking(False)
        self.drop = 0
        self.ahead: list[int] = []
        self.swarm = Swarm(self.clients, self.say)

    def say(self, payload: bytes) -> None:
        """Notes how far ahead of the first subscriber this is."""
        self.ahead.append(len(self.ahead) + 1 - self.swarm.reference.next)
        for end in self.ends[: SIZE - self.drop]:
            end.sendall(wire.heard(payload))


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    for one in (*made.clients, *made.ends):
        one.close()


@pytest.mark.parametrize("in_flight", [1, 5])
def test_it_is_never_further_ahead_than_it_may(server: Server, in_flight: int) -> None:
    taken_s = server.swarm.run(0.02, in_flight, read_every=2)
    assert max(server.ahead) == in_flight
    assert len(taken_s) == len(server.ahead) == server.swarm.reference.next
    assert all(taken >= 0 for taken in taken_s)


def test_a_second_run_goes_on_where_the_first_one_ended(server: Server) -> None:
    first, second = (len(server.swarm.run(0.01, 1, read_every=1)) for _ in range(2))
    assert server.swarm.reference.next == first + second


def test_a_subscriber_that_misses_something_is_noticed(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.swarm._SILENCE_S", 0.05)
    server.drop = 1
    with pytest.raises(Wrong, match="more or less"):
        server.swarm.run(0.01, 1, read_every=1)


def test_so_is_one_that_gets_something_twice(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.swarm._SILENCE_S", 0.05)
    server.swarm.run(0.01, 1, read_every=1)
    server.ends[-1].sendall(wire.heard(b"{}"))
    with pytest.raises(Wrong):
        server.swarm.run(0.01, 1, read_every=1)
