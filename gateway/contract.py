"""What the descriptor set says about routing: which methods a REST path takes, which RPCs stream, and which may
hold their caller's token.

Reads gateway/crown.binpb, as Envoy does, so that no route is written down twice.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from google.api import annotations_pb2
from google.api.http_pb2 import HttpRule
from google.protobuf import descriptor_pb2

from crown import access
from crown.notification.v1 import access_pb2

# One segment of a path: {user_id}. The contract has no variables of several segments.
_VARIABLE = re.compile(r"\{[^}]+\}")

Row = dict[str, object]
# Seconds of silence after which a stream that shows itself alive is given up, and one that does not: never.
_SILENT = {True: "60s", False: "0s"}


def load(path: Path) -> descriptor_pb2.FileDescriptorSet:
    """Reads a descriptor set; raises OSError or DecodeError."""
    return descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes())


def rest_rows(files: descriptor_pb2.FileDescriptorSet) -> list[Row]:
    """One row for each HTTP method: the pattern of the paths that take it and are answered at once."""
    return _by_method(rpc for rpc in _rpcs(files) if not rpc.server_streaming)


def rest_stream_rows(files: descriptor_pb2.FileDescriptorSet) -> list[Row]:
    """The same for the paths that are answered for as long as both sides want."""
    return _by_method(rpc for rpc in _rpcs(files) if rpc.server_streaming)


def own_token_rows(files: descriptor_pb2.FileDescriptorSet) -> list[Row]:
    """One row with the paths of all RPCs that may hold their caller's token; none where there are none."""
    templates = {
        template
        for rpc in _rpcs(files)
        if rpc.options.Extensions[access_pb2.access].token
        for _, template in bindings(rpc)
    }
    return [{"paths": _pattern(templates)}] if templates else []


def open_paths(files: descriptor_pb2.FileDescriptorSet) -> tuple[str, str]:
    """Two patterns: of the REST paths that need no token, and of those among them that only providers call."""
    found: dict[bool, set[str]] = {True: set(), False: set()}
    for rpc in _rpcs(files):
        rule = rpc.options.Extensions[access_pb2.access]
        if access.is_open(rule):
            signed = rule.proof == access_pb2.PROOF_PROVIDER_SIGNATURE
            found[signed].update(template for _, template in bindings(rpc))
    return _pattern(found[False]), _pattern(found[True])


def wrong_method_rows(files: descriptor_pb2.FileDescriptorSet) -> list[Row]:
    """One row for each set of methods: the paths that take these and no others.

    Paths without variables come first, so that the more exact path says what is allowed.
    """
    methods: dict[str, set[str]] = defaultdict(set)
    for method, template in _all_bindings(files):
        methods[template].add(method)
    groups: dict[tuple[bool, tuple[str, ...]], set[str]] = defaultdict(set)
    for template, allowed in methods.items():
        groups["{" in template, tuple(sorted(allowed))].add(template)
    return [
        {"allow": ", ".join(allowed), "paths": _pattern(templates)}
        for (_, allowed), templates in sorted(groups.items())
    ]


def stream_rows(files: descriptor_pb2.FileDescriptorSet, clusters: Mapping[str, str]) -> list[Row]:
    """One row for each RPC that streams, either way: its gRPC path, the cluster of its service, and how long it
    may be silent: one that REST callers read beats, others may have nothing to say for hours."""
    return [
        {
            "path": f"/{package}.{service.name}/{rpc.name}",
            "cluster": clusters[service.name],
            "silent": _SILENT[any(bindings(rpc))],
        }
        for package, service in services(files)
        for rpc in service.method
        if rpc.client_streaming or rpc.server_streaming
    ]


def services(
    files: descriptor_pb2.FileDescriptorSet,
) -> Iterator[tuple[str, descriptor_pb2.ServiceDescriptorProto]]:
    """Every service of the contract, with its package."""
    for file in files.file:
        for service in file.service:
            yield file.package, service


def bindings(rpc: descriptor_pb2.MethodDescriptorProto) -> Iterator[tuple[str, str]]:
    """(HTTP method, path template) of each REST path of an RPC; none where it is gRPC only."""
    rule: HttpRule = rpc.options.Extensions[annotations_pb2.http]
    for binding in (rule, *rule.additional_bindings):
        verb = binding.WhichOneof("pattern")
        if verb == "custom":
            yield binding.custom.kind, binding.custom.path
        elif verb is not None:
            yield verb.upper(), getattr(binding, verb)


def _rpcs(
    files: descriptor_pb2.FileDescriptorSet,
) -> Iterator[descriptor_pb2.MethodDescriptorProto]:
    for _, service in services(files):
        yield from service.method


def _all_bindings(files: descriptor_pb2.FileDescriptorSet) -> Iterator[tuple[str, str]]:
    for rpc in _rpcs(files):
        yield from bindings(rpc)


def _by_method(rpcs: Iterable[descriptor_pb2.MethodDescriptorProto]) -> list[Row]:
    by_method: dict[str, set[str]] = defaultdict(set)
    for rpc in rpcs:
        for method, template in bindings(rpc):
            by_method[method].add(template)
    return [{"method": m, "paths": _pattern(by_method[m])} for m in sorted(by_method)]


def _pattern(templates: set[str]) -> str:
    """An RE2 pattern that matches each of the path templates, and nothing longer."""
    return "|".join(_segments(template) for template in sorted(templates))


def _segments(template: str) -> str:
    return "[^/]+".join(re.escape(part) for part in _VARIABLE.split(template))
