"""Makes Envoy's configuration of envoy.yaml: `python -m gateway.render > envoy.yaml`, elsewhere.

Knows what the placeholders stand for: the environment, and what follows from it and from the contract.
What only Envoy can tell, `envoy --mode validate` does.
"""

from __future__ import annotations

import base64
import os
import re
import sys
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

from crown import problem
from crown.errors import DOMAIN
from gateway import contract
from gateway.template import ConfigurationError, Scope, dump, expand, socket_address

HERE = Path(__file__).resolve().parent
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.*:\[\]-]+")
# What GATEWAY_WEB says where the pages are to be those that come with this package, wherever it lies.
_INCLUDED = "included"
# Where the files lie that tell what is shown by TLS; each with its form in envoy.yaml and the variable of its folder.
_SECRETS = "SECRETS"
_SHOWN = (
    ("own", "certificate", "CROWN_TLS_FOLDER"),
    ("authority", "authority", "CROWN_TLS_FOLDER"),
    ("edge", "certificate", "GATEWAY_TLS_FOLDER"),
)
# What no page of ours asks a browser for.
_PERMISSIONS = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"
_NO_ORIGIN = r"[^\s\S]"
# So many seconds' worth may come at once.
BURST_S = 10


def render(environ: Mapping[str, str]) -> str:
    """The configuration, as YAML that Envoy reads. A variable that is empty counts as not set.

    Raises ConfigurationError naming the variable that is missing or makes no sense.
    """
    document = yaml.safe_load((HERE / "envoy.yaml").read_text())
    variables: dict[str, Any] = {"DESCRIPTOR_PATH": str(HERE / "crown.binpb")}
    variables |= {name: value for name, value in environ.items() if value}
    variables |= _pages(HERE / "pages")
    variables["CORS_PATTERN"] = _origins_pattern(variables.get("CORS_ORIGINS", ""))
    tables = _tables(document["x-tables"]) | _web(document["x-web"], variables)
    tables["rates"] = _rates(document["x-rates"], variables)
    tables |= _endpoints(document["x-addresses"], variables)
    hops = _number(variables, "GATEWAY_TRUSTED_HOPS", 0, 10)
    known = {
        **variables,
        **tables,
        **_keys(document["x-keys"], variables),
        **_tracing(document["x-tracing"], variables),
        **_tls(document["x-tls"], variables),
        "forwarded": document["x-forwarded"]["trusted" if hops else "untrusted"],
    }
    return dump(expand(document, known))


def files(environ: Mapping[str, str], folder: Path) -> dict[str, str]:
    """What Envoy reads, by the name of the file in `folder`: the configuration, and what it shows by TLS. Raises as
    `render` does."""
    written = yaml.safe_load((HERE / "envoy.yaml").read_text())["x-tls"]
    found = {"envoy.yaml": render({**environ, _SECRETS: str(folder)})}
    for name, form, variable in _SHOWN:
        if environ.get(variable):
            known = {"secret": name, "folder": environ[variable]}
            found[f"{name}.yaml"] = dump(expand(written[form], known))
    return found


def _tables(written: dict[str, list[contract.Row]]) -> dict[str, list[contract.Row]]:
    """The tables of envoy.yaml, and those that the contract gives."""
    files = contract.load(HERE / "crown.binpb")
    clusters = {str(row["service"]): str(row["cluster"]) for row in written["services"]}
    return written | {
        "errors": [_error(row) for row in written["errors"]],
        "rest": contract.rest_rows(files),
        "rest_streams": contract.rest_stream_rows(files),
        "own_tokens": contract.own_token_rows(files),
        "wrong_methods": contract.wrong_method_rows(files),
        "streams": contract.stream_rows(files, clusters),
    }


def _error(written: Mapping[str, Any]) -> contract.Row:
    """A row of the errors with what its reason says, and all that a gRPC caller is told."""
    reason = str(written["reason"])
    told = str(written.get("grpc_reason", reason))
    # Clients compare the message with that of the details, which are made before anything is refused.
    message = str(written["plain"] if "plain" in written else written["message"])
    wait_s = written.get("retry_after_s")
    status = problem.refusal(told, message, wait_s)
    headers = {
        "grpc-status": str(status.code),
        # Unpadded, as gRPC sends it.
        "grpc-status-details-bin": base64.b64encode(status.SerializeToString()).decode().rstrip("="),
    }
    added = [_header(name, value) for name, value in headers.items()]
    soon = {} if wait_s is None else {"headers": [_header("retry-after", str(wait_s))]}
    return {
        **written,
        **soon,
        "details": _details(reason, wait_s),
        "code": problem.code(reason),
        "grpc_message": message,
        "grpc_headers": [*soon.get("headers", ()), *added],
    }


def _details(reason: str, wait_s: int | None) -> list[dict[str, str]]:
    """What a caller by REST is told beside code and message, as `problem.refusal` has it for others."""
    kind = "type.googleapis.com/google.rpc."
    soon = [] if wait_s is None else [{"@type": f"{kind}RetryInfo", "retry_delay": f"{wait_s}s"}]
    return [
        {"@type": f"{kind}ErrorInfo", "reason": reason, "domain": DOMAIN},
        *soon,
        {"@type": f"{kind}RequestInfo", "request_id": "%REQ(X-REQUEST-ID)%"},
    ]


def _header(name: str, value: str) -> dict[str, Any]:
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _rates(written: Mapping[str, Mapping[str, Any]], variables: Scope) -> list[contract.Row]:
    """How often an address may call what needs no token: a row for each kind of paths that has a limit."""
    opened, called_back = contract.open_paths(contract.load(HERE / "crown.binpb"))
    patterns = {"open": f"{written['open']['also']}|{opened}", "callback": called_back}
    rows: list[contract.Row] = []
    for kind, pattern in patterns.items():
        rate = _number(variables, written[kind]["variable"], written[kind]["rate"], 100_000)
        row = {"kind": kind, "paths": rf"(?:{pattern})(?:\?.*)?", "rate": rate, "burst": rate * BURST_S}
        rows += [row] if rate else []
    return rows


def _number(variables: Scope, name: str, default: int, most: int) -> int:
    text = str(variables.get(name, default))
    if not text.isdecimal() or int(text) > most:
        raise ConfigurationError(f"{name}: must be a whole number from 0 to {most}")
    return int(text)


def _endpoints(written: Mapping[str, str], variables: Scope) -> dict[str, list[contract.Row]]:
    """The endpoints of each cluster."""
    return {
        name: [
            {"endpoint": {"address": {"socket_address": socket_address(text, one.strip())}}}
            for one in str(expand(text, variables)).split(",")
        ]
        for name, text in written.items()
    }


def _keys(written: Mapping[str, Any], variables: Scope) -> dict[str, Any]:
    """Where the keys of tokens come from: a file, or JWKS_URL and the cluster that fetches it."""
    url = variables.get("JWKS_URL")
    if url is None:
        return {"keys_file": expand(written["file"], variables)}
    known, cluster = _elsewhere(written, "JWKS", "JWKS_URL", url)
    known = {**variables, **known}
    return {"keys_url": expand(written["url"], known), "keys_cluster": expand(cluster, known)}


def _elsewhere(
    written: Mapping[str, Any], prefix: str, variable: str, url: str
) -> tuple[dict[str, str], dict[str, Any]]:
    """Host and address of `url`, as `<prefix>_HOST` and `<prefix>_ADDRESS`, and the cluster that leads there."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == -1:
        raise ConfigurationError(f"{variable}: an http or https URL is needed")
    secure = parts.scheme == "https"
    address = f"{parts.hostname}:{port or (443 if secure else 80)}"
    cluster = written["cluster"] | ({"transport_socket": written["tls"]} if secure else {})
    return {f"{prefix}_HOST": parts.hostname, f"{prefix}_ADDRESS": address}, cluster


def _tracing(written: Mapping[str, Any], variables: Scope) -> dict[str, Any]:
    """Where spans go: to the collector at CROWN_OTLP_ENDPOINT, or nowhere, and then none are made."""
    url = variables.get("CROWN_OTLP_ENDPOINT")
    if url is None:
        return {}
    found, cluster = _elsewhere(written, "CROWN_OTLP", "CROWN_OTLP_ENDPOINT", url)
    if urlsplit(url).path.strip("/"):
        raise ConfigurationError("CROWN_OTLP_ENDPOINT: an address without a path is needed")
    known = {
        **variables,
        **found,
        "collector_url": url.rstrip("/"),
        "collector_headers": _headers(variables.get("CROWN_OTLP_HEADERS", "")),
        "per_million": round(1_000_000 * _ratio(variables.get("CROWN_TRACE_RATIO", "0.01"))),
    }
    return {"tracing": expand(written["tracing"], known), "collector_cluster": expand(cluster, known)}


def _tls(written: Mapping[str, Any], variables: Scope) -> dict[str, Any]:
    """What is shown to the services, each of which has to be who it is, and to clients; nothing is in the clear."""
    known = {_SECRETS: ".", **variables}
    found: dict[str, Any] = {}
    if "CROWN_TLS_FOLDER" in variables:
        found |= {
            f"{cluster}_tls": expand(written["upstream"], {**known, "name": name})
            for cluster, name in written["names"].items()
        }
    if "GATEWAY_TLS_FOLDER" in variables:
        found["edge_tls"] = expand(written["edge"], known)
        found["edge_headers"] = written["edge_headers"]
    return found


def _ratio(text: str) -> float:
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise ConfigurationError("CROWN_TRACE_RATIO: a number from 0 to 1 is needed")
    return ratio


def _headers(text: str) -> list[dict[str, Any]]:
    """`name=value,name=value`, as Envoy adds them to a request."""
    found = [part.strip().partition("=") for part in text.split(",") if part.strip()]
    if not all(name and value for name, _, value in found):
        raise ConfigurationError("CROWN_OTLP_HEADERS: name=value is needed, several separated by commas")
    # To Envoy a per cent sign begins a command.
    return [{"header": {"key": name, "value": unquote(value).replace("%", "%%")}} for name, _, value in found]


def _web(written: list[contract.Row], variables: Scope) -> dict[str, list[contract.Row]]:
    """The pages that the gateway serves: those in the folder GATEWAY_WEB, or none."""
    folder = variables.get("GATEWAY_WEB")
    if folder is None:
        return {"web": []}
    if folder == _INCLUDED:
        folder = str(HERE / "web")
    if missing := [str(row["file"]) for row in written if not Path(folder, str(row["file"])).is_file()]:
        raise ConfigurationError(f"GATEWAY_WEB: there is no {', '.join(missing)} in that folder")
    return {"web": [row | {"file": str(Path(folder, str(row["file"])))} for row in written]}


def _pages(folder: Path) -> dict[str, str]:
    """What people see where the gateway itself cannot follow a link of a mail, and what such a page may load."""
    link, away = ((folder / name).read_text(encoding="utf-8") for name in ("link.html", "away.html"))
    # One style for both, so that one policy allows it and nothing else.
    style = link.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; frame-ancestors 'none'"
    # To Envoy a per cent sign begins a command.
    return {
        "LINK_PAGE": link.replace("%", "%%"),
        "AWAY_PAGE": away.replace("%", "%%"),
        "PAGE_POLICY": policy,
        "PAGE_PERMISSIONS": _PERMISSIONS,
    }


def _origins_pattern(origins: str) -> str:
    """An RE2 pattern of comma separated origins, in which `*` stands for one label. None match nothing."""
    listed = [origin.strip() for origin in origins.split(",") if origin.strip()]
    if not all(_ORIGIN.fullmatch(origin) for origin in listed):
        raise ConfigurationError("CORS_ORIGINS: an origin reads like https://app.example, without a path")
    return "|".join(re.escape(origin).replace(r"\*", "[A-Za-z0-9-]+") for origin in listed) or _NO_ORIGIN


def main() -> None:
    """Prints the configuration, or says which variable is wrong and exits with 1."""
    try:
        sys.stdout.write(render(os.environ))
    except ConfigurationError as error:
        sys.exit(f"gateway: {error}")


if __name__ == "__main__":
    main()
