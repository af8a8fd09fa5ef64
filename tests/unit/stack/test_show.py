"""What the command line prints can be typed as it stands."""

from __future__ import annotations

import sys
from pathlib import Path

import jwt
import pytest

from stack import show
from stack.control import Stack

OURS = Path(sys.executable).parent


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    monkeypatch.setenv("PATH", str(OURS), prepend=":")
    monkeypatch.delenv("MAKELEVEL", raising=False)
    return Stack(3000, home=tmp_path)


def test_who_has_it_on_the_path_types_its_name(stack: Stack) -> None:
    assert show.command(stack) == "crown"


def test_who_came_through_make_types_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(OURS), prepend=":")
    monkeypatch.setenv("MAKELEVEL", "1")
    assert show.command(Stack(3000, home=tmp_path)).endswith("bin/crown")
    assert show.command(Stack(3000, home=tmp_path)) != "crown"


def test_a_stack_on_other_ports_is_named(tmp_path: Path) -> None:
    assert show.command(Stack(4000, home=tmp_path)).startswith("CROWN_STACK_PORT_BASE=4000 ")


def test_the_demo_page_is_opened_with_a_token_that_stays_in_the_browser(stack: Stack) -> None:
    address, _, fragment = show.demo(stack, "a b").partition("#")
    assert address == "http://localhost:3005/demo"
    assert fragment.startswith("user=a+b&token=ey")


def test_the_console_is_opened_with_a_token_of_an_operator(stack: Stack) -> None:
    address, _, fragment = show.address_of_console(stack).partition("#token=")
    assert address == "http://localhost:3005/console"
    claims = jwt.decode(fragment, options={"verify_signature": False})
    assert (claims["use"], claims["sub"]) == ("operator", "operator")
