"""Every route of the gateway belongs to a call that has a rule, or is listed with who gets there; and the gateway
asks for a token wherever the rule does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from crown import access
from crown.notification.v1 import access_pb2
from gateway import contract
from gateway.open_routes import ROUTES
from gateway.render import HERE, render

FILES = contract.load(HERE / "crown.binpb")
CONFIG: dict[str, Any] = yaml.safe_load(render({"JWT_ISSUER": "crown-auth", "GATEWAY_WEB": "included"}))
LISTED = {route.path for route in ROUTES}
GRPC = {
    f"/{package}.{service.name}/{rpc.name}": rpc
    for package, service in contract.services(FILES)
    for rpc in service.method
}
# (method, path) of each REST path, and its rule.
REST = {
    (verb, template): rpc.options.Extensions[access_pb2.access]
    for rpc in GRPC.values()
    for verb, template in contract.bindings(rpc)
}


def manager() -> dict[str, Any]:
    [chain] = CONFIG["static_resources"]["listeners"][0]["filter_chains"]
    found: dict[str, Any] = chain["filters"][0]["typed_config"]
    return found


def routes() -> Iterator[dict[str, Any]]:
    """Those that lead somewhere: an answer of Envoy's own is a refusal, unless it is a good one."""
    [host] = manager()["route_config"]["virtual_hosts"]
    for route in host["routes"]:
        if route.get("direct_response", {"status": 200})["status"] < 300:
            yield route


def sample(template: str) -> str:
    return re.sub(r"\{\w+\}", "x", template)


def serves(route: dict[str, Any]) -> str:
    """What the route is for; empty where nothing says so."""
    match = route["match"]
    methods = [h["string_match"] for h in match.get("headers", []) if h["name"] == ":method"]
    if methods and methods[0].get("exact") == "OPTIONS" and match.get("prefix") == "/":
        return "preflights, which the CORS filter answers"
    path = match.get("path") or match.get("prefix") or ""
    page = re.match(r"/(demo|console|openapi)(?=[/.]|$)", path)
    if path in LISTED or (page and page[0] in LISTED):
        return "listed"
    if path in GRPC or any(one.startswith(path) for one in GRPC if path.startswith("/crown.")):
        return "calls"
    pattern = (
        match["safe_regex"]["regex"]
        if "safe_regex" in match
        else re.escape(path) + (".*" if "prefix" in match else "")
    )
    wanted = [verb for one in methods for verb in (one.get("exact") or one["safe_regex"]["regex"]).split("|")]
    taken = [
        template for verb, template in REST if verb in wanted and re.fullmatch(pattern, sample(template))
    ]
    return "calls" if taken else ""


def needs_token(path: str) -> bool:
    """Whether the gateway refuses who comes without one: the first of its rules that fits decides."""
    [jwt] = [f["typed_config"] for f in manager()["http_filters"] if f["name"].endswith("jwt_authn")]
    for rule in jwt["rules"]:
        match = rule["match"]
        pattern = match.get("safe_regex", {}).get("regex")
        if re.fullmatch(pattern, path) if pattern else path.startswith(match["prefix"]):
            return "requires" in rule
    return False


def limited_as(path: str) -> str | None:
    """As which kind of path the calls of an address are counted."""
    [limits] = [f["typed_config"] for f in manager()["http_filters"] if f["name"].endswith("local_ratelimit")]
    for one in limits["rate_limits"]:
        matched = one["actions"][0]["header_value_match"]
        if re.fullmatch(matched["headers"][0]["string_match"]["safe_regex"]["regex"], path):
            return str(matched["descriptor_value"])
    return None


@pytest.mark.parametrize(("verb", "template"), REST, ids=lambda part: part)
def test_what_needs_no_token_is_bounded_by_address_and_nothing_else_is(verb: str, template: str) -> None:
    rule = REST[verb, template]
    kind = "callback" if rule.proof == access_pb2.PROOF_PROVIDER_SIGNATURE else "open"
    for path in (sample(template), f"{sample(template)}?a=b"):
        assert limited_as(path) == (kind if access.is_open(rule) else None)


@pytest.mark.parametrize("path", GRPC)
def test_nor_is_a_call_of_grpc_unbounded(path: str) -> None:
    assert limited_as(path) == (None if needs_token(path) else "open")


@pytest.mark.parametrize("path", LISTED)
def test_listed_paths_are_bounded_but_for_health_and_sockets(path: str) -> None:
    """The gateway answers the one itself, and realtime bounds the others."""
    assert limited_as(path) == (None if path == "/healthz" or path.startswith("/socket/") else "open")


def test_every_route_is_of_a_call_or_listed() -> None:
    assert [route["match"] for route in routes() if not serves(route)] == []


def test_every_listed_path_has_its_route() -> None:
    matches = [route["match"] for route in routes()]
    there = {match.get("path") or match.get("prefix") for match in matches}
    assert {path for path in LISTED if path not in there} == set()


@pytest.mark.parametrize(
    "match",
    [
        {"prefix": "/admin/"},
        {"path": "/api/v1/nothing", "headers": [{"name": ":method", "string_match": {"exact": "GET"}}]},
        {"safe_regex": {"regex": "/other/[^/]+"}, "headers": []},
        {"prefix": "/crown.other."},
    ],
)
def test_a_route_of_nothing_is_noticed(match: dict[str, Any]) -> None:
    assert serves({"match": match, "route": {}}) == ""


@pytest.mark.parametrize(("verb", "template"), REST, ids=lambda part: part)
def test_the_gateway_asks_for_a_token_where_the_rule_does(verb: str, template: str) -> None:
    rule = REST[verb, template]
    # What may hold its token elsewhere is asked by its service.
    assert needs_token(sample(template)) == (not access.is_open(rule) and not rule.token)


@pytest.mark.parametrize("path", GRPC)
def test_no_call_of_grpc_passes_without_a_token(path: str) -> None:
    """Callbacks come by REST alone: over gRPC even they need one here."""
    rule = GRPC[path].options.Extensions[access_pb2.access]
    assert needs_token(path) == (not rule.anyone)
