"""Judges a fault run from what it left behind, by the promises that the suite makes. Pure: the same history
gives the same verdict, so histories made by hand show that each promise, when broken, is seen to be broken.

| invariant    | says                                                                                      |
| ------------ | ----------------------------------------------------------------------------------------- |
| lost         | what was accepted stands in the ledger, for each person and channel                       |
| terminal     | it ends in exactly one final state, with a reason that is known, and the timeline has it  |
| duplicates   | nobody gets the same twice, but for what the fault can explain                            |
| phantoms     | every effect belongs to a request that was not refused, and reaches the right person      |
| dead letters | what failed or is unknown stands there, and nothing else                                  |
| seen         | what counts as delivered was seen where it went                                           |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from crown import ids
from tests.fault.evidence import Evidence, Row
from tests.fault.history import Answer, Request, Sent

_TO_PROVIDER = "DELIVERED_TO_PROVIDER"
_FINAL = frozenset(
    {_TO_PROVIDER, "DELIVERED", "BOUNCED", "READ", "SUPPRESSED", "EXPIRED", "CANCELLED", "FAILED", "UNKNOWN"}
)
# A provider's later word refines its first one; the delivery ended once all the same.
_REFINED = frozenset({"DELIVERED", "BOUNCED", "READ"})
# Reasons by their first word; a state that is not here has none.
_REASONS: Mapping[str, frozenset[str]] = {
    "SUPPRESSED": frozenset(
        {
            "PREFERENCE_OFF",
            "ALL_OFF",
            "CONSENT_MISSING",
            "FREQUENCY_CAP",
            "READ",
            "NO_ADDRESS",
            "ERASED",
        }
    ),
    "EXPIRED": frozenset({"EXPIRED"}),
    "UNKNOWN": frozenset({"OUTCOME_UNKNOWN"}),
}
_LETTERS: Mapping[str, frozenset[str]] = {
    "UNKNOWN": frozenset({"OUTCOME_UNKNOWN"}),
    "FAILED": frozenset({"PROVIDER_TERMINAL", "RETRIES_EXHAUSTED", "POISON_KILLED_WORKER"}),
}
_SOURCES: Mapping[str, frozenset[str]] = {
    "push": frozenset({"fcm"}),
    "email": frozenset({"sendgrid", "mailbox"}),
    "sms": frozenset({"twilio"}),
}


class Invariant(StrEnum):
    """The promises."""

    LOST = "lost"
    TERMINAL = "terminal"
    DUPLICATES = "duplicates"
    PHANTOMS = "phantoms"
    DEAD_LETTERS = "dead letters"
    SEEN = "seen"


@dataclass(frozen=True, slots=True)
class Problem:
    """One promise broken."""

    invariant: Invariant
    what: str


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the fault may cost, nothing where it is not named: by channel how many effects too many there may
    be, and how many deliveries may end as UNKNOWN, FAILED or EXPIRED."""

    repeats: Mapping[str, int] = field(default_factory=dict)
    ends: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The problems, none where every promise was kept, and the figures."""

    problems: tuple[Problem, ...]
    asked: int
    accepted: int
    refused: int
    unknown: int
    retried: int
    deliveries: int
    lost: int
    states: Mapping[str, int]
    repeats: Mapping[str, int]
    missed_frames: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """One notification on one channel to one person, as the client meant it."""

    id: str
    sent: Sent
    user: str

    @property
    def request(self) -> Request:
        return self.sent.request

    @property
    def at(self) -> tuple[str, str, str]:
        """Its place in the ledger."""
        return self.request.notification_id, self.user, self.request.channel

    def __str__(self) -> str:
        return f"{self.request.channel} of {self.request.notification_id} to {self.user}"


@dataclass(frozen=True, slots=True)
class _Case:
    """The evidence with its indexes."""

    evidence: Evidence
    bounds: Bounds
    deliveries: Mapping[str, Delivery]
    rows: Mapping[tuple[str, str, str], Row]
    # How often each address was reached, by delivery.
    reached: Mapping[str, Counter[str]]

    @classmethod
    def of(cls, history: Iterable[Sent], evidence: Evidence, bounds: Bounds) -> _Case:
        deliveries = {one.id: one for sent in history for one in _deliveries(sent)}
        reached: dict[str, Counter[str]] = {}
        for effect in evidence.effects:
            reached.setdefault(effect.delivery_id, Counter())[effect.recipient] += 1
        rows = {(row.notification_id, row.user, row.channel): row for row in evidence.rows}
        return cls(evidence, bounds, deliveries, rows, reached)

    def repeats(self) -> Counter[str]:
        """Effects too many, by channel."""
        found: Counter[str] = Counter()
        for delivery_id, recipients in self.reached.items():
            if delivery_id in self.deliveries:
                channel = self.deliveries[delivery_id].request.channel
                found[channel] += recipients.total() - len(recipients)
        return +found


def check(history: Sequence[Sent], evidence: Evidence, bounds: Bounds) -> Verdict:
    """The verdict over a run that has come to rest."""
    case = _Case.of(history, evidence, bounds)
    missed, excused = _unseen_frames(case)
    problems = [
        *_lost(case),
        *_terminal(case),
        *_duplicates(case),
        *_phantoms(case),
        *_dead_letters(case),
        *_seen(case),
        *(Problem(Invariant.SEEN, f"no frame for {one}, though its socket was there") for one in missed),
    ]
    answers = Counter(sent.answer for sent in history)
    return Verdict(
        tuple(problems),
        len(history),
        answers[Answer.ACCEPTED],
        answers[Answer.REFUSED],
        answers[Answer.UNKNOWN],
        sum(len(sent.attempts) > 1 for sent in history),
        len(case.rows),
        sum(problem.invariant is Invariant.LOST for problem in problems),
        Counter(row.state for row in case.rows.values()),
        case.repeats(),
        excused,
    )


def _deliveries(sent: Sent) -> Iterator[Delivery]:
    request = sent.request
    for user in request.users:
        yield Delivery(ids.delivery(request.notification_id, user, request.channel), sent, user)


def _lost(case: _Case) -> Iterator[Problem]:
    for one in case.deliveries.values():
        if one.sent.answer is Answer.ACCEPTED and one.at not in case.rows:
            yield Problem(Invariant.LOST, f"{one} was accepted and is nowhere")


def _terminal(case: _Case) -> Iterator[Problem]:
    ends: dict[str, set[str]] = {}
    for turn in case.evidence.turns:
        if turn.state in _FINAL:
            ends.setdefault(turn.delivery_id, set()).add(_unrefined(turn.state))
    for row, count in Counter((r.notification_id, r.user, r.channel) for r in case.evidence.rows).items():
        if count > 1:
            yield Problem(Invariant.TERMINAL, f"{row} has {count} rows")
    for one, row_ in _known(case):
        yield from _ends_once(one, row_, ends.get(one.id, set()))
    states = Counter(row.state for row in case.rows.values())
    for state in ("UNKNOWN", "FAILED", "EXPIRED"):
        most = case.bounds.ends.get(state, 0)
        if states[state] > most:
            yield Problem(Invariant.TERMINAL, f"{states[state]} ended as {state}, at most {most} may")


def _ends_once(one: Delivery, row: Row, ends: set[str]) -> Iterator[Problem]:
    if row.state not in _FINAL:
        yield Problem(Invariant.TERMINAL, f"{one} is still {row.state}")
        return
    word = row.reason.partition(":")[0]
    if row.state in _REASONS and word not in _REASONS[row.state]:
        yield Problem(Invariant.TERMINAL, f"{one} is {row.state} for no known reason: {row.reason!r}")
    if row.state == "FAILED" and not word:
        yield Problem(Invariant.TERMINAL, f"{one} is FAILED without a reason")
    if more := ends - {_unrefined(row.state)}:
        yield Problem(Invariant.TERMINAL, f"{one} is {row.state} and was {', '.join(sorted(more))}")
    if row.state in {_TO_PROVIDER, "FAILED", "UNKNOWN"} and not ends:
        yield Problem(Invariant.TERMINAL, f"{one} is {row.state} and the timeline does not know")


def _unrefined(state: str) -> str:
    return _TO_PROVIDER if state in _REFINED else state


def _known(case: _Case) -> Iterator[tuple[Delivery, Row]]:
    """The deliveries that the ledger has, whatever was answered to the client."""
    for one in case.deliveries.values():
        if one.at in case.rows:
            yield one, case.rows[one.at]


def _duplicates(case: _Case) -> Iterator[Problem]:
    for channel, count in case.repeats().items():
        most = case.bounds.repeats.get(channel, 0)
        if count > most:
            yield Problem(Invariant.DUPLICATES, f"{channel} has {count} effects too many, at most {most} may")


def _phantoms(case: _Case) -> Iterator[Problem]:
    refused = {one.at for one in case.deliveries.values() if one.sent.answer is Answer.REFUSED}
    asked = {one.at for one in case.deliveries.values()}
    for at, row in case.rows.items():
        if at not in asked:
            yield Problem(Invariant.PHANTOMS, f"nobody asked for {row}")
        elif at in refused:
            yield Problem(Invariant.PHANTOMS, f"the ledger has {row}, which was refused")
    for effect in case.evidence.effects:
        found = case.deliveries.get(effect.delivery_id)
        if found is None or found.request.notification_id != effect.notification_id:
            yield Problem(Invariant.PHANTOMS, f"nobody asked for {effect}")
        elif problem := _misplaced(case, found, effect.source, effect.recipient):
            yield Problem(Invariant.PHANTOMS, f"{found}: {problem}")
    for frame in case.evidence.frames:
        if (frame.notification_id, frame.user, "real_time") not in asked:
            yield Problem(Invariant.PHANTOMS, f"nobody asked for {frame}")


def _misplaced(case: _Case, one: Delivery, source: str, recipient: str) -> str:
    """What is wrong with an effect of this delivery; empty where nothing is."""
    if one.sent.answer is Answer.REFUSED:
        return f"was refused and reached {recipient}"
    if source not in _SOURCES.get(one.request.channel, ()):
        return f"was sent by {source}"
    if recipient not in case.evidence.addresses.get((one.user, one.request.channel), ()):
        return f"reached {recipient}, which is not theirs"
    row = case.rows.get(one.at)
    if row is None or row.state in {"SUPPRESSED", "EXPIRED", "CANCELLED"}:
        return f"reached {recipient} and is {row.state if row else 'not in the ledger'}"
    return ""


def _dead_letters(case: _Case) -> Iterator[Problem]:
    letters = {letter.delivery_id: letter for letter in case.evidence.letters}
    for one, row in _known(case):
        if row.state not in _LETTERS:
            continue
        letter = letters.get(one.id)
        if letter is None:
            yield Problem(Invariant.DEAD_LETTERS, f"{one} is {row.state} and has none")
        elif letter.reason not in _LETTERS[row.state] or not letter.error:
            yield Problem(Invariant.DEAD_LETTERS, f"{one} is {row.state} and its letter says {letter}")
    dead = {one.id for one, row in _known(case) if row.state in _LETTERS}
    for delivery_id in letters.keys() - dead:
        where = case.deliveries.get(delivery_id, delivery_id)
        yield Problem(Invariant.DEAD_LETTERS, f"{where} has one and did not fail")


def _seen(case: _Case) -> Iterator[Problem]:
    # The stream is a cache: what it forgot may have reached the socket all the same.
    live = {(message.notification_id, message.user) for message in case.evidence.published}
    live |= {(frame.notification_id, frame.user) for frame in case.evidence.frames}
    for one, row in _known(case):
        channel = one.request.channel
        theirs = case.evidence.addresses.get((one.user, channel), frozenset())
        if row.reason == "NO_ADDRESS" and theirs:
            yield Problem(Invariant.SEEN, f"{one} is {row.state} and there is an address")
        if channel in _SOURCES and _unrefined(row.state) == _TO_PROVIDER:
            for address in theirs - set(case.reached.get(one.id, ())):
                yield Problem(Invariant.SEEN, f"{one} is {row.state} and never came to {address}")
            if not theirs:
                yield Problem(Invariant.SEEN, f"{one} is {row.state} and there is no address")
        elif channel == "real_time" and row.state == "DELIVERED" and one.at[:2] not in live:
            yield Problem(Invariant.SEEN, f"{one} is {row.state} and was never published")


def _unseen_frames(case: _Case) -> tuple[list[str], int]:
    """Frames that a socket did not get and was not told of, and how many others there are that nobody got."""
    got = {(frame.user, frame.notification_id) for frame in case.evidence.frames}
    missed: list[str] = []
    excused = 0
    for one in case.evidence.published:
        if (one.user, one.notification_id) in got:
            continue
        if any(span.holds(one.time) for span in case.evidence.listening.get(one.user, ())):
            missed.append(f"{one.notification_id} to {one.user}")
        else:
            excused += 1
    return missed, excused
