"""`make mutants`: applies each small wrong change to a copy of the tree and says which test catches it."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from tests import figures
from tools.mutants.copies import Copy, Run, own_network
from tools.mutants.mutant import Mutant, StaleMutant
from tools.mutants.table import MUTANTS

ROOT = Path(__file__).resolve().parent.parent.parent
_LANES = 2
_UNCHANGED_LIMIT_S = 900.0
_SAID_LAST = 3_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one: the test that caught it, or why none did."""

    mutant: Mutant
    caught_by: str
    problem: str
    seconds: float


def judge(mutant: Mutant, run: Run) -> Outcome:
    """What a run of its tests says of a mutant. Only a test that fails catches one: a file that cannot be read, or a
    server that does not start, says nothing of what the test asks."""
    if run.code is None and mutant.hangs:
        return Outcome(mutant, f"{mutant.tests[0]} (waits for ever)", "", run.seconds)
    if run.code == 1 and run.failed:
        return Outcome(mutant, run.failed[0], "", run.seconds)
    problem = {0: "survived", 1: "only errors, no test failed", None: "was not done in time"}.get(
        run.code, f"pytest ended with {run.code}"
    )
    return Outcome(mutant, "", problem, run.seconds)


def try_all(mutants: Sequence[Mutant]) -> list[Outcome]:
    """Tries them in lanes side by side, each with a copy and a network of its own. Raises SystemExit where a test
    fails without any change."""
    network = own_network()
    waiting = deque(mutants)
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copies = [
            Copy(ROOT, Path(folder, str(number)), network) for number in range(_LANES if network else 1)
        ]
        _unchanged(copies, mutants)
        _side_by_side(copies, lambda copy: _lane(copy, waiting, outcomes))
    return sorted(outcomes, key=lambda outcome: mutants.index(outcome.mutant))


def _unchanged(copies: Sequence[Copy], mutants: Sequence[Mutant]) -> None:
    """Runs all tests as they are, those of a file in one copy. Raises SystemExit where one fails."""
    names = {test for mutant in mutants for test in mutant.tests}
    files = sorted({name.partition("::")[0] for name in names})

    def share(copy: Copy) -> None:
        mine = set(files[copies.index(copy) :: len(copies)])
        chosen = sorted(name for name in names if name.partition("::")[0] in mine)
        run = copy.test(chosen, _UNCHANGED_LIMIT_S) if chosen else None
        if run is not None and run.code != 0:
            print(run.output[-_SAID_LAST:])
            raise SystemExit("mutants: without any change a test fails, so that none proves anything")

    _side_by_side(copies, share)
    print(f"mutants: {len(names)} tests pass without any change", flush=True)


def _side_by_side(copies: Sequence[Copy], work: Callable[[Copy], None]) -> None:
    """`work` with each copy, at once. Where one raises, or somebody presses Ctrl-C, the tests of all are ended."""
    with ThreadPoolExecutor(len(copies)) as lanes:
        try:
            for done in as_completed([lanes.submit(work, copy) for copy in copies]):
                done.result()
        except BaseException:
            for copy in copies:
                copy.stop()
            raise


def _lane(copy: Copy, waiting: deque[Mutant], outcomes: list[Outcome]) -> None:
    while waiting and not copy.stopped:
        mutant = waiting.popleft()
        with copy.changed(mutant):
            run = copy.test(mutant.tests, mutant.limit_s)
        outcome = judge(mutant, run)
        outcomes.append(outcome)
        print(f"{outcome.seconds:5.1f} s  {mutant.name}: {outcome.caught_by or outcome.problem}", flush=True)
        if outcome.problem and run.code != 0:
            print(run.output[-_SAID_LAST:], flush=True)


def stale(mutants: Sequence[Mutant]) -> list[str]:
    """What is wrong with those that no longer fit the tree."""
    problems = []
    for mutant in mutants:
        try:
            mutant.check(ROOT)
        except StaleMutant as error:
            problems.append(str(error))
    return problems


def main() -> int:
    """Tries the chosen ones; 0 where each was caught."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument(
        "--only", default="", help="those with this text in their name, promise, file or tests"
    )
    parser.add_argument("--quick", action="store_true", help="the few that a quick run tries")
    parser.add_argument("--list", action="store_true", help="name them, and try none")
    parser.add_argument("--publish", action="store_true", help="keep the table for docs/reliability.md")
    said = parser.parse_args()
    chosen = [
        one
        for one in MUTANTS
        if any(said.only in text for text in (one.name, one.promise, one.file, *one.tests))
        and (one.quick or not said.quick)
    ]
    if said.list:
        for one in chosen:
            print(f"{one.name}: {one.promise} ({one.file})")
        return 0
    if problems := stale(chosen):
        print("\n".join(problems), file=sys.stderr)
        return 1
    outcomes = try_all(chosen)
    survivors = [outcome for outcome in outcomes if not outcome.caught_by]
    print(f"mutants: {len(outcomes) - len(survivors)} of {len(outcomes)} caught")
    for outcome in survivors:
        print(f"mutants: {outcome.mutant.name}: {outcome.problem}", file=sys.stderr)
    if said.publish:
        rows = [
            (one.mutant.name, one.mutant.promise, one.caught_by.partition("[")[0] or one.problem)
            for one in outcomes
        ]
        figures.publish("mutants", ("mutant", "promise", "caught by"), rows, command="make mutants")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
