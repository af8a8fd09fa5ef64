"""`make fuzz`: each parser of tests/fuzz/targets.py under inputs that Atheris makes up, guided by what they reach.
What breaks one is added to its corpus, so that the unit tests fail on it until it is mended. With --keep, inputs that
reached something new stay as well."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz import corpora

_INPUT_MOST_BYTES = 2_048
# Seconds that one input may take, and MiB that a parser may hold.
_HANG_S, _MEMORY_MIB = 5, 1_024
# What stays of a run: what is new is seldom long.
_KEPT_MOST, _KEPT_MOST_BYTES = 60, 400
_NOISE = re.compile(r"INFO|WARNING|#\d")
_RUNS = re.compile(r"^#(\d+)", re.MULTILINE)


def main() -> int:
    """Runs the targets that are named, or all. Answers 1 where one broke."""
    reader = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    reader.add_argument("targets", nargs="*")
    reader.add_argument("--seconds", type=int, default=10, help="for each target")
    reader.add_argument("--keep", action="store_true", help="keep what reached something new")
    reader.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    reader.add_argument("--corpus", type=Path, help=argparse.SUPPRESS)
    asked = reader.parse_args()
    if asked.child:
        _fuzz(asked.targets[0], asked.corpus, asked.seconds)
        return 0
    from tests.fuzz.targets import TARGETS

    names = asked.targets or list(TARGETS)
    return int(not all([_run(name, asked.seconds, asked.keep) for name in names]))  # noqa: C419 -- every one runs


def _run(name: str, seconds: int, keep: bool) -> bool:
    """Fuzzes one target in a process of its own, and says how it went. False where it broke."""
    known = corpora.read(name)
    with tempfile.TemporaryDirectory() as temporary:
        folder, broken = Path(temporary, "corpus"), Path(temporary, "broken")
        folder.mkdir()
        broken.mkdir()
        for number, one in enumerate(known):
            (folder / f"known-{number}").write_bytes(one)
        command = [sys.executable, "-m", "tests.fuzz", "--child", "--corpus", str(folder), "--seconds"]
        began = time.monotonic()
        child = subprocess.run([*command, str(seconds), name], capture_output=True, text=True)
        breaking = [path.read_bytes() for path in sorted(broken.iterdir())]
        new = [path.read_bytes() for path in folder.iterdir() if not path.name.startswith("known-")]
    runs = max(map(int, _RUNS.findall(child.stderr)), default=0)
    _say(
        f"{name:15} {runs:9,} inputs in {time.monotonic() - began:4.0f} s, {len(new):4} that reached something new"
    )
    if child.returncode:
        said = (child.stdout + child.stderr).splitlines()
        _say("\n".join(line for line in said if not _NOISE.match(line))[-3_000:])
    small = [one for one in new if len(one) <= _KEPT_MOST_BYTES] if keep else []
    room = max(0, _KEPT_MOST - len(known))
    corpora.write(name, [*known, *breaking, *sorted(small, key=len)[:room]])
    return not child.returncode


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _fuzz(name: str, folder: Path, seconds: int) -> None:
    """Never returns: libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=["crown", "services"]):
        from tests.fuzz.targets import TARGETS
    options = {
        "max_total_time": seconds,
        "max_len": _INPUT_MOST_BYTES,
        "timeout": _HANG_S,
        "rss_limit_mb": _MEMORY_MIB,
        "artifact_prefix": f"{folder.parent}/broken/",
    }
    given = [f"-{option}={value}" for option, value in options.items()]
    atheris.Setup([name, *given, str(folder)], TARGETS[name], enable_python_coverage=True)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
