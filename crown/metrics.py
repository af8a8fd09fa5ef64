"""Prometheus metrics: every series of the suite stands here, by name, and is served on a port of its own."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram, start_http_server

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

RPC = Histogram("crown_rpc_seconds", "Time to answer an RPC", ["method", "code"], buckets=_FAST)
ACCEPTED = Counter("crown_accepted_total", "Notifications accepted", ["lane"])
REFUSED = Counter("crown_refused_total", "Notifications refused at the door", ["reason"])
DEMOTED = Counter(
    "crown_demoted_total",
    "Notifications that travel on a lower lane than they were meant for",
    ["from", "to"],
)
COMMITS = Counter("crown_intake_commits_total", "Publishes to the intake: plain ones and batches", ["form"])
DISPATCHED = Counter(
    "crown_dispatched_total", "Deliveries decided, by what was decided", ["channel", "state"]
)
FILTER_CALLS = Histogram(
    "crown_filter_seconds",
    "Calls of the filter: answered, late, failed, or not_asked since it failed before",
    ["outcome"],
    buckets=_FAST,
)
FILTER_ANSWERS = Counter(
    "crown_filter_answers_total",
    "Answers of the filter about one notification to one person, as they were taken",
    ["action"],
)
FILTER_SCORES = Histogram(
    "crown_filter_score",
    "What notifications are worth, as the filter sees it",
    buckets=[tenth / 10 for tenth in range(1, 11)],
)
OUTCOMES = Counter("crown_outcomes_total", "Attempts, by how they ended", ["channel", "provider", "outcome"])
ATTEMPT = Histogram("crown_attempt_seconds", "Time a provider took", ["channel", "provider"], buckets=_FAST)
IN_FLIGHT = Gauge("crown_deliveries_in_flight", "Deliveries being worked on", ["channel"])
DEAD = Counter("crown_dead_letters_total", "Dead letters written", ["channel", "reason"])
CALLBACKS = Counter(
    "crown_callbacks_total", "What providers told later, by what they told", ["provider", "type"]
)
CALLBACKS_RECORDED = Counter(
    "crown_callbacks_recorded_total",
    "What providers told later, by what it did: moved, kept, or unknown where no delivery was meant",
    ["channel", "effect"],
)
PROVIDER_STATE = Gauge(
    "crown_provider_state",
    "0 in use, 1 being probed, 2 out, as this process sees it",
    ["channel", "provider"],
)
OPENED = Counter(
    "crown_provider_out_total", "How often a provider was found to be out", ["channel", "provider"]
)
PROBES = Counter(
    "crown_provider_probes_total", "Calls to see whether a provider is back", ["channel", "provider"]
)
PAUSED = Gauge("crown_deliveries_paused", "1 while every provider of the channel is out", ["channel"])
SWEPT = Counter("crown_swept_total", "Deliveries that the sweeper published again", ["channel"])
BOOKS_DIFFERENCE = Gauge("crown_books_difference", "Rows that are missing; 0 in sound books")
BOOKS_IN_FLIGHT = Gauge("crown_books_in_flight", "Deliveries that are not final", ["channel"])
BOOKS_OLDEST = Gauge(
    "crown_books_oldest_seconds", "Age of the oldest delivery that is not final", ["channel"]
)
BOOKS_DEFERRED = Gauge("crown_books_deferred", "Rows with a delivery that waits for its time")
BOOKS_LATE = Gauge("crown_books_late", "Rows with a delivery whose time is long past")
BOOKS_INTAKE = Gauge("crown_books_intake", "Messages that dispatch has not settled", ["lane"])
LATENESS = Histogram(
    "crown_release_lateness_seconds",
    "Time from when something was due to when it was worked on: notifications with send_at, deferred deliveries",
    ["of"],
    buckets=(0.1, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 5, 10, 20, 60, 300),
)
RENDERERS_LOST = Counter(
    "crown_email_renderers_lost_total", "Renderers of templates that were killed or ended", ["reason"]
)
SEGMENTS = Counter(
    "crown_sms_segments_total", "Segments of texts, as reserved before each attempt", ["country"]
)
TEXTS_REFUSED = Counter("crown_sms_refused_total", "Texts that our own rules kept back", ["reason"])
SOCKETS = Gauge("crown_sockets", "Open sockets")
FRAMES = Counter("crown_frames_total", "Frames sent to sockets")
CLOSES = Counter("crown_socket_closes_total", "Sockets that were closed from this side", ["code"])
GAPS = Counter("crown_live_gaps_total", "Gaps in a topic that were read from the stream")
PRESENT = Gauge("crown_presence_entries", "People on topics, by connection, that this node tracks")
REDIS_FAILURES = Counter("crown_redis_failures_total", "Calls of Redis that failed or took too long")
SOCKETS_REFUSED = Counter("crown_socket_refusals_total", "Handshakes that were refused", ["status"])
BUS = Gauge("crown_bus_connected", "1 while connected to NATS")
RELAY_FEEDS = Gauge("crown_relay_connected", "1 while connected to the feed", ["feed"])
RELAY_EVENTS = Counter(
    "crown_relay_events_total", "Messages of a feed, by what was made of them", ["feed", "outcome"]
)
RELAYED = Counter(
    "crown_relay_notifications_total", "Notifications handed to ingest, by what it said", ["feed", "outcome"]
)


def serve(port: int, bind: str) -> None:
    """Serves /metrics on `port`, from a thread of its own."""
    start_http_server(port, addr=bind)


DIGESTS = Counter("crown_digests_total", "Digests that were built", ["channel"])
