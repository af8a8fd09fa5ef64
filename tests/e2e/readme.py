"""Takes the commands out of a README and runs them as a reader would: one after the other, in one shell."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stack.ports import DEFAULT_BASE
from stack.settings import ROOT

LIMIT_S = 120
# A fence opens with three or more of the same sign and closes with as many, on a line of their own.
_FENCE = re.compile(r"^(?P<indent> {0,3})(?P<fence>`{3,}|~{3,})[ \t]*(?P<word>[\w-]*)[^\n]*$")
# What would run these tests again, or take away the stack that they run on.
_FORBIDDEN = re.compile(r"\bmake (test|check|clean|down|fault|bench)|\bcrown (clean|down)\b|\bgit clone\b")
_PORT = re.compile(r"\b(?P<host>localhost|127\.0\.0\.1):(?P<port>\d{4,5})\b")
_MARK = "=== block"


@dataclass(frozen=True)
class Block:
    """Commands that belong together, and the line of the README that they begin at."""

    line: int
    text: str


def blocks(readme: str) -> list[Block]:
    """The fenced blocks marked `sh`, in order. What is not to be run has another mark, such as `console`."""
    found: list[Block] = []
    opened: re.Match[str] | None = None
    body: list[str] = []
    for number, line in enumerate(readme.splitlines(), start=1):
        fence = _FENCE.match(line)
        if opened is None:
            opened, body = fence, []
        elif fence and not fence["word"] and fence["fence"].startswith(opened["fence"]):
            if opened["word"] == "sh":
                found.append(Block(number - len(body), "\n".join(body)))
            opened = None
        else:
            body.append(line.removeprefix(opened["indent"]))
    assert opened is None, "a fence is never closed"
    return found


def moved(text: str, base: int) -> str:
    """The text with the default ports of a stack moved to those of the stack at `base`."""

    def move(found: re.Match[str]) -> str:
        distance = int(found["port"]) - DEFAULT_BASE
        return f"{found['host']}:{base + distance}" if 0 <= distance < 100 else found[0]

    return _PORT.sub(move, text)


def run(found: list[Block], base: int, home: Path) -> Mapping[int, str]:
    """Runs the blocks and answers what each printed, by its line. Fails where a command fails, and where a
    block must not be run here: nothing is passed over."""
    for block in found:
        assert not _FORBIDDEN.search(block.text), f"line {block.line}: not to be run, so fence it as console"
    # One shell, since a reader has one, too: what a block sets, the next ones find.
    script = "\n".join(f"printf '\\n{_MARK} {block.line}\\n'\n{moved(block.text, base)}" for block in found)
    environment = {**os.environ, "CROWN_STACK_PORT_BASE": str(base), "CROWN_STACK_HOME": str(home)}
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=LIMIT_S,
    )  # fmt: skip
    printed = _by_line(ran.stdout)
    assert ran.returncode == 0, f"line {max(printed, default=0)} and on: {ran.stdout[-3000:]}"
    return printed


def _by_line(printed: str) -> dict[int, str]:
    # What is printed need not end with a line break, so that a mark brings its own.
    parts = re.split(rf"\n{_MARK} (\d+)\n", printed)
    return {int(line): text for line, text in zip(parts[1::2], parts[2::2], strict=True)}
