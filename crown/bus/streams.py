"""Makes streams and consumers what they have to be, by JetStream's API. What that is stands in crown/subjects.py."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from crown import logs, subjects
from crown.bus.errors import NO_CONSUMER, NO_STREAM, BusError
from crown.errors import BusUnavailable

log = logs.get(__name__)

# Those of a cluster who hear nothing of each other for so long, in nanoseconds, are apart: they speak each second.
_SILENT_NS = 5_000_000_000

# A call of JetStream's API with its request, as Bus.api makes it. It raises BusError and BusUnavailable.
Api = Callable[[str, Mapping[str, Any] | None], Awaitable[dict[str, Any]]]

# What a stream is made with and keeps.
_LASTING = frozenset({"num_replicas", "persist_mode"})


async def ensure(api: Api, streams: Iterable[Mapping[str, Any]]) -> None:
    """Makes every stream what it has to be; one that is so already is left alone. Raises what `api` raises."""
    for wanted in streams:
        await _ensure_stream(api, {"storage": "file", "retention": "limits", **wanted})


async def _ensure_stream(api: Api, wanted: Mapping[str, Any]) -> None:
    name = wanted["name"]
    try:
        found = (await api(f"STREAM.INFO.{name}", None))["config"]
    except BusError as error:
        if error.err_code != NO_STREAM:
            raise
        # Two services may come here at once: the second finds the same settings and is content.
        await api(f"STREAM.CREATE.{name}", wanted)
        return
    # Moving a stream between one server and several is the operator's: what it holds has to be copied.
    changed = {k: v for k, v in wanted.items() if k not in _LASTING and found.get(k) != v}
    if changed:
        log.warning("stream_changed", stream=name, settings=sorted(changed))
        await api(f"STREAM.UPDATE.{name}", {**found, **changed})


async def ensure_consumer(api: Api, consumer: subjects.Consumer) -> None:
    """Makes `consumer` what it has to be; work that is under way goes on. Raises what `api` raises."""
    request = {"stream_name": consumer.stream, "config": consumer.settings()}
    await api(f"CONSUMER.DURABLE.CREATE.{consumer.stream}.{consumer.name}", request)


async def look_for(api: Api, consumer: subjects.Consumer) -> None:
    """Raises BusUnavailable where `consumer` is not there."""
    try:
        await api(f"CONSUMER.INFO.{consumer.stream}.{consumer.name}", None)
    except BusError as error:
        if error.err_code not in {NO_STREAM, NO_CONSUMER}:
            raise
        raise BusUnavailable(
            f"{consumer.stream} has no consumer {consumer.name}: `python -m services.ingest prepare` makes it"
        ) from error


def has_majority(cluster: Mapping[str, Any] | None) -> bool:
    """Whether who leads a stream hears from enough of those who keep it with them, by what `cluster` of the stream's
    info says; True where one server keeps it alone. It goes on leading for a while when it does not."""
    replicas = (cluster or {}).get("replicas") or ()
    heard = [one for one in replicas if not one.get("offline") and one.get("active", 0) < _SILENT_NS]
    return 2 * (1 + len(heard)) > 1 + len(replicas)
