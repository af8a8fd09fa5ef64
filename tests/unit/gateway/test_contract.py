"""What the gateway learns from a descriptor set: paths, their methods, streams."""

from __future__ import annotations

import re

import pytest
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2

from crown.notification.v1 import access_pb2
from gateway import contract
from gateway.render import HERE

Rpc = tuple[str, str, str]


def described(*rpcs: Rpc, streams: tuple[str, ...] = ()) -> descriptor_pb2.FileDescriptorSet:
    """A contract of one service; each RPC by name, method and path. `streams` name those that stream, with a path
    or without."""
    files = descriptor_pb2.FileDescriptorSet()
    file = files.file.add(name="x.proto", package="crown.notification.v1")
    service = file.service.add(name="XService")
    for name, method, path in rpcs:
        rpc = service.method.add(name=name, server_streaming=name in streams)
        setattr(rpc.options.Extensions[annotations_pb2.http], method.lower(), path)
    for name in set(streams) - {name for name, _, _ in rpcs}:
        service.method.add(name=name, server_streaming=True)
    return files


FILES = described(
    ("Send", "POST", "/api/n"),
    ("Bulk", "POST", "/api/n/bulk"),
    ("Get", "GET", "/api/n/{id}"),
    ("Cancel", "POST", "/api/n/{id}:cancel"),
    ("Put", "PUT", "/api/u/{user_id}/c"),
    ("Read", "GET", "/api/u/{user_id}/c"),
    streams=("Watch",),
)


def methods_for(path: str) -> set[str]:
    rows = contract.rest_rows(FILES)
    return {str(row["method"]) for row in rows if re.fullmatch(str(row["paths"]), path)}


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/api/n", {"POST"}),
        ("/api/n/", set()),
        ("/api/n/bulk", {"GET", "POST"}),
        ("/api/n/7", {"GET"}),
        ("/api/n/7/8", set()),
        ("/api/n/7:cancel", {"GET", "POST"}),
        ("/api/u/a.b@c/c", {"GET", "PUT"}),
        ("/api/u//c", set()),
        ("/apixn", set()),
    ],
)
def test_a_path_takes_the_methods_of_its_templates(path: str, methods: set[str]) -> None:
    assert methods_for(path) == methods


@pytest.mark.parametrize(
    ("path", "allow"),
    [("/api/n/bulk", "POST"), ("/api/n/7", "GET"), ("/api/u/a/c", "GET, PUT"), ("/api/x", None)],
)
def test_the_most_exact_path_says_what_is_allowed(path: str, allow: str | None) -> None:
    rows = contract.wrong_method_rows(FILES)
    found = [row["allow"] for row in rows if re.fullmatch(str(row["paths"]), path)]
    assert (found[0] if found else None) == allow


def test_streams_are_found() -> None:
    rows = contract.stream_rows(FILES, {"XService": "x"})
    assert rows == [{"path": "/crown.notification.v1.XService/Watch", "cluster": "x", "silent": "0s"}]


def test_a_stream_with_a_path_has_a_route_of_its_own() -> None:
    files = described(("Page", "GET", "/a/{id}:stream"), ("Get", "GET", "/a/{id}"), streams=("Page",))
    assert contract.rest_stream_rows(files) == [{"method": "GET", "paths": "/a/[^/]+:stream"}]
    assert contract.rest_rows(files) == [{"method": "GET", "paths": "/a/[^/]+"}]
    assert [row["silent"] for row in contract.stream_rows(files, {"XService": "x"})] == ["60s"]
    # Other methods are refused all the same.
    assert re.fullmatch(str(contract.wrong_method_rows(files)[0]["paths"]), "/a/7:stream")


def test_paths_that_may_hold_a_token_are_found() -> None:
    assert contract.own_token_rows(FILES) == []
    files = described(("Page", "GET", "/a/{id}:stream"), ("Get", "GET", "/a/{id}"))
    files.file[0].service[0].method[0].options.Extensions[access_pb2.access].token = "access_token"
    assert contract.own_token_rows(files) == [{"paths": "/a/[^/]+:stream"}]


def test_the_contract_lets_one_path_hold_a_token() -> None:
    """What passes the gateway without a token in its header has to be read by its service."""
    rows = contract.own_token_rows(contract.load(HERE / "crown.binpb"))
    assert rows == [{"paths": "/api/v1/users/[^/]+/notifications:stream"}]


def test_further_paths_of_an_rpc_count() -> None:
    files = described(("Send", "POST", "/a"))
    files.file[0].service[0].method[0].options.Extensions[annotations_pb2.http].additional_bindings.add(
        get="/b"
    )
    assert contract.rest_rows(files) == [{"method": "GET", "paths": "/b"}, {"method": "POST", "paths": "/a"}]
