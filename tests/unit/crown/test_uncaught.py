"""What nobody caught, and what libraries say, becomes lines like ours, without its text. Each in a process of its
own: what hears of it belongs to the whole process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
CANARY = "ann@heron.example"

BEGINS = f"""
import asyncio, gc, logging, sys, threading, warnings
from crown import logs, uncaught

logs.set_up("email")
uncaught.hear()
ADDRESS = "{CANARY}"

def fails(address=ADDRESS):
    raise ValueError("no mail for " + address)

def in_loop(main):
    async def heard():
        uncaught.hear_loop()
        await main()
    asyncio.run(heard())
"""


def run(code: str) -> tuple[int, list[dict[str, Any]]]:
    """The status and the lines of a process. Whatever it printed, the canary is not in it, and all is JSON."""
    ended = subprocess.run(
        [sys.executable, "-c", BEGINS + code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert "heron" not in ended.stdout + ended.stderr
    assert ended.stderr == ""
    return ended.returncode, [json.loads(line) for line in ended.stdout.splitlines()]


def frames(line: dict[str, Any]) -> list[str]:
    return [frame.rsplit(":", 1)[1] for frame in line["exception"]["frames"]]


def test_what_ends_the_process() -> None:
    status, (line,) = run("fails()")
    assert status == 1
    assert (line["event"], line["level"], line["service"]) == ("uncaught", "error", "email")
    assert frames(line) == ["<module>", "fails"]


def test_what_ends_a_thread() -> None:
    _, (line,) = run("threading.Thread(target=fails).start()")
    assert (line["event"], frames(line)[-1]) == ("thread_failed", "fails")


def test_what_a_thread_ends_by_itself_is_no_fault() -> None:
    assert run("threading.Thread(target=sys.exit).start()") == (0, [])


def test_what_is_raised_while_an_object_goes() -> None:
    _, (line,) = run("""
class Mail:
    def __init__(self, address):
        self.address = address
    def __repr__(self):
        return self.address
    def __del__(self):
        fails(self.address)

Mail(ADDRESS)
""")
    assert (line["event"], line["exception"]["type"]) == ("unraisable", "ValueError")


def test_a_task_that_nobody_waits_for() -> None:
    _, (line,) = run("""
async def send(address):
    fails(address)

async def main():
    task = asyncio.create_task(send(ADDRESS), name=ADDRESS)
    await asyncio.sleep(0)
    del task
    gc.collect()

in_loop(main)
""")
    assert (line["event"], line["what"]) == ("loop_failed", "Task exception was never retrieved")
    assert (line["work"], frames(line)) == ("send", ["send", "fails"])


def test_a_callback_of_the_loop() -> None:
    _, (line,) = run("""
async def main():
    asyncio.get_running_loop().call_soon(fails, ADDRESS)
    await asyncio.sleep(0)

in_loop(main)
""")
    assert (line["event"], line["what"], frames(line)[-1]) == ("loop_failed", "", "fails")


def test_a_loop_that_nobody_hears_tells_it_as_a_library_does() -> None:
    _, (line,) = run("""
async def main():
    asyncio.get_running_loop().call_soon(fails, ADDRESS)
    await asyncio.sleep(0)

asyncio.run(main())
""")
    assert (line["event"], line["library"], frames(line)[-1]) == ("library_error", "asyncio", "fails")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("logger.warning('no mail for %s', ADDRESS)", "no mail for %s"),
        ("logger.warning(f'no mail for {ADDRESS}')", ""),
        ("logger.warning('no mail for ' + ADDRESS)", ""),
        ("logger.warning({'to': ADDRESS})", ""),
    ],
)
def test_a_warning_of_a_library(call: str, words: str) -> None:
    _, (line,) = run(f"logger = logging.getLogger('a.library')\ndef said():\n    {call}\nsaid()")
    assert (line["event"], line["level"], line["library"]) == ("library_warning", "warning", "a.library")
    assert line["words"] == words
    assert line["where"].endswith(":said")


def test_an_error_of_a_library() -> None:
    _, (line,) = run("""
try:
    fails()
except ValueError:
    logging.getLogger("a.library").exception("no mail for %s", ADDRESS)
""")
    assert (line["event"], line["level"], frames(line)[-1]) == ("library_error", "error", "fails")


def test_what_a_library_logs_badly_is_not_printed() -> None:
    """Python itself would print the line's values, and where it stood."""
    run("logging.getLogger('a.library').warning('%d of %d', ADDRESS)")


def test_libraries_are_not_talkative() -> None:
    assert run("logging.getLogger('a').info(ADDRESS); logging.getLogger('nats').warning(ADDRESS)") == (0, [])


def test_a_warning_of_python() -> None:
    _, (line,) = run("warnings.warn(ADDRESS, RuntimeWarning, stacklevel=1)")
    assert (line["event"], line["reason"]) == ("python_warning", "RuntimeWarning")
    assert "where" in line
