"""The rules that every pod of ours keeps. Each answers what is wrong, one line a problem."""

from __future__ import annotations

from collections.abc import Iterator

from crown import rpc, subjects
from services.ingest.prepare import consumers
from tests.k8s.manifests import Manifests, Object, container, pod_spec
from tests.k8s.network import Policies, peers, rules

Problems = Iterator[str]

# A pod with nothing but these cannot touch the node.
_VOLUMES = {"configMap", "emptyDir", "projected", "secret", "persistentVolumeClaim"}
# Addresses that nobody outside has: those of the cluster, the node, the provider's metadata.
_PRIVATE = (
    "10.0.0.1", "172.16.0.1", "192.168.0.1", "127.0.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
    "::1", "fe80::1", "fd00::1", "::ffff:10.0.0.1", "64:ff9b::a00:1",
)  # fmt: skip
_PUBLIC = "198.51.100.7"
# Seconds that a process needs beyond what is counted: the last words to the bus, and the end of threads.
_LAST_WORDS_S = 10
# Who works off the bus, and is scaled by what waits there.
WORKERS = {
    "ingest-dispatch-critical", "ingest-dispatch", "ingest-record", "ingest-webhook", "email", "push", "sms",
}  # fmt: skip
CALLED = {"gateway", "ingest-api", "realtime"}


def is_restricted(found: Manifests) -> Problems:
    """Pod Security "restricted", which the namespace enforces, and a file system that cannot be written to."""
    for namespace in found.of("Namespace"):
        level = namespace["metadata"]["labels"].get("pod-security.kubernetes.io/enforce")
        if namespace["metadata"]["name"] == "crown" and level != "restricted":
            yield f"the namespace enforces {level}"
    for one in found.workloads():
        name, spec, context = (
            one["metadata"]["name"],
            pod_spec(one),
            container(one).get("securityContext", {}),
        )
        pod_context = spec.get("securityContext", {})
        wanted = {
            "runAsNonRoot": pod_context.get("runAsNonRoot") is True
            and context.get("runAsNonRoot") is not False,
            "runAsUser": pod_context.get("runAsUser", 0) != 0 and context.get("runAsUser", 1) != 0,
            "seccompProfile": pod_context.get("seccompProfile") == {"type": "RuntimeDefault"},
            "allowPrivilegeEscalation": context.get("allowPrivilegeEscalation") is False,
            "privileged": not context.get("privileged"),
            "readOnlyRootFilesystem": context.get("readOnlyRootFilesystem") is True,
            "capabilities": context.get("capabilities") == {"drop": ["ALL"]},
            "host": not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")),
            "hostPort": not any("hostPort" in port for port in container(one).get("ports", [])),
            "volumes": all(set(volume) - {"name"} <= _VOLUMES for volume in spec.get("volumes", [])),
        }
        yield from (f"{name}: {key}" for key, good in wanted.items() if not good)


def has_no_rights_at_the_api_server(found: Manifests) -> Problems:
    """An account of its own, whose token is not handed out."""
    accounts = {one["metadata"]["name"]: one for one in found.of("ServiceAccount")}
    used: set[str] = set()
    for one in found.workloads():
        name, spec = one["metadata"]["name"], pod_spec(one)
        account = spec.get("serviceAccountName", "default")
        if account not in accounts:
            yield f"{name}: there is no account {account}"
        elif accounts[account].get("automountServiceAccountToken") is not False:
            yield f"{account}: its token is mounted by default"
        if account in used:
            yield f"{name}: shares the account {account}"
        used.add(account)
        if spec.get("automountServiceAccountToken") is not False:
            yield f"{name}: its token is mounted"
    yield from (
        f"{kind} {name}" for kind in ("Role", "ClusterRole", "RoleBinding") for name in found.names(kind)
    )


def is_told_nothing_by_service_links(found: Manifests) -> Problems:
    """No variables of Services, which could be taken for settings."""
    for one in found.workloads():
        if pod_spec(one).get("enableServiceLinks") is not False:
            yield one["metadata"]["name"]


def asks_and_is_bounded(found: Manifests) -> Problems:
    """Requests and limits of everything, and a scratch folder with a bound."""
    for one in found.workloads():
        given = container(one).get("resources", {})
        for kind in ("requests", "limits"):
            for resource in ("cpu", "memory"):
                if resource not in given.get(kind, {}):
                    yield f"{one['metadata']['name']}: {kind} of {resource}"
        for volume in pod_spec(one).get("volumes", []):
            if "emptyDir" in volume and "sizeLimit" not in volume["emptyDir"]:
                yield f"{one['metadata']['name']}: {volume['name']} has no bound"


def is_spread(found: Manifests) -> Problems:
    """Pods of a role on different nodes and in different zones."""
    for one in _deployments(found):
        spread = {rule["topologyKey"] for rule in pod_spec(one).get("topologySpreadConstraints", [])}
        for key in {"kubernetes.io/hostname", "topology.kubernetes.io/zone"} - spread:
            yield f"{one['metadata']['name']}: not over {key}"


def goes_one_by_one(found: Manifests) -> Problems:
    """A budget of one that may be away, and a new version that serves before an old one goes."""
    budgets = {
        one["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"]: one["spec"]
        for one in found.of("PodDisruptionBudget")
    }
    for one in _deployments(found):
        name = one["metadata"]["name"]
        if budgets.get(name, {}).get("maxUnavailable") != 1:
            yield f"{name}: no budget of one"
        if one["spec"].get("strategy", {}).get("rollingUpdate", {}).get("maxUnavailable") != 0:
            yield f"{name}: an old pod may go before a new one serves"


def is_probed(found: Manifests) -> Problems:
    """All three probes, native ones; what restarts a pod asks for the process alone."""
    for one in _deployments(found):
        name = one["metadata"]["name"]
        probes = {
            kind: container(one).get(f"{kind}Probe", {}) for kind in ("startup", "liveness", "readiness")
        }
        yield from (f"{name}: no {kind} probe" for kind, probe in probes.items() if not probe)
        yield from (f"{name}: {kind} runs a program" for kind, probe in probes.items() if "exec" in probe)
        if _is_service(one):
            asked = {kind: probe.get("grpc", {}).get("service") for kind, probe in probes.items()}
            if asked["startup"] != rpc.ALIVE or asked["liveness"] != rpc.ALIVE:
                yield f"{name}: a store that is away would restart it"
            if asked["readiness"] != "":
                yield f"{name}: readiness asks for {asked['readiness']}"


def has_time_to_drain(found: Manifests) -> Problems:
    """Callers hear that a pod goes before it does, and all that it does then fits before it is killed."""
    for one in _deployments(found):
        name, told = one["metadata"]["name"], found.environment(one)
        before = container(one).get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        if before < 5:
            yield f"{name}: preStop sleeps {before} s"
        if _is_service(one):
            # Its own work first, then the calls that are under way, each for the whole grace.
            drain = 2 * float(told.get("CROWN_GRACE_S", "10"))
        else:
            drain = float(told.get("GATEWAY_GRACE_S", "0"))
        most = pod_spec(one).get("terminationGracePeriodSeconds", 30)
        if most < before + drain + _LAST_WORDS_S:
            yield f"{name}: killed after {most} s, and needs {before + drain + _LAST_WORDS_S:g}"


def denies_by_default(found: Manifests) -> Problems:
    """Nobody speaks with anybody but where a policy says so."""
    for one in found.of("NetworkPolicy"):
        spec = one["spec"]
        everybody = spec["podSelector"] == {} and set(spec["policyTypes"]) == {"Ingress", "Egress"}
        if everybody and not spec.get("ingress") and not spec.get("egress"):
            return
    yield "no policy denies everything"


def allows_no_more_than_named(found: Manifests) -> Problems:
    """Each rule names ports and whom it is about; the gateway alone takes calls from everywhere."""
    for policy in found.of("NetworkPolicy"):
        name = policy["metadata"]["name"]
        for direction, rule in rules(policy):
            if not rule.get("ports"):
                yield f"{name}: {direction} of every port"
            if not peers(direction, rule) and (name, direction) != ("gateway", "Ingress"):
                yield f"{name}: {direction} with everybody"


def reaches_no_private_address(found: Manifests) -> Problems:
    """Whoever may call out into the world may call nobody inside: also the last wall against forged links."""
    policies = Policies(found.of("NetworkPolicy"))
    ports = {
        port["port"]
        for policy in found.of("NetworkPolicy")
        for _, rule in rules(policy)
        for port in rule["ports"]
    }
    numbers = [port for port in ports if isinstance(port, int)]
    for pod in found.pods():
        reached = {address for address in _PRIVATE for port in numbers if policies.sends(pod, address, port)}
        yield from (f"{pod.name} reaches {address}" for address in sorted(reached))


def calls_out_only_where_it_must(found: Manifests) -> Problems:
    """The world is open to who calls providers, hooks and feeds, and to nobody else."""
    policies = Policies(found.of("NetworkPolicy"))
    wanted = {"email", "push", "sms", "ingest-webhook"} | ({"realtime-relay"} & found.names("Deployment"))
    for pod in found.pods():
        out = {port for port in (25, 443, 465, 587, 6379, 27017) if policies.sends(pod, _PUBLIC, port)}
        good = {443, 465, 587} if pod.name == "email" else {443} if pod.name in wanted else set()
        if out != good:
            yield f"{pod.name} reaches ports {sorted(out)} of the world"


def scales_workers_by_lag(found: Manifests) -> Problems:
    """What works off the bus is scaled by what waits there, and by nothing that it computes."""
    known = {(one.stream, one.name) for one in consumers()}
    scaled = {one["spec"]["scaleTargetRef"]["name"]: one["spec"] for one in found.of("ScaledObject")}
    by_load = {one["spec"]["scaleTargetRef"]["name"] for one in found.of("HorizontalPodAutoscaler")}
    for name in sorted(WORKERS):
        spec = scaled.get(name)
        if spec is None or name in by_load:
            yield f"{name}: not by lag alone"
            continue
        if spec["minReplicaCount"] < 2:
            yield f"{name}: fewer than two"
        watched = {(one["metadata"]["stream"], one["metadata"]["consumer"]) for one in spec["triggers"]}
        yield from (f"{name}: nobody reads {stream} as {consumer}" for stream, consumer in watched - known)
        yield from (
            f"{name}: {stream} {consumer} is not watched" for stream, consumer in _read_by(name) - watched
        )


def scales_what_is_called_by_load(found: Manifests) -> Problems:
    """The gateway, the API and realtime by what they compute; sockets are not sent about by every dip."""
    scalers = {
        one["spec"]["scaleTargetRef"]["name"]: one["spec"] for one in found.of("HorizontalPodAutoscaler")
    }
    for name in sorted(CALLED):
        if name not in scalers:
            yield f"{name}: not scaled"
        elif scalers[name]["minReplicas"] < 2:
            yield f"{name}: fewer than two"
    for name in ("gateway", "realtime"):
        down = scalers.get(name, {}).get("behavior", {}).get("scaleDown", {})
        if down.get("policies") != [{"type": "Pods", "value": 1, "periodSeconds": 300}]:
            yield f"{name}: sockets are sent about"


def leaves_the_count_to_its_scaler(found: Manifests) -> Problems:
    """A count in the manifest would undo what the scaler did, with each deployment."""
    scaled = {
        one["spec"]["scaleTargetRef"]["name"]
        for kind in ("HorizontalPodAutoscaler", "ScaledObject")
        for one in found.of(kind)
    }
    yield from (name for name in sorted(scaled) if "replicas" in found.find("Deployment", name)["spec"])


def _deployments(found: Manifests) -> list[Object]:
    return found.of("Deployment")


def _is_service(deployment: Object) -> bool:
    return bool(deployment["metadata"]["labels"].get("app.kubernetes.io/component") == "service")


def _read_by(name: str) -> set[tuple[str, str]]:
    """The consumers that the pods of a worker read."""
    lanes = list(subjects.LANES.values())
    match name:
        case "ingest-record":
            found = [subjects.recorder(), subjects.undertaker()]
        case "ingest-dispatch-critical" | "ingest-dispatch":
            mine = (
                ["critical"] if name.endswith("critical") else [lane for lane in lanes if lane != "critical"]
            )
            found = [make(lane) for lane in mine for make in (subjects.dispatcher, subjects.due_dispatcher)]
        case _:
            channel = name.removeprefix("ingest-")
            found = [make(channel, lane) for lane in lanes for make in (subjects.worker, subjects.retrier)]
    return {(one.stream, one.name) for one in found}
