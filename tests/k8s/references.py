"""What the manifests name and has to be there: objects, keys, ports, variables that the code reads, and peers that
exist. Each answers what is wrong, one line a problem."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import yaml

import crown
from crown import rpc
from crown.settings import ProcessSettings, variable
from crown.tls import AUTHORITY, CERTIFICATE, KEY
from gateway.render import render
from services.email.settings import EmailSettings
from services.ingest.filter_settings import OwnFilterSettings
from services.ingest.settings import IngestSettings
from services.push.settings import PushSettings
from services.realtime.relay.settings import RelaySettings
from services.realtime.settings import Settings as RealtimeSettings
from services.sms.settings import SmsSettings
from stack.services import FILTER, RELAY, ROLES
from tests.k8s.manifests import DATA, NAMESPACE, Manifests, Object, Pod, container, pod_spec, selects
from tests.k8s.network import Policies, fits_pod, peers, rules

Problems = Iterator[str]

_SETTINGS: dict[tuple[str, ...], type[ProcessSettings]] = {
    ("services.ingest", "api"): IngestSettings,
    ("services.ingest", "dispatch"): IngestSettings,
    ("services.ingest", "record"): IngestSettings,
    ("services.ingest", "webhook"): IngestSettings,
    ("services.ingest", "prepare"): IngestSettings,
    ("services.ingest", "filter"): OwnFilterSettings,
    ("services.email",): EmailSettings,
    ("services.push",): PushSettings,
    ("services.sms",): SmsSettings,
    ("services.realtime",): RealtimeSettings,
    ("services.realtime.relay",): RelaySettings,
}
# What the gateway reads: placeholders of envoy.yaml, and what gateway/ reads by itself.
_GATEWAY = {
    "JWKS_URL", "JWT_ISSUER", "JWT_AUDIENCE", "CORS_ORIGINS", "GATEWAY_GRACE_S", "GATEWAY_CONCURRENCY",
    "GATEWAY_OPEN_RATE", "GATEWAY_CALLBACK_RATE", "GATEWAY_TRUSTED_HOPS",
    "GATEWAY_MAX_HEAP_BYTES", "GATEWAY_MAX_CONNECTIONS", "GATEWAY_WEB", "CROWN_OTLP_ENDPOINT", "CROWN_TRACE_RATIO",
    "CROWN_TLS_FOLDER", "GATEWAY_TLS_FOLDER",
}  # fmt: skip
_UNITS = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


def settings_of(workload: Object) -> type[ProcessSettings] | None:
    """The settings that the program of a workload reads; None for what is none of our services."""
    python, module, *arguments = container(workload)["command"][:1] + container(workload)["command"][2:]
    assert python in {"python", "valkey-server"}
    return _SETTINGS.get((module, *arguments))


def runs_every_process(found: Manifests) -> Problems:
    """Each process of the suite, with the lanes that it has on one machine, is a Deployment of the same name."""
    wanted = {role.name: role for role in (*ROLES, RELAY, FILTER)}
    for role in ROLES:
        if role.name not in found.names("Deployment"):
            yield f"{role.name} does not run"
    for one in found.of("Deployment"):
        if one["metadata"]["name"] not in wanted:
            continue
        role = wanted[one["metadata"]["name"]]
        if tuple(container(one)["command"]) != ("python", "-m", *role.arguments):
            yield f"{role.name} runs {' '.join(container(one)['command'])}"
        if found.environment(one).get("CROWN_DISPATCH_LANES", "") != role.lanes:
            yield f"{role.name}: other lanes"


def tells_what_is_read(found: Manifests) -> Problems:
    """Every variable is one that the program reads, and none that it cannot do without is missing."""
    for one in found.workloads():
        name, told = one["metadata"]["name"], found.environment(one)
        cls = settings_of(one)
        if cls is None:
            known = _GATEWAY if name == "gateway" else set()
            yield from (f"{name}: nobody reads {variable}" for variable in told.keys() - known)
            continue
        fields = {variable(field, key): field for key, field in cls.model_fields.items()}
        plain = {key.removesuffix("_FILE") if key not in fields else key for key in told}
        yield from (f"{name}: nobody reads {key}" for key in sorted(plain - fields.keys()))
        required = {key for key, field in fields.items() if field.is_required()}
        yield from (f"{name}: {key} is missing" for key in sorted(required - plain))


def holds_no_secret(found: Manifests) -> Problems:
    """What is secret is named, never written: no Secret here, and no secret setting but as a file."""
    yield from (f"Secret {name}" for name in found.names("Secret"))
    for one in found.workloads():
        cls = settings_of(one)
        secret = {
            variable(field, key)
            for key, field in (cls.model_fields.items() if cls else ())
            if "Secret" in str(field.annotation) and key != "smtp_host"
        }
        told = found.environment(one)
        yield from (
            f"{one['metadata']['name']}: {key}" for key in sorted(secret & {k for k, v in told.items() if v})
        )


def mounts_what_it_reads(found: Manifests, secrets: Manifests) -> Problems:
    """Each NAME_FILE, and each path that a command names, lies in a mounted file, and that comes from a key that is
    there."""
    for one in found.workloads():
        name, files = one["metadata"]["name"], found.files(one)
        for key, path in found.environment(one).items():
            if (key.endswith("_FILE") or path.startswith("/etc/crown")) and path not in files:
                yield f"{name}: {key} is {path}, where nothing is"
        for path, (kind, called, key) in files.items():
            try:
                source = (
                    secrets.find(kind, called) if kind == "Secret" else _either(kind, called, found, secrets)
                )
            except KeyError:
                yield f"{name}: {path} is from {kind} {called}, which is not there"
                continue
            if key not in source["data"]:
                yield f"{name}: {path} is from {called}, which has no {key}"


def shows_who_it_is(found: Manifests) -> Problems:
    """Where one part speaks TLS, all do: each with a certificate of its own, and probes, which have none, at a port
    that tells health alone. Whoever calls past the gateway is among the callers."""
    parts = [
        one
        for one in found.of("Deployment")
        if one["metadata"]["labels"].get("app.kubernetes.io/component") in {"service", "gateway"}
    ]
    if not any("CROWN_TLS_FOLDER" in found.environment(one) for one in parts):
        return
    for one in parts:
        name, told, files = one["metadata"]["name"], found.environment(one), found.files(one)
        shown = {
            files.get(f"{told.get('CROWN_TLS_FOLDER')}/{file}") for file in (CERTIFICATE, KEY, AUTHORITY)
        }
        if shown != {("Secret", f"{name}-tls", file) for file in (CERTIFICATE, KEY, AUTHORITY)}:
            yield f"{name} shows no certificate of its own"
        if name == "gateway":
            continue
        for kind in ("startup", "liveness", "readiness"):
            if container(one)[f"{kind}Probe"]["grpc"]["port"] != int(told.get("CROWN_HEALTH_PORT", 0)):
                yield f"{name}: {kind} shows no certificate where one is asked for"
        for key, callee in (
            ("CROWN_INGEST_ADDRESS", "ingest-api"),
            ("CROWN_FILTER_ADDRESS", "ingest-filter"),
        ):
            if told.get(key, "").partition(":")[0] == callee:
                callers = found.environment(found.find("Deployment", callee)).get("CROWN_TLS_CALLERS", "")
                if name not in callers.split(","):
                    yield f"{callee} refuses {name}"


def _either(kind: str, name: str, *places: Manifests) -> Object:
    for place in places:
        if name in place.names(kind):
            return place.find(kind, name)
    raise KeyError(name)


def leads_to_pods(found: Manifests) -> Problems:
    """Each Service has pods, and each of its ports one that they listen on, of the same number where the Service has
    no address of its own."""
    pods = list(found.pods())
    for service in found.of("Service"):
        name, spec = service["metadata"]["name"], service["spec"]
        mine = [pod for pod in pods if selects({"matchLabels": spec["selector"]}, pod.labels)]
        if {pod.name for pod in mine} != {name}:
            yield f"Service {name} leads to {[pod.name for pod in mine]}"
        for port in spec["ports"]:
            number = [pod.ports.get(port["targetPort"], 0) for pod in mine]
            if number not in ([port["port"]], []) and (spec.get("clusterIP") == "None" or number == [0]):
                yield f"Service {name}: port {port['name']} leads to {number}"


def balances_grpc(found: Manifests) -> Problems:
    """A Service with gRPC is headless: behind one address, a connection that lives for hours sticks to a pod."""
    for service in found.of("Service"):
        speaks_grpc = any(port["name"] == "grpc" for port in service["spec"]["ports"])
        if speaks_grpc and service["spec"].get("clusterIP") != "None":
            yield service["metadata"]["name"]


def probes_what_is_served(found: Manifests) -> Problems:
    """Probes ask on ports that the container has, and for health that the code tells."""
    for one in found.workloads():
        ports = {port["name"]: port["containerPort"] for port in container(one).get("ports", [])}
        for kind in ("startup", "liveness", "readiness"):
            probe = container(one).get(f"{kind}Probe", {})
            port = next(
                (probe[how]["port"] for how in ("grpc", "httpGet", "tcpSocket") if how in probe), None
            )
            if port is not None and port not in ports and port not in ports.values():
                yield f"{one['metadata']['name']}: {kind} asks port {port}"
            if probe.get("grpc", {}).get("service", "") not in {"", rpc.ALIVE}:
                yield f"{one['metadata']['name']}: {kind} asks for {probe['grpc']['service']}"


def listens_where_it_says(found: Manifests) -> Problems:
    """The ports of a container are those that its settings name."""
    for one in found.workloads():
        cls = settings_of(one)
        told = found.environment(one)
        if cls is None or one["kind"] == "Job":
            continue
        ports = {port["name"]: port["containerPort"] for port in container(one).get("ports", [])}
        for key, field in cls.model_fields.items():
            if key.endswith("_port"):
                number = int(told.get(variable(field, key), field.default))
                # What is 0 is not opened.
                if number and ports.get(key.removesuffix("_port")) != number:
                    yield f"{one['metadata']['name']}: {key} is {number}"


def scales_what_is_there(found: Manifests) -> Problems:
    """Scalers and budgets are about workloads that exist."""
    for kind in ("HorizontalPodAutoscaler", "ScaledObject"):
        for one in found.of(kind):
            if one["spec"]["scaleTargetRef"]["name"] not in found.names("Deployment"):
                yield f"{kind} {one['metadata']['name']}"
    for one in found.of("PodDisruptionBudget"):
        if not any(selects(one["spec"]["selector"], pod.labels) for pod in found.pods()):
            yield f"PodDisruptionBudget {one['metadata']['name']}"


def names_peers_that_exist(found: Manifests) -> Problems:
    """Each policy is about pods that exist, names others that do, and ports that they have."""
    world = found.world()
    for policy in found.of("NetworkPolicy"):
        name, spec = policy["metadata"]["name"], policy["spec"]
        mine = [pod for pod in found.pods() if selects(spec["podSelector"], pod.labels)]
        if not mine:
            yield f"{name}: about nobody"
        for direction, rule in rules(policy):
            others = [
                [pod for pod in world if fits_pod(peer, pod, NAMESPACE)]
                for peer in peers(direction, rule)
                if "ipBlock" not in peer
            ]
            if not all(others):
                yield f"{name}: {direction} with nobody"
            ends = mine if direction == "Ingress" else [pod for group in others for pod in group]
            for port in rule["ports"] if ends else ():
                if not any(port["port"] in {*pod.ports, *pod.ports.values()} for pod in ends):
                    yield f"{name}: {direction} of port {port['port']}"
    for selector in _listed_values(found):
        yield from (f"there is no pod {name}" for name in selector - {pod.name for pod in found.pods()})


def _listed_values(found: Manifests) -> Iterator[set[str]]:
    for policy in found.of("NetworkPolicy"):
        selectors = [policy["spec"]["podSelector"]] + [
            peer.get("podSelector", {})
            for direction, rule in rules(policy)
            for peer in peers(direction, rule)
        ]
        for selector in selectors:
            for expression in selector.get("matchExpressions", []):
                yield set(expression["values"])


def lets_through_what_is_needed(found: Manifests, dependencies: Manifests) -> Problems:
    """Every call that the suite makes comes about, and no other between its pods."""
    policies = Policies([*found.of("NetworkPolicy"), *dependencies.of("NetworkPolicy")])
    pods = {pod.name: pod for pod in found.world()}
    wanted = set(_calls(found, pods))
    numbers = {port for _, _, port in wanted} | {9090, 50051, 4000, 4001, 3005}
    for source in pods.values():
        for to in pods.values():
            for port in numbers:
                passes = source is not to and policies.passes(
                    source, to, port, "UDP" if port == 53 else "TCP"
                )
                if source.namespace != NAMESPACE and (to.namespace != NAMESPACE or to.name == "gateway"):
                    continue
                if passes != ((source.name, to.name, port) in wanted) and to.name != "gateway":
                    yield f"{source.name} → {to.name}:{port} {'passes' if passes else 'does not pass'}"
    anyone = Pod("anyone", "elsewhere", {}, {})
    if not policies.passes(anyone, pods["gateway"], 3005):
        yield "nobody reaches the gateway"


def _calls(found: Manifests, pods: dict[str, Pod]) -> Iterator[tuple[str, str, int]]:
    """Who calls whom on which port: what the code does."""
    for one in found.workloads():
        name, told = one["metadata"]["name"], found.environment(one)
        yield name, "kube-dns", 53
        if "NATS_URL" in told:
            yield name, "nats", 4222
            yield name, "crown-0", 27017
            yield name, "valkey", 6379
        keys = told.get("CROWN_JWKS") or told.get("JWKS_URL") or ""
        # These check no tokens: nobody calls them for anything but health.
        if keys and name not in {*_CHECK_NOTHING}:
            yield name, "auth", 8080
        if settings_of(one) is not None and name != "prepare":
            yield "prometheus", name, 9090
        for address in _addresses(told):
            host, _, port = address.rpartition(":")
            yield name, host, int(port)
    for service, number in gateway_addresses(found):
        yield "gateway", service, number


_CHECK_NOTHING = (
    "ingest-dispatch-critical", "ingest-dispatch", "ingest-record", "ingest-webhook", "prepare",
)  # fmt: skip


def _addresses(told: dict[str, str]) -> Iterator[str]:
    for part in filter(None, told.get("CROWN_PEERS", "").split(",")):
        yield part.partition("=")[2]
    for key in ("CROWN_INGEST_ADDRESS", "CROWN_FILTER_ADDRESS"):
        if told.get(key):
            yield told[key]


def gateway_addresses(found: Manifests) -> set[tuple[str, int]]:
    """Where the gateway's configuration, rendered as its container would, leads to."""
    return _addresses_in(tuple(found.environment(found.find("Deployment", "gateway")).items()))


@functools.cache
def _addresses_in(told: tuple[tuple[str, str], ...]) -> set[tuple[str, int]]:
    document: Any = yaml.safe_load(render(dict(told)))
    result = set()
    for cluster in document["static_resources"]["clusters"]:
        for group in cluster["load_assignment"]["endpoints"]:
            for endpoint in group["lb_endpoints"]:
                at = endpoint["endpoint"]["address"]["socket_address"]
                if cluster["name"] != "keys":
                    result.add((at["address"], at["port_value"]))
    return result


def calls_services_that_exist(found: Manifests) -> Problems:
    """Every address in a setting is a Service with that port: the gateway's, peers, ingest, the filter, the keys."""
    ports = {
        one["metadata"]["name"]: {port["port"] for port in one["spec"]["ports"]}
        for one in found.of("Service")
    }
    named = {(f"gateway → {host}", host, port) for host, port in gateway_addresses(found)}
    for one in found.workloads():
        for address in _addresses(found.environment(one)):
            host, _, port = address.rpartition(":")
            named.add((f"{one['metadata']['name']} → {host}", host, int(port)))
    yield from (f"{what}:{port}" for what, host, port in sorted(named) if port not in ports.get(host, set()))
    told = {
        part.partition("=")[0]
        for part in found.environment(found.find("Deployment", "ingest-api"))["CROWN_PEERS"].split(",")
    }
    yield from (
        f"/readyz does not ask {role.name}" for role in ROLES if role.name not in told | {"ingest-api"}
    )


def fits_its_memory(found: Manifests) -> Problems:
    """The heap at which Envoy sheds load lies well below the limit at which the pod would be killed."""
    one = found.find("Deployment", "gateway")
    limit = container(one)["resources"]["limits"]["memory"]
    most = int(limit[:-2]) * _UNITS[limit[-2:]]
    if int(found.environment(one).get("GATEWAY_MAX_HEAP_BYTES", "2147483648")) > 0.8 * most:
        yield "the gateway would be killed before it refuses"


def runs_this_version(found: Manifests) -> Problems:
    """One image of one version: that of this repository."""
    images = {container(one)["image"] for one in found.workloads() if one["metadata"]["namespace"] != DATA}
    if images != {f"crown-notification-service:{crown.__version__}"}:
        yield f"images {sorted(images)}"


def trusts_one_issuer(found: Manifests) -> Problems:
    """The gateway and the services take the same tokens."""
    told = [found.environment(one) for one in found.workloads()]
    names = ("JWKS", "JWT_ISSUER", "JWT_AUDIENCE")
    services = {tuple(one[f"CROWN_{name}"] for name in names) for one in told if "CROWN_JWKS" in one}
    gateway = {(one["JWKS_URL"], one["JWT_ISSUER"], one["JWT_AUDIENCE"]) for one in told if "JWKS_URL" in one}
    if len(services) != 1 or services != gateway:
        yield f"{services} and {gateway}"


def pods_belong_to_their_workload(found: Manifests) -> Problems:
    """What a workload looks for is what its pods are labelled with."""
    for one in found.of("Deployment"):
        if not selects(one["spec"]["selector"], one["spec"]["template"]["metadata"]["labels"]):
            yield one["metadata"]["name"]
        volumes = {volume["name"] for volume in pod_spec(one)["volumes"]}
        mounts = {mount["name"] for mount in container(one)["volumeMounts"]}
        if volumes != mounts:
            yield f"{one['metadata']['name']}: volumes {sorted(volumes ^ mounts)}"
