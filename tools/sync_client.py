"""Makes crown/client/sync from the client with asyncio: the same code without `async` and `await`, on the same gRPC
without its asyncio. With --check: fails where the committed files are others. What waits in another way, calls.py and
streaming.py, is written by hand there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

CLIENT = Path(__file__).parent.parent / "crown" / "client"
MADE = (
    "choices", "dead_letters", "direct", "groups", "inbox", "live", "operations", "people", "root",
    "schedules", "suppressions", "templates",
)  # fmt: skip
# Modules that the other half has of its own, under the same name.
_OWN = "|".join((*MADE, "calls", "streaming"))
_WORDS = (
    (r"\b__aenter__\b", "__enter__"),
    (r"\b__aexit__\b", "__exit__"),
    (r"\basync (def|for|with) ", r"\1 "),
    (r"\bawait ", ""),
    (r"\bAsyncIterator\b", "Iterator"),
    (r"\bAsyncGenerator\[([^]]+), None\]", r"Generator[\1, None, None]"),
    (r"\bAsyncGenerator\b", "Generator"),
    (r"\baclosing\b", "closing"),
    (r"\bgrpc\.aio\.", "grpc."),
    (rf"\bcrown\.client\.({_OWN})\b", r"crown.client.sync.\1"),
)


def made(name: str) -> str:
    """The module as the other half has it."""
    source = _without_parentheses((CLIENT / f"{name}.py").read_text())
    for pattern, replacement in _WORDS:
        source = re.sub(pattern, replacement, source)
    source = f"# Made from crown/client/{name}.py by tools/sync_client.py: change that one.\n{source}"
    for command in (["check", "--quiet", "--fix", "--unsafe-fixes", "--exit-zero"], ["format", "--quiet"]):
        ruff = ["ruff", *command, "--stdin-filename", f"crown/client/sync/{name}.py", "-"]
        source = subprocess.run(ruff, input=source, capture_output=True, text=True, check=True).stdout
    return source


def _without_parentheses(source: str) -> str:
    """`(await x).y` as `await x.y`, which means the same once there is no await."""
    while found := re.search(r"(?<!\w)\(await ", source):
        begin, depth = found.start(), 0
        for end in range(begin, len(source)):
            depth += {"(": 1, ")": -1}.get(source[end], 0)
            if depth == 0:
                break
        source = source[:begin] + source[begin + 1 : end] + source[end + 1 :]
    return source


def main() -> None:
    """Writes the modules, or compares them."""
    stale = []
    for name in MADE:
        target = CLIENT / "sync" / f"{name}.py"
        text = made(name)
        if "--check" not in sys.argv:
            target.write_text(text)
        elif not target.exists() or target.read_text() != text:
            stale.append(f"crown/client/sync/{name}.py")
    if stale:
        sys.exit(f"{', '.join(stale)}: run 'python tools/sync_client.py' and commit what it changes")


if __name__ == "__main__":
    main()
