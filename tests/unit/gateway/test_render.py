"""What the gateway's configuration becomes in which environment, and which variables it refuses."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from crown.notification.v1.error_reason_pb2 import ErrorReason
from gateway import contract
from gateway.render import HERE, main, render
from gateway.template import ConfigurationError

NEEDED = {"JWT_ISSUER": "crown-auth"}


@functools.cache
def rendered(**environ: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(render(NEEDED | environ))
    return document


def addresses(document: dict[str, Any]) -> dict[str, str]:
    """Where each cluster goes."""
    found = {}
    for cluster in document["static_resources"]["clusters"]:
        [endpoint] = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
        socket = endpoint["endpoint"]["address"]["socket_address"]
        found[cluster["name"]] = f"{socket['address']}:{socket['port_value']}"
    return found


def test_a_cluster_has_all_processes_that_are_named() -> None:
    document = rendered(EMAIL_ADDRESS="127.0.0.1:3034, 127.0.0.1:4000", SMS_ADDRESS="[::1]:3036")
    found = {
        cluster["name"]: [
            tuple(one["endpoint"]["address"]["socket_address"].values())
            for one in cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
        ]
        for cluster in document["static_resources"]["clusters"]
    }
    assert found["email"] == [("127.0.0.1", 3034), ("127.0.0.1", 4000)]
    assert found["sms"] == [("::1", 3036)]


@pytest.mark.parametrize("value", ["127.0.0.1:3034,", "127.0.0.1:3034,here", ":1,a:2"])
def test_one_bad_address_of_several_names_the_variable(value: str) -> None:
    with pytest.raises(ConfigurationError, match="EMAIL_ADDRESS: host:port is needed"):
        render(NEEDED | {"EMAIL_ADDRESS": value})


def connection_manager(document: dict[str, Any]) -> dict[str, Any]:
    [chain] = document["static_resources"]["listeners"][0]["filter_chains"]
    found: dict[str, Any] = chain["filters"][0]["typed_config"]
    return found


def http_filter(document: dict[str, Any], name: str) -> dict[str, Any]:
    filters = connection_manager(document)["http_filters"]
    [config] = [f["typed_config"] for f in filters if f["name"] == f"envoy.filters.http.{name}"]
    found: dict[str, Any] = config
    return found


def provider(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = http_filter(document, "jwt_authn")["providers"]["crown"]
    return found


def test_defaults_are_the_names_of_the_services() -> None:
    document = rendered()
    listener = document["static_resources"]["listeners"][0]["address"]["socket_address"]
    assert listener == {"address": "0.0.0.0", "port_value": 3005}
    assert document["admin"]["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 3006}
    assert addresses(document) == {
        "ingest": "ingest-api:50051", "email": "email:50051", "push": "push:50051", "sms": "sms:50051",
        "realtime": "realtime:50051", "realtime-websocket": "realtime:4000",
        "realtime-longpoll": "realtime:4001",
    }  # fmt: skip
    assert provider(document)["audiences"] == ["crown-notification"]
    assert http_filter(document, "grpc_json_transcoder")["proto_descriptor"] == str(HERE / "crown.binpb")


def test_variables_move_everything() -> None:
    document = rendered(
        NOTIFICATION_SERVICE_PORT="13005", GATEWAY_BIND="127.0.0.1", SMS_ADDRESS="[::1]:13036",
        JWT_AUDIENCE="crown-test", JWKS_PATH="/keys.json", DESCRIPTOR_PATH="/crown.binpb",
    )  # fmt: skip
    listener = document["static_resources"]["listeners"][0]["address"]["socket_address"]
    assert listener == {"address": "127.0.0.1", "port_value": 13005}
    assert addresses(document)["sms"] == "::1:13036"
    assert provider(document)["audiences"] == ["crown-test"]
    assert provider(document)["local_jwks"] == {"filename": "/keys.json"}
    assert http_filter(document, "grpc_json_transcoder")["proto_descriptor"] == "/crown.binpb"


def test_an_empty_variable_is_not_set() -> None:
    assert addresses(rendered(SMS_ADDRESS=""))["sms"] == "sms:50051"


@pytest.mark.parametrize("environ", [{}, {"JWT_ISSUER": ""}])
def test_names_what_is_missing(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="JWT_ISSUER"):
        render(environ)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("INGEST_ADDRESS", "ingest"),
        ("INGEST_ADDRESS", "ingest:http"),
        ("NOTIFICATION_SERVICE_PORT", "70000"),
        ("JWKS_URL", "auth.example/keys"),
        ("CORS_ORIGINS", "*"),
        ("CORS_ORIGINS", "https://app.example/path"),
        ("GATEWAY_WEB", "/nowhere"),
        ("GATEWAY_OPEN_RATE", "many"),
        ("GATEWAY_CALLBACK_RATE", "-1"),
        ("GATEWAY_TRUSTED_HOPS", "11"),
    ],
)
def test_names_what_makes_no_sense(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=name) as refused:
        rendered(**{name: value})
    assert value not in str(refused.value).replace("https://app.example, without a path", "")


def test_the_command_says_it_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JWT_ISSUER", raising=False)
    with pytest.raises(SystemExit, match="gateway: JWT_ISSUER is not set"):
        main()


def test_a_value_stays_in_its_place() -> None:
    hostile = 'x", "forward": false}\n- ${JWT_AUDIENCE}'
    assert provider(rendered(JWT_ISSUER=hostile))["issuer"] == hostile


@pytest.mark.parametrize(("url", "address", "tls"), [
    ("https://auth.example/keys", "auth.example:443", True),
    ("http://auth:8080/keys", "auth:8080", False),
])  # fmt: skip
def test_keys_may_come_from_a_url(url: str, address: str, tls: bool) -> None:
    document = rendered(JWKS_URL=url)
    assert "local_jwks" not in provider(document)
    assert provider(document)["remote_jwks"]["http_uri"]["uri"] == url
    assert addresses(document)["keys"] == address
    keys = document["static_resources"]["clusters"][-1]
    assert ("transport_socket" in keys) == tls


@pytest.mark.parametrize(
    ("origins", "pattern"),
    [
        ("", r"[^\s\S]"),
        ("https://app.example", r"https://app\.example"),
        ("https://a.b, http://localhost:*", r"https://a\.b|http://localhost:[A-Za-z0-9-]+"),
    ],
)
def test_origins_are_matched_as_they_are_written(origins: str, pattern: str) -> None:
    [host] = connection_manager(rendered(CORS_ORIGINS=origins))["route_config"]["virtual_hosts"]
    [matcher] = host["typed_per_filter_config"]["envoy.filters.http.cors"]["allow_origin_string_match"]
    assert matcher == {"safe_regex": {"regex": pattern}}


def pages(document: dict[str, Any]) -> dict[str, Any]:
    """The files that are served, by their path."""
    [host] = connection_manager(document)["route_config"]["virtual_hosts"]
    served = [
        route for route in host["routes"] if "filename" in route.get("direct_response", {}).get("body", {})
    ]
    return {route["match"]["path"]: route for route in served}


def test_pages_are_served_where_a_folder_is_named() -> None:
    assert pages(rendered()) == {}
    found = pages(rendered(GATEWAY_WEB=str(HERE / "web")))
    assert len(found) == 17
    assert {"/demo", "/demo/demo.css", "/demo/demo.js", "/demo/phoenix.mjs"} < set(found)
    assert {"/console", "/console/console.js", "/console/figures.js", "/console/phoenix.mjs"} < set(found)
    for route in found.values():
        assert Path(route["direct_response"]["body"]["filename"]).is_file()
        [policy] = [
            one["header"]["value"]
            for one in route["response_headers_to_add"]
            if one["header"]["key"] == "content-security-policy"
        ]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy


def test_a_page_fits_into_an_answer() -> None:
    most = connection_manager(rendered())["route_config"]["max_direct_response_body_size_bytes"]
    assert max(path.stat().st_size for path in (HERE / "web").iterdir()) < most


def test_every_service_has_a_cluster() -> None:
    listed = http_filter(rendered(), "grpc_json_transcoder")["services"]
    files = contract.load(HERE / "crown.binpb")
    assert set(listed) == {f"{package}.{service.name}" for package, service in contract.services(files)}


def test_every_reason_is_one_of_the_contract() -> None:
    mappers = connection_manager(rendered())["local_reply_config"]["mappers"]
    formats = [mapper["body_format_override"].get("json_format") for mapper in mappers]
    reasons = {found["details"][0]["reason"] for found in formats if found and "details" in found}
    assert reasons
    assert {f"ERROR_REASON_{reason}" for reason in reasons} <= set(ErrorReason.keys())


def test_only_sockets_may_be_upgraded() -> None:
    manager = connection_manager(rendered())
    assert [upgrade["enabled"] for upgrade in manager["upgrade_configs"]] == [False]
    [host] = manager["route_config"]["virtual_hosts"]
    upgradable = [route for route in host["routes"] if "upgrade_configs" in route.get("route", {})]
    assert [route["match"]["prefix"] for route in upgradable] == ["/socket/"]
    # A client may be silent for 60 s before the service closes its socket.
    assert upgradable[0]["route"]["idle_timeout"] == "120s"


def test_what_is_held_open_has_more_room_than_envoy_gives_and_calls_are_bounded() -> None:
    for cluster in rendered()["static_resources"]["clusters"]:
        thresholds = cluster["circuit_breakers"]["thresholds"]
        [threshold] = [one for one in thresholds if "priority" not in one]
        if cluster["name"].startswith("realtime"):
            assert (
                min(threshold[name] for name in ("max_connections", "max_pending_requests", "max_requests"))
                >= 20_000
            )
        else:
            assert threshold["max_requests"] == threshold["max_pending_requests"] == 1_000
        assert cluster["outlier_detection"]["max_ejection_percent"] < 100


def forwarded(document: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """How many balancers are trusted, and what is taken away of x-forwarded-…"""
    manager = connection_manager(document)
    [early] = manager["early_header_mutation_extensions"]
    [found] = [
        one["remove_on_match"]["key_matcher"]
        for one in early["typed_config"]["mutations"]
        if "x-forwarded-" in str(one)
    ]
    return int(manager["xff_num_trusted_hops"]), found


def test_nobody_in_front_is_believed_unless_it_is_said() -> None:
    assert forwarded(rendered()) == (0, {"prefix": "x-forwarded-"})
    hops, matcher = forwarded(rendered(GATEWAY_TRUSTED_HOPS="2"))
    assert hops == 2
    kept = re.compile(matcher["safe_regex"]["regex"])
    named = [
        f"x-forwarded-{name}"
        for name in ("", "f", "fo", "fox", "for", "for-", "host", "proto", "client-cert")
    ]
    assert [name for name in named if not kept.fullmatch(name)] == ["x-forwarded-for"]


def test_an_address_may_call_as_often_as_it_is_told() -> None:
    def buckets(document: dict[str, Any]) -> dict[str, tuple[int, int]]:
        found = {one["entries"][0]["value"]: one["token_bucket"] for one in limiter(document)["descriptors"]}
        return {kind: (one["tokens_per_fill"], one["max_tokens"]) for kind, one in found.items()}

    assert buckets(rendered()) == {"open": (100, 1_000), "callback": (1_000, 10_000)}
    assert buckets(rendered(GATEWAY_OPEN_RATE="7")) == {"open": (7, 70), "callback": (1_000, 10_000)}
    assert buckets(rendered(GATEWAY_CALLBACK_RATE="0", GATEWAY_OPEN_RATE="1")) == {"open": (1, 10)}


def limiter(document: dict[str, Any]) -> dict[str, Any]:
    return http_filter(document, "local_ratelimit")


def test_the_pages_may_be_those_of_the_package() -> None:
    written = yaml.safe_dump(rendered(GATEWAY_WEB="included"))
    assert str(HERE / "web" / "console.html") in written
    assert "console.html" not in yaml.safe_dump(rendered())


def test_without_a_collector_nothing_is_traced() -> None:
    assert "tracing" not in connection_manager(rendered())
    assert "collector" not in addresses(rendered())


def test_spans_go_to_the_collector_and_as_many_as_asked() -> None:
    document = rendered(CROWN_OTLP_ENDPOINT="https://collector.example/", CROWN_TRACE_RATIO="0.25")
    provider = connection_manager(document)["tracing"]["provider"]["typed_config"]
    assert provider["http_service"]["http_uri"]["uri"] == "https://collector.example/v1/traces"
    assert addresses(document)["collector"] == "collector.example:443"
    cluster = next(one for one in document["static_resources"]["clusters"] if one["name"] == "collector")
    assert cluster["transport_socket"]["typed_config"]["sni"] == "collector.example"
    ratio = provider["sampler"]["typed_config"]["wrapped_sampler"]["typed_config"]["sampling_percentage"]
    assert ratio == {"numerator": 250_000, "denominator": "MILLION"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CROWN_OTLP_ENDPOINT", "collector:4318"),
        ("CROWN_OTLP_ENDPOINT", "http://"),
        ("CROWN_OTLP_ENDPOINT", "http://collector:port"),
        ("CROWN_OTLP_ENDPOINT", "http://collector:4318/v1/traces"),
        ("CROWN_TRACE_RATIO", "much"),
        ("CROWN_TRACE_RATIO", "1.01"),
        ("CROWN_TRACE_RATIO", "-0.1"),
        ("CROWN_TRACE_RATIO", "nan"),
        ("CROWN_OTLP_HEADERS", "no-value"),
        ("CROWN_OTLP_HEADERS", "name="),
    ],
)
def test_a_wrong_setting_of_traces_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        render(NEEDED | {"CROWN_OTLP_ENDPOINT": "http://collector:4318", name: value})
