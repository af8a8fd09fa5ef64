"""How a file of fault tests wants the suite. It says so in a fixture `suite`, and gets a `stack` that is up and a
`scene` with people in it, each once for the file:

    @pytest.fixture(scope="module")
    def suite() -> Suite:
        return Suite(21_000, people=40, given={"CROWN_STACK_SCALE": "sms=3"})

    async def test_it_dies(scene: Site, tmp_path: Path, results: list[Result]) -> None: ..."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stack.control import Stack

# What providers tell by themselves would change states behind the checker's back. SNS takes no id of ours, so that
# what it did could not be told from what nobody asked for.
CHECKABLE: Mapping[str, str] = {"CROWN_SANDBOX_CALLBACKS": "off", "CROWN_SMS_PROVIDERS": "twilio"}


@dataclass(frozen=True, slots=True)
class Suite:
    """Its ports, how many people are on their sockets, whether they have browsers for apps, what is set besides
    CHECKABLE, and which processes run with what they need; none named: all."""

    port_base: int
    people: int = 0
    browsers: bool = False
    given: Mapping[str, str] = field(default_factory=dict)
    only: Sequence[str] = ()

    def stack(self, home: Path) -> Stack:
        """The stack of it, not yet up."""
        return Stack(self.port_base, home, self.only, {**CHECKABLE, **self.given})
