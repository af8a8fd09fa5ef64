"""Each process has ports of its own, at fixed distances from one base."""

from __future__ import annotations

from pathlib import Path

import pytest

from stack import plan
from stack.errors import StackError
from stack.ports import Ports
from stack.settings import Settings


def settings(tmp_path: Path, **given: str) -> Settings:
    return Settings.read({"CROWN_STACK_HOME": str(tmp_path), **given})


def test_no_two_processes_share_a_port(tmp_path: Path) -> None:
    made = plan.make(settings(tmp_path))
    ports = [port for process in made.processes.values() for port in process.ports.values()]
    assert len(ports) == len(set(ports)) == 29


def test_two_stacks_share_no_port(tmp_path: Path) -> None:
    def used(base: int) -> set[int]:
        made = plan.make(settings(tmp_path, CROWN_STACK_PORT_BASE=str(base)))
        return {port for process in made.processes.values() for port in process.ports.values()}

    assert not used(3000) & used(3100)


def test_the_gateway_alone_can_be_moved(tmp_path: Path) -> None:
    moved = settings(tmp_path, NOTIFICATION_SERVICE_PORT="8080").ports
    assert (moved.gateway, moved.nats) == (8080, 3022)


@pytest.mark.parametrize("base", [80, 65500], ids=["below 1024", "past the last port"])
def test_a_base_that_does_not_fit_names_the_variable(base: int) -> None:
    with pytest.raises(StackError, match="CROWN_STACK_PORT_BASE"):
        Ports.at(base)


@pytest.mark.parametrize("value", ["abc", "0", "70000", "-1"])
@pytest.mark.parametrize("name", ["CROWN_STACK_PORT_BASE", "NOTIFICATION_SERVICE_PORT"])
def test_a_wrong_port_names_its_variable(name: str, value: str) -> None:
    with pytest.raises(StackError, match=name):
        Settings.read({name: value})


def test_further_processes_have_ports_of_their_own_far_from_the_others(tmp_path: Path) -> None:
    made = plan.make(settings(tmp_path, CROWN_STACK_SCALE="email=3,realtime=2"))
    ports = [port for process in made.processes.values() for port in process.ports.values()]
    assert len(ports) == len(set(ports))
    first = set(plan.make(settings(tmp_path)).processes)
    more = {name: set(made.processes[name].ports.values()) for name in made.processes if name not in first}
    assert {name: len(found) for name, found in more.items()} == {"email-2": 2, "email-3": 2, "realtime-2": 4}
    assert min(port for found in more.values() for port in found) == 4000


def test_further_processes_make_way_for_a_gateway_that_was_moved() -> None:
    for gateway in range(3999, 4010):
        ports = Ports.at(3000, gateway, ["email-2", "realtime-2"])
        blocks = [{start, start + 1, start + 2, start + 3} for start in ports.blocks.values()]
        assert len(blocks) == 2
        assert not blocks[0] & blocks[1]
        assert gateway not in blocks[0] | blocks[1]


def test_a_base_that_does_not_fit_what_is_scaled() -> None:
    with pytest.raises(StackError, match="CROWN_STACK_PORT_BASE is 65000"):
        Ports.at(65_000, None, ["email-2"])
    assert Ports.at(65_000, None).gateway == 65_005
