"""`python -m bench [--quick] [row …]`: starts stacks of its own, measures, prints one table, and leaves nothing."""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import psutil
from rich.console import Console

from bench import table
from bench.child import BenchError
from bench.rows import ROWS, Row
from bench.site import Site
from bench.table import Figure
from stack.control import Stack
from stack.errors import StackError

PORT_BASES = range(18200, 18900, 100)
# Servers and providers of the developer's own are not what is measured.
_ELSEWHERE = (
    "NATS_URL", "DATABASE_URL", "DATABASE_URL_FILE", "REDIS_HOST", "REDIS_HOST_FILE", "SMTP_HOST",
    "NOTIFICATION_SERVICE_PORT", "CROWN_STREAM_MAX_BYTES", "CROWN_LOG_LEVEL",
)  # fmt: skip
# Nor may the sandbox tell what became of each message: the cores are for what is measured.
_QUIET = {"CROWN_SANDBOX_CALLBACKS": "off"}
# Above this much work of others, figures say little, and ratios something.
_BUSY_SHARE = 0.2


def main() -> None:
    """Measures the rows that are named, or all."""
    arguments = _arguments()
    rows = [row for row in ROWS if not arguments.rows or row.name in arguments.rows]
    to = table.console()
    _machine(to)
    began = time.monotonic()
    try:
        figures = _measure(rows, arguments.quick, to)
    except (BenchError, StackError) as error:
        print(f"bench: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    to.print()
    table.show(figures, to)
    below = sum(figure.reached is False for figure in figures)
    quick = "; a quick run says less than a whole one" if arguments.quick else ""
    to.print(f"\n{below or 'None'} below its figure; it took {time.monotonic() - began:.0f} s{quick}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Every figure beside its limit.")
    parser.add_argument("--quick", action="store_true", help="in two minutes instead of in ten")
    known = [row.name for row in ROWS]
    parser.add_argument("rows", nargs="*", metavar="row", help=f"only these: {', '.join(known)}")
    arguments = parser.parse_args()
    if unknown := set(arguments.rows) - set(known):
        parser.error(f"no row is called {', '.join(sorted(unknown))}: there are {', '.join(known)}")
    return arguments


def _machine(to: Console) -> None:
    busy = psutil.cpu_percent(1.0) / 100
    to.print(
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}; "
        f"others use {busy:.0%} of the machine"
    )
    if busy > _BUSY_SHARE:
        to.print("[red]The machine is busy with other work: read the ratios, not the figures.[/]")


def _measure(rows: Sequence[Row], quick: bool, to: Console) -> list[Figure]:
    figures: list[Figure] = []
    for (only, env), together in groupby(rows, key=lambda row: row.needs):
        to.print(f"[dim]starting {', '.join(only) or 'the whole suite'}[/]")
        with _stack(only, dict(env)) as stack:
            for row in together:
                to.print(f"[dim]measuring {row.name}[/]")
                figures.extend(asyncio.run(_named(row, Site(stack, quick))))
    return figures


async def _named(row: Row, site: Site) -> list[Figure]:
    try:
        return await row.measure(site)
    except BenchError as error:
        raise BenchError(f"{row.name}: {error}") from error


@contextmanager
def _stack(only: Sequence[str], env: Mapping[str, str]) -> Iterator[Stack]:
    """A stack on the first ports that are free, in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="crown-bench-") as home:
        stack = _up(Path(home), only, env)
        try:
            yield stack
        finally:
            stack.down()


def _up(home: Path, only: Sequence[str], env: Mapping[str, str]) -> Stack:
    for base in PORT_BASES:
        stack = Stack(base, home, only, env={**dict.fromkeys(_ELSEWHERE, ""), **_QUIET, **env})
        try:
            stack.up()
        except StackError as error:
            if "is in use by" not in str(error):
                raise
        else:
            return stack
    raise StackError(f"no ports are free from {PORT_BASES[0]} to {PORT_BASES[-1]}")


if __name__ == "__main__":
    main()
