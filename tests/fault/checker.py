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
| metrics      | what the processes count is what clients and providers have written down                  |
| health       | while something is away the suite says so, and otherwise it does not; nobody else restarts |
| bounded      | memory, descriptors, logs, and calls of a provider for each delivery                      |
| isolation    | channels that the fault is not for are as quick as before                                 |
| order        | a socket gets what is for it in the order in which it was published                       |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from crown import ids
from tests.fault import lags
from tests.fault.evidence import Evidence, Row, Span
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
# So long after a fault nobody has to know of it yet, and so long after its end it may still be told.
_NOTICE_S = 12.0
_SETTLE_S = 10.0
_MOMENT_S = 5.0
# What our processes may write to their logs by starting, connecting and ending.
_LOG_BYTES = 1 << 20
# As quick as before: by so much, and what a machine that is busy adds by itself.
_SLOWER = 1.2
_NOISE_S = 0.5
# Of fewer deliveries the slowest says nothing.
_ENOUGH = 20
_SOURCES: Mapping[str, frozenset[str]] = {
    "push": frozenset({"fcm", "web_push"}),
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
    METRICS = "metrics"
    HEALTH = "health"
    BOUNDED = "bounded"
    ISOLATION = "isolation"
    ORDER = "order"


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
    # From when it began until all was healthy again; None: there was no fault, or nobody looked.
    fault: Span | None = None
    # Whether the suite has to say, by /readyz or its supervisor, that something is away meanwhile.
    told: bool = False
    # Who may end and be started again; None: anybody.
    restarts: Collection[str] | None = None
    # By channel, how often a provider may be called for a delivery, on average.
    calls: Mapping[str, float] = field(default_factory=dict)
    # Channels that must not feel it.
    unfelt: Collection[str] = ()
    # What a process may take.
    rss_mb: float = 600.0
    descriptors: int = 1_500
    # What our processes may write to their logs for each request, beside `_LOG_BYTES` that are free.
    log_bytes: int = 4_096


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
    # Effects of the delivery that had the most of them.
    most_effects: int = 0
    letters: int = 0


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
        *_metrics(case),
        *_health(case),
        *_bounded(case, len(history)),
        *_isolation(history, case),
        *_order(case),
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
        max((max(recipients.values()) for recipients in case.reached.values()), default=0),
        len(evidence.letters),
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


def _metrics(case: _Case) -> Iterator[Problem]:
    counted = case.evidence.counted
    sents = {one.sent.request.key: one.sent for one in case.deliveries.values()}.values()
    accepted = sum(sent.answer is Answer.ACCEPTED for sent in sents)
    # A repetition may be counted again; and who got no answer may have been accepted.
    most = sum(attempt.answer is not Answer.REFUSED for sent in sents for attempt in sent.attempts)
    if counted.accepted is not None and not accepted <= counted.accepted <= most:
        yield Problem(
            Invariant.METRICS, f"{counted.accepted} are counted as accepted, {accepted} to {most} were"
        )
    effects: Counter[str] = Counter()
    for delivery_id, recipients in case.reached.items():
        if delivery_id in case.deliveries:
            effects[case.deliveries[delivery_id].request.channel] += recipients.total()
    for channel, delivered in counted.delivered.items():
        if not delivered <= effects[channel] <= delivered + counted.unknown.get(channel, 0):
            yield Problem(
                Invariant.METRICS,
                f"{delivered} of {channel} are counted as delivered, {effects[channel]} arrived",
            )


def _health(case: _Case) -> Iterator[Problem]:
    bounds, looks = case.bounds, case.evidence.looks
    if bounds.restarts is not None:
        for name, count in case.evidence.restarts.items():
            if name not in bounds.restarts:
                yield Problem(Invariant.HEALTH, f"{name} was started again {count} times")
    fault = bounds.fault
    if fault is None:
        return
    bad = [look for look in looks if not look.ready or look.unwell]
    if bounds.told and fault.end - fault.begin > _NOTICE_S and not any(fault.holds(one.time) for one in bad):
        yield Problem(
            Invariant.HEALTH, f"something was away for {fault.end - fault.begin:.0f} s, and nothing said so"
        )
    around = Span(fault.begin, fault.end + _SETTLE_S)
    # For a moment an answer may be late, on a machine that is busy.
    since: float | None = None
    for look in looks:
        if around.holds(look.time) or look not in bad:
            since = None
            continue
        since = look.time if since is None else since
        if look.time - since > _MOMENT_S:
            when = since - fault.begin
            yield Problem(
                Invariant.HEALTH, f"{when:+.1f} s from the fault and on: {look}, and nothing was away"
            )
            return


def _bounded(case: _Case, asked: int) -> Iterator[Problem]:
    bounds, evidence = case.bounds, case.evidence
    for name, most in evidence.most.items():
        if most.rss_mb > bounds.rss_mb:
            yield Problem(
                Invariant.BOUNDED, f"{name} took {most.rss_mb:.0f} MB, at most {bounds.rss_mb:g} it may"
            )
        if most.descriptors > bounds.descriptors:
            yield Problem(Invariant.BOUNDED, f"{name} had {most.descriptors} descriptors open")
    if evidence.log_bytes > (room := _LOG_BYTES + bounds.log_bytes * asked):
        yield Problem(Invariant.BOUNDED, f"{evidence.log_bytes} bytes of logs, at most {room} there may be")
    for channel, calls in evidence.calls.items():
        if (most_calls := bounds.calls.get(channel)) is not None and calls.mean > most_calls:
            yield Problem(Invariant.BOUNDED, f"{calls.mean:.2f} calls for each delivery of {channel}")


def _isolation(history: Sequence[Sent], case: _Case) -> Iterator[Problem]:
    fault = case.bounds.fault
    if fault is None:
        return
    for channel in case.bounds.unfelt:
        found = lags.handed(history, case.evidence, fault, channel)
        if found.before.count < _ENOUGH or found.during.count < _ENOUGH:
            continue
        if found.during.p99_s > found.before.p99_s * _SLOWER + _NOISE_S:
            yield Problem(
                Invariant.ISOLATION,
                f"{channel} felt it: p99 of {found.before.p99_s:.2f} s before and {found.during.p99_s:.2f} s during",
            )


def _order(case: _Case) -> Iterator[Problem]:
    last: dict[tuple[str, str], int] = {}
    for frame in case.evidence.frames:
        before = last.get((frame.user, frame.epoch), 0)
        if frame.offset < before:
            yield Problem(
                Invariant.ORDER,
                f"{frame.notification_id} came to {frame.user} at {frame.offset}, after {before}",
            )
        last[frame.user, frame.epoch] = max(before, frame.offset)
