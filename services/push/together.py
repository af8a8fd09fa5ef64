"""One push goes to all devices of a person, whichever provider each is reached by; this makes one outcome of theirs.
Pure.

One that is Unknown makes the attempt Unknown, else one to retry makes it Retry or Snooze; `done` then names the
others. Else it is Delivered where any took it, and Discard where none did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from crown.outcome import Delivered, Discard, Outcome, Retry, Snooze, Unknown


@dataclass(frozen=True, slots=True)
class Gone:
    """The app is not on that device any more, or its token is of another project."""

    error: str


def together(results: Mapping[str, Outcome | Gone]) -> Outcome:
    """The outcome of the attempt by those of its destinations, of which there is at least one. What is still
    to do decides; `done` names the destinations that need nothing more, whether they have it or never can."""
    unknown = [r for r in results.values() if isinstance(r, Unknown)]
    later = [r for r in results.values() if isinstance(r, Retry | Snooze)]
    done = tuple(id for id, r in results.items() if not isinstance(r, Unknown | Retry | Snooze))
    # One result that speaks of the provider does so for all.
    alone = all(result.alone for result in (*unknown, *later))
    if unknown:
        return Unknown(unknown[0].error, done, alone)
    if later:
        return _later(later, done, alone=alone)
    return _final(list(results.values()))


def apart(result: Outcome | Gone) -> Outcome | Gone:
    """`result`, as one that tells nothing of the provider as a whole."""
    return replace(result, alone=True) if isinstance(result, Retry | Snooze | Unknown) else result


def _later(later: list[Retry | Snooze], done: tuple[str, ...], *, alone: bool) -> Outcome:
    """The longest wish counts. One failure that is no request to wait makes it a Retry, which is counted:
    a device that never works must not keep the others snoozing for ever."""
    asked = [r.after_s for r in later if r.after_s is not None]
    after_s = max(asked) if asked else None
    failed = next((r for r in later if isinstance(r, Retry)), None)
    if failed is not None:
        return Retry(failed.error, after_s, done, alone)
    return Snooze(later[0].error, after_s, done, alone)


def _final(results: list[Outcome | Gone]) -> Outcome:
    for kind in (Delivered, Discard):
        found = next((r for r in results if isinstance(r, kind)), None)
        if found is not None:
            return found
    gone = results[0]
    assert isinstance(gone, Gone)
    return Discard("UNREGISTERED", gone.error)
