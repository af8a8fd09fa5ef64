"""Prometheus metrics: every series of the suite stands in this table, by name, and is served on a port of its own.

Who needs another one adds an entry here; what is made elsewhere fails the checks. docs/metrics.md and
the dashboards in monitoring/grafana are made from it, by `python -m tools.metrics_page` and `python -m
tools.dashboards`, and alert rules are held to it. A label has few values: never an id, an address or content."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from prometheus_client import REGISTRY, Counter, start_http_server

from crown import __version__, subjects
from crown.notification.v1.types_pb2 import DeliveryState, FilterAction
from crown.series import Label, Section, Table

TABLE = Table()
_counter, _gauge, _histogram = TABLE.counter, TABLE.gauge, TABLE.histogram

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_LAG = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
# Ten seconds is the promise; what is later is late by how much.
_HANDED = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 60, 300, 3_600)
_LATE = (0.1, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 5, 10, 20, 60, 300)
_SCORES = tuple(tenth / 10 for tenth in range(1, 11))

_LANES = tuple(subjects.LANES.values())
_CHANNELS = tuple(subjects.NAMES.values())
_LANE = Label("lane", "the lane", _LANES)
_CHANNEL = Label("channel", "the channel", _CHANNELS)
_DEAD_OF = Label("channel", "the channel, or `dispatch` where none was decided", (*_CHANNELS, "dispatch"))
_PROVIDER = Label("provider", "the provider, as settings name it")
_METHOD = Label("method", "the full name of the RPC")
_CODE = Label("code", "the gRPC code")
_REASON = Label("reason", "the reason of [errors.md](errors.md)")
_FEED = Label("feed", "the feed, as the file of feeds names it")
_STREAM = Label("stream", "the stream, see [streams.md](streams.md)")
_CONSUMER = Label("consumer", "the durable consumer")
_GENERATION = Label("generation", "how long they were kept", ("0", "1", "2"))

# -- calls and intake

RPC = _histogram(
    "crown_rpc_seconds", "Time to answer an RPC", Section.DOOR, _METHOD, _CODE, buckets=_FAST,
    note="`INTERNAL` and `UNKNOWN` are bugs of ours",
)  # fmt: skip
ACCEPTED = _counter("crown_accepted_total", "Notifications accepted", Section.DOOR, _LANE)
REFUSED = _counter("crown_refused_total", "Notifications refused at the door", Section.DOOR, _REASON)
DEMOTED = _counter(
    "crown_demoted_total", "Notifications that travel on a lower lane than they were meant for", Section.DOOR,
    Label("from", "the lane that was asked for", _LANES), Label("to", "the lane that was given", _LANES),
    note="their sender had had its share, see [fairness.md](fairness.md)",
)  # fmt: skip
COMMITS = _counter(
    "crown_intake_commits_total", "Publishes to the intake", Section.DOOR,
    Label("form", "one message, or many at once", ("plain", "batch")),
)  # fmt: skip

# -- dispatch and filter

DISPATCHED = _counter(
    "crown_dispatched_total", "Deliveries decided, by what was decided", Section.DISPATCH,
    _CHANNEL, Label("state", "the state that was decided", tuple(DeliveryState.Type.keys())),
)  # fmt: skip
FILTER_CALLS = _histogram(
    "crown_filter_seconds", "Calls of the filter", Section.DISPATCH,
    Label("outcome", "`not_asked`: it failed before", ("answered", "late", "failed", "not_asked")),
    buckets=_FAST, note="where it is not `answered` everything is sent, see [filter.md](filter.md)",
)  # fmt: skip
FILTER_ANSWERS = _counter(
    "crown_filter_answers_total", "Answers of the filter about one notification to one person, as they were taken",
    Section.DISPATCH,
    Label("action", "what it said", (*FilterAction.Type.keys(), "senseless", "not_asked")),
)  # fmt: skip
FILTER_SCORES = _histogram(
    "crown_filter_score", "What notifications are worth, as the filter sees it", Section.DISPATCH,
    buckets=_SCORES, unit="",
)  # fmt: skip
DIGESTS = _counter("crown_digests_total", "Digests that were built", Section.DISPATCH, _CHANNEL)
LATENESS = _histogram(
    "crown_release_lateness_seconds", "Time from when something was due to when it was worked on", Section.DISPATCH,
    Label("of", "notifications with a time to be sent, or deliveries put off", ("send_at", "deferred")),
    buckets=_LATE, note="more than a few seconds ask whether dispatch keeps up, see [scheduling.md](scheduling.md)",
)  # fmt: skip

# -- deliveries and providers

HANDED = _histogram(
    "crown_handed_seconds", "Time from acceptance, or from when it was due, until a provider had it",
    Section.DELIVERY, _CHANNEL, buckets=_HANDED, note="the promise: 99 % within 10 s",
)  # fmt: skip
OUTCOMES = _counter(
    "crown_outcomes_total", "Attempts, by how they ended", Section.DELIVERY, _CHANNEL, _PROVIDER,
    Label("outcome", "see [delivery.md](delivery.md)", ("Delivered", "Retry", "Snooze", "Discard", "Unknown")),
)  # fmt: skip
ATTEMPT_ERRORS = _counter(
    "crown_attempt_errors_total", "Attempts that failed, by why", Section.DELIVERY, _CHANNEL, _PROVIDER,
    Label("error", "the provider's word or ours, without what follows it"),
)  # fmt: skip
UNKNOWN = _counter(
    "crown_unknown_outcomes_total", "Attempts of which nobody could say whether the provider took them",
    Section.DELIVERY, _CHANNEL, Label("then", "what followed by the policy", ("sent_again", "given_up")),
    note="`sent_again` may reach people twice; `given_up` lies in the dead letters",
)  # fmt: skip
ATTEMPT = _histogram(
    "crown_attempt_seconds", "Time a provider took", Section.DELIVERY, _CHANNEL, _PROVIDER, buckets=_FAST
)
IN_FLIGHT = _gauge(
    "crown_deliveries_in_flight", "Deliveries being worked on", Section.DELIVERY, _CHANNEL, over="sum"
)
DEAD = _counter(
    "crown_dead_letters_total", "Dead letters written", Section.DELIVERY,
    _DEAD_OF, Label("reason", "see [dead-letters.md](dead-letters.md)"),
)  # fmt: skip
PROVIDER_STATE = _gauge(
    "crown_provider_state", "0 in use, 1 being probed, 2 out, as this process sees it", Section.DELIVERY,
    _CHANNEL, _PROVIDER, note="see [delivery.md](delivery.md#providers-that-are-out)",
)  # fmt: skip
OPENED = _counter(
    "crown_provider_out_total",
    "How often a provider was found to be out",
    Section.DELIVERY,
    _CHANNEL,
    _PROVIDER,
)
PROBES = _counter(
    "crown_provider_probes_total",
    "Calls to see whether a provider is back",
    Section.DELIVERY,
    _CHANNEL,
    _PROVIDER,
)
PAUSED = _gauge(
    "crown_deliveries_paused", "1 while every provider of the channel is out", Section.DELIVERY, _CHANNEL,
    note="meanwhile nothing is pulled",
)  # fmt: skip
CALLBACKS = _counter(
    "crown_callbacks_total", "What providers told later, and what people texted back", Section.DELIVERY,
    _PROVIDER, Label("type", "what was told"),
)  # fmt: skip
CALLBACKS_RECORDED = _counter(
    "crown_callbacks_recorded_total", "What providers told later, by what it did", Section.DELIVERY, _CHANNEL,
    Label("effect", "`unknown`: no delivery of ours was meant", ("moved", "kept", "unknown")),
    note="many unknown ones ask whether another suite's callbacks come here",
)  # fmt: skip
RENDERERS_LOST = _counter(
    "crown_email_renderers_lost_total", "Renderers of templates that were killed or ended", Section.DELIVERY,
    Label("reason", "why"), note="a template of yours killed them, see [templates.md](templates.md)",
)  # fmt: skip
SEGMENTS = _counter(
    "crown_sms_segments_total", "Segments of texts, as reserved before each attempt", Section.DELIVERY,
    Label("country", "two letters"), note="what is paid for",
)  # fmt: skip
TEXTS_NEAR_SHARE = _counter(
    "crown_sms_near_share_total", "Texts of a caller that has used more than 80 % of its share of the day",
    Section.DELIVERY, Label("caller", "the service"),
    note="the rest of its texts will soon wait until midnight UTC, see [sms.md](sms.md#caps)",
)  # fmt: skip
TEXTS_REFUSED = _counter(
    "crown_sms_refused_total", "Texts that our own rules kept back", Section.DELIVERY, Label("reason", "the rule"),
    note="`CAP_PREFIX` or `CAP_COUNTRY` that grow ask whether somebody is pumping, see [sms.md](sms.md)",
)  # fmt: skip

# -- books, streams and consumers

PARKED = _counter(
    "crown_parked_total", "Messages of newer code that were let come again later", Section.BOOKS,
    Label("reader", "who does not understand them", (*_CHANNELS, "dispatch", "record", "undertaker")),
    Label("why", "by what one can tell", ("version", "channel", "state", "lane", "category", "callback")),
    note="normal in an upgrade; what goes on after a rollback waits for the newer code: [upgrade.md](upgrade.md)",
)  # fmt: skip

SWEPT = _counter(
    "crown_swept_total", "Deliveries that the sweeper published again", Section.BOOKS, _CHANNEL,
    note="more than a few ask for a look",
)  # fmt: skip
BOOKS_DIFFERENCE = _gauge(
    "crown_books_difference", "Rows that are missing; 0 in sound books", Section.BOOKS,
    note="accepted less terminal less in flight: what stays above 0 is a bug, see [books.md](books.md#watching-them)",
)  # fmt: skip
BOOKS_IN_FLIGHT = _gauge("crown_books_in_flight", "Deliveries that are not final", Section.BOOKS, _CHANNEL)
BOOKS_OLDEST = _gauge(
    "crown_books_oldest_seconds", "Age of the oldest delivery that is not final", Section.BOOKS, _CHANNEL,
    unit="seconds",
)  # fmt: skip
BOOKS_DEFERRED = _gauge("crown_books_deferred", "Rows with a delivery that waits for its time", Section.BOOKS)
BOOKS_LATE = _gauge("crown_books_late", "Rows with a delivery whose time is long past", Section.BOOKS)
BOOKS_INTAKE = _gauge("crown_books_intake", "Messages that dispatch has not settled", Section.BOOKS, _LANE)
CONSUMER_PENDING = _gauge(
    "crown_consumer_pending", "Messages that wait for a consumer: its lag", Section.BOOKS, _STREAM, _CONSUMER,
    note="workers are to be scaled by it",
)  # fmt: skip
CONSUMER_UNSETTLED = _gauge(
    "crown_consumer_unsettled", "Messages that a consumer was given and has not settled", Section.BOOKS,
    _STREAM, _CONSUMER,
)  # fmt: skip
STREAM_MESSAGES = _gauge("crown_stream_messages", "Messages that a stream holds", Section.BOOKS, _STREAM)
STREAM_BYTES = _gauge("crown_stream_bytes", "Bytes that a stream holds", Section.BOOKS, _STREAM, unit="bytes")
STREAM_MAX_BYTES = _gauge(
    "crown_stream_max_bytes", "Bytes that a stream may hold; -1: no bound", Section.BOOKS, _STREAM, unit="bytes",
    note="at it the streams of work refuse, and senders see 503",
)  # fmt: skip

# -- sockets

SOCKETS = _gauge("crown_sockets", "Open sockets", Section.REALTIME, over="sum")
FRAMES = _counter("crown_frames_total", "Frames sent to sockets", Section.REALTIME)
CLOSES = _counter(
    "crown_socket_closes_total", "Sockets that were closed from this side", Section.REALTIME,
    Label("code", "the close code, see [realtime.md](realtime.md)"),
)  # fmt: skip
SOCKETS_REFUSED = _counter(
    "crown_socket_refusals_total", "Handshakes that were refused", Section.REALTIME,
    Label("status", "the HTTP status"),
)  # fmt: skip
GAPS = _counter(
    "crown_live_gaps_total", "Gaps in a topic that were read from the stream", Section.REALTIME,
    note="more than a few after a restart of NATS ask for a look",
)  # fmt: skip
PRESENT = _gauge(
    "crown_presence_entries", "People on topics, by connection, that this node tracks", Section.REALTIME, over="sum",
    note="see [presence.md](presence.md)",
)  # fmt: skip
REDIS_FAILURES = _counter(
    "crown_redis_failures_total", "Calls of Redis that failed or took longer than a second", Section.REALTIME,
    note="they are made good",
)  # fmt: skip

# -- relay

RELAY_FEEDS = _gauge(
    "crown_relay_connected", "1 while connected to the feed", Section.RELAY, _FEED, over="min",
    note="see [relay.md](relay.md#watching-it)",
)  # fmt: skip
RELAY_EVENTS = _counter(
    "crown_relay_events_total", "Messages of a feed, by what was made of them", Section.RELAY, _FEED,
    Label("outcome", "what", ("matched", "unmatched", "undecodable", "unmappable", "too_big")),
)  # fmt: skip
RELAYED = _counter(
    "crown_relay_notifications_total", "Notifications handed to ingest, by what it said", Section.RELAY, _FEED,
    Label("outcome", "what, or `retried`"),
)  # fmt: skip

# -- processes

BUILD = _gauge(
    "crown_build_info", "Always 1; says what runs here", Section.PROCESS,
    Label("service", "the name in logs"), Label("version", "the release"),
)  # fmt: skip
READY = _gauge(
    "crown_ready", "1 while the process can do its work, as its gRPC health says", Section.PROCESS, over="min"
)
BUS = _gauge("crown_bus_connected", "1 while connected to NATS", Section.PROCESS, over="min")
BUS_FORBIDDEN = _counter(
    "crown_bus_forbidden_total", "What this process did that NATS does not let its user do", Section.PROCESS,
    Label("act", "what it did", ("publish", "subscription")),
    note="the table of rights that NATS has is not the one of this version: see [rights.md](rights.md)",
)  # fmt: skip
CERTIFICATE_END = _gauge(
    "crown_certificate_end_seconds", "When the certificate ends that the process shows, in Unix time; 0 without one",
    Section.PROCESS, over="min",
)  # fmt: skip
LOOP_LAG = _histogram(
    "crown_loop_lag_seconds", "How late timers of the event loop come", Section.PROCESS, buckets=_LAG,
    note="something runs for long without letting go: it holds up all that the process does",
)  # fmt: skip
PROBLEMS = _counter(
    "crown_problems_total", "Lines of the log at warning and error, also those kept back as repeated",
    Section.PROCESS,
    Label("level", "the level", ("warning", "error")), Label("event", "the event, see [logs.md](logs.md)"),
)  # fmt: skip

TABLE.foreign("process_cpu_seconds_total", "counter", "Time of processors used", unit="seconds")
TABLE.foreign("process_resident_memory_bytes", "gauge", "Memory held", unit="bytes")
TABLE.foreign("process_virtual_memory_bytes", "gauge", "Addresses held", unit="bytes")
TABLE.foreign("process_open_fds", "gauge", "Open file descriptors, sockets among them")
TABLE.foreign("process_max_fds", "gauge", "How many there may be")
TABLE.foreign(
    "process_start_time_seconds", "gauge", "When it was started", unit="seconds",
    note="`changes()` of it are restarts",
)  # fmt: skip
TABLE.foreign(
    "python_info", "gauge", "Always 1; says which Python runs",
    Label("implementation", "whose"), Label("version", "of which version"), Label("major", "its first number"),
    Label("minor", "its second"), Label("patchlevel", "its third"),
)  # fmt: skip
TABLE.foreign(
    "python_gc_objects_collected_total", "counter", "Objects freed by the collector of cycles", _GENERATION
)
TABLE.foreign(
    "python_gc_objects_uncollectable_total", "counter", "Objects that it could not free", _GENERATION
)
TABLE.foreign("python_gc_collections_total", "counter", "Its runs", _GENERATION)


def present(names: frozenset[str]) -> Iterator[tuple[str, dict[str, str], float]]:
    """The samples of these names in this process now, each with its labels and its value."""
    for family in REGISTRY.restricted_registry(names).collect():
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value


@cache
def problems(level: str, event: str) -> Counter:
    """PROBLEMS of one event: looked up for every line."""
    return PROBLEMS.labels(level, event)


def serve(service: str, port: int, bind: str) -> None:
    """Serves /metrics of `service` on `port`, from a thread of its own."""
    BUILD.labels(service, __version__).set(1)
    start_http_server(port, addr=bind)
