"""The commands of the README and of the pages that have some work as they stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from stack.control import Stack
from stack.settings import ROOT
from tests.e2e.readme import Block, blocks, moved, run

SAMPLE = """\
# Title
```sh
one
two
```
```console
not this
```
- in a list:
  ~~~~sh extra words
  three
  ```
  still three
  ~~~~
```
nor this
```
"""


def test_blocks_are_found() -> None:
    assert blocks(SAMPLE) == [Block(3, "one\ntwo"), Block(11, "three\n```\nstill three")]


def test_ports_are_moved() -> None:
    assert moved("localhost:3005 127.0.0.1:3009/x localhost:8080", 19000) == (
        "localhost:19005 127.0.0.1:19009/x localhost:8080"
    )


def test_blocks_share_a_shell(tmp_path: Path) -> None:
    assert run([Block(1, "name=heron"), Block(5, "echo $name")], 19000, tmp_path) == {1: "", 5: "heron\n"}


@pytest.mark.parametrize("text", ["false", "echo $unset", "false | true", "if true; then"])
def test_what_fails_fails(tmp_path: Path, text: str) -> None:
    with pytest.raises(AssertionError):
        run([Block(1, text)], 19000, tmp_path)


@pytest.mark.parametrize("text", ["make test", "make down && true", "crown clean"])
def test_what_would_end_the_stack_is_not_run(tmp_path: Path, text: str) -> None:
    with pytest.raises(AssertionError, match="console"):
        run([Block(7, text)], 19000, tmp_path)


@pytest.mark.usefixtures("seeded")
@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "docs/tour.md",
        "docs/api.md",
        "docs/inbox.md",
        "docs/preferences.md",
        "docs/groups.md",
        "docs/streams.md",
        "docs/dead-letters.md",
        "docs/schedules.md",
        "docs/scheduling.md",
        "docs/timeline.md",
        "docs/email.md",
        "docs/templates.md",
        "docs/push.md",
        "docs/sms.md",
        # Last: it clears the sandbox.
        "docs/sandbox.md",
    ],
)
def test_every_command(stack: Stack, page: str) -> None:
    found = blocks((ROOT / page).read_text())
    assert found
    printed = run(found, stack.settings.ports.base, stack.settings.home)
    assert printed.keys() == {block.line for block in found}
    # curl succeeds whatever it is told.
    wrong = ('"type.googleapis.com/google.rpc.', '{"error":')
    errors = [(line, text) for line, text in printed.items() if any(word in text for word in wrong)]
    assert errors == []
