"""What the manifests name is there, and each rule is shown to see a manifest that names something else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import pytest
import time_machine

from k8s import make_secrets
from tests.k8s import references
from tests.k8s.manifests import DATA, DEPENDENCIES, NAMESPACE, SUITES, Manifests, container
from tests.k8s.network import Policies
from tests.k8s.test_policies import _remove, _set

Rule = Callable[[Manifests], Iterable[str]]
Breaking = Callable[[Manifests], None]

# In dev others than these are called, too: see below.
_WHOLE = ("production", "everything", "mtls")

RULES: list[Rule] = [
    references.runs_every_process,
    references.tells_what_is_read,
    references.holds_no_secret,
    references.leads_to_pods,
    references.balances_grpc,
    references.probes_what_is_served,
    references.listens_where_it_says,
    references.scales_what_is_there,
    references.names_peers_that_exist,
    references.calls_services_that_exist,
    references.fits_its_memory,
    references.runs_this_version,
    references.trusts_one_issuer,
    references.pods_belong_to_their_workload,
    references.shows_who_it_is,
]


@pytest.mark.parametrize("folder", SUITES.values(), ids=SUITES)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_it_holds(rule: Rule, folder: str) -> None:
    assert list(rule(Manifests.render(folder))) == []


@pytest.mark.parametrize("folder", SUITES.values(), ids=SUITES)
def test_every_file_comes_from_a_key_that_is_made(folder: str, made_secrets: dict[str, Manifests]) -> None:
    found = Manifests.render(folder)
    assert list(references.mounts_what_it_reads(found, made_secrets[NAMESPACE])) == []


@pytest.mark.parametrize("folder", [SUITES[name] for name in _WHOLE], ids=_WHOLE)
def test_every_call_passes_and_no_other(folder: str) -> None:
    found = Manifests.render(folder)
    assert list(references.lets_through_what_is_needed(found, Manifests.render(DEPENDENCIES))) == []


def test_in_dev_whoever_checks_tokens_reaches_the_keys() -> None:
    found = Manifests.render(SUITES["dev"])
    policies = Policies(found.of("NetworkPolicy"))
    pods = {pod.name: pod for pod in found.pods()}
    reached = {name for name, pod in pods.items() if policies.passes(pod, pods["auth"], 8080)}
    assert reached == {"gateway", "ingest-api", "email", "push", "sms", "realtime"}


def test_what_the_stores_mount_is_made(made_secrets: dict[str, Manifests]) -> None:
    found = Manifests.render(DEPENDENCIES)
    assert list(references.mounts_what_it_reads(found, made_secrets[DATA])) == []
    users = found.find("MongoDBCommunity", "crown")["spec"]["users"]
    for user in users:
        assert "password" in made_secrets[DATA].find("Secret", user["passwordSecretRef"]["name"])["data"]


def test_each_secret_is_mounted_by_somebody(made_secrets: dict[str, Manifests]) -> None:
    found = Manifests.render(SUITES["mtls"])
    used = {(name, key) for one in found.workloads() for _, name, key in found.files(one).values()}
    made = {
        (one["metadata"]["name"], key) for one in made_secrets[NAMESPACE].of("Secret") for key in one["data"]
    }
    assert made <= used


def test_what_is_there_already_is_kept(tmp_path: Path) -> None:
    make_secrets.make(tmp_path)
    mine = tmp_path / "crown" / "sms-provider" / "SMS_API_KEY"
    mine.write_text("AC1:mine")
    before = {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    make_secrets.make(tmp_path)
    assert {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_our_own_tokens_are_renewed_before_they_end(tmp_path: Path) -> None:
    make_secrets.make(tmp_path)
    ours = tmp_path / "crown" / "relay-token" / "CROWN_RELAY_TOKEN"
    theirs = tmp_path / "crown" / "filter-token" / "CROWN_FILTER_TOKEN"
    theirs.write_text("of their auth service")
    before = ours.read_text()
    with time_machine.travel(time.time() + 4 * 86_400):
        make_secrets.make(tmp_path)
    assert (ours.read_text() != before, theirs.read_text()) == (True, "of their auth service")


def test_values_are_for_their_owner_alone(secret_folder: Path) -> None:
    values = [
        path for path in secret_folder.rglob("*") if path.is_file() and path.name != "kustomization.yaml"
    ]
    assert {path.stat().st_mode & 0o077 for path in values} == {0}


# -- broken copies

_BOX = "spec template spec containers 0"


def _setting(name: str, key: str, value: str) -> Breaking:
    """Sets a value of a ConfigMap, whose name ends in a hash; `-` removes it."""

    def breaking(found: Manifests) -> None:
        (one,) = (one for one in found.of("ConfigMap") if one["metadata"]["name"].startswith(f"{name}-"))
        if value == "-":
            del one["data"][key]
        else:
            one["data"][key] = value

    return breaking


def _told(name: str, variable: str, value: str) -> Breaking:
    """Sets a variable of a container; `-` removes it."""

    def breaking(found: Manifests) -> None:
        env = container(found.find("Deployment", name))["env"]
        (one,) = (one for one in env if one["name"] == variable)
        if value == "-":
            env.remove(one)
        else:
            one["value"] = value

    return breaking


BROKEN: list[tuple[Rule, str, Breaking, str]] = [
    (references.runs_every_process, "gone", _remove("Deployment", "sms"), "sms does not run"),
    (references.runs_every_process, "another", _set(f"{_BOX} command 2", "services.sms"), "email runs"),
    (references.runs_every_process, "lanes",
     _set(f"{_BOX} env 1 value", "bulk", name="ingest-dispatch"), "other lanes"),
    (references.tells_what_is_read, "unknown", _setting("email-settings", "CROWN_EMAIL_FORM", "x"), "nobody reads"),
    (references.tells_what_is_read, "gateway", _setting("gateway-settings", "JWT_ISUER", "x"), "nobody reads"),
    (references.tells_what_is_read, "another's", _setting("push-settings", "SMTP_HOST", "x"), "push: nobody"),
    (references.tells_what_is_read, "missing", _setting("crown-settings", "NATS_URL", "-"), "NATS_URL is missing"),
    (references.tells_what_is_read, "no file",
     _setting("crown-settings", "DATABASE_URL_FILE", "-"), "DATABASE_URL is missing"),
    (references.holds_no_secret, "value", _setting("email-settings", "SMTP_PASSWORD", "x"), "SMTP_PASSWORD"),
    (references.holds_no_secret, "object",
     lambda found: found.objects.append({"kind": "Secret", "metadata": {"name": "mine"}}), "Secret mine"),
    (references.leads_to_pods, "selector",
     lambda found: found.find("Service", "email")["spec"].update(
         selector={"app.kubernetes.io/name": "mail"}), "leads to []"),
    (references.leads_to_pods, "port", _set("spec ports 0 targetPort", "http", "Service"), "leads to [0]"),
    (references.leads_to_pods, "number", _set("spec ports 0 port", 50052, "Service"), "leads to [50051]"),
    (references.balances_grpc, "one address", _set("spec clusterIP", "-", "Service"), "email"),
    (references.probes_what_is_served, "port", _set(f"{_BOX} readinessProbe grpc port", 50052), "port 50052"),
    (references.probes_what_is_served, "name", _set(f"{_BOX} livenessProbe grpc service", "live"), "asks for live"),
    (references.listens_where_it_says, "port", _set(f"{_BOX} ports 0 containerPort", 50052), "grpc_port is 50051"),
    (references.scales_what_is_there, "scaler",
     _set("spec scaleTargetRef name", "mail", "ScaledObject"), "ScaledObject email"),
    (references.scales_what_is_there, "budget",
     _set("spec selector matchLabels", {"app.kubernetes.io/name": "mail"}, "PodDisruptionBudget"), "email"),
    (references.names_peers_that_exist, "whose",
     _set("spec podSelector matchLabels", {"app.kubernetes.io/name": "mail"}, "NetworkPolicy", "mail"), "nobody"),
    (references.names_peers_that_exist, "with whom",
     _set("spec egress 0 to 0 podSelector matchLabels", {"app": "nats"}, "NetworkPolicy", "stores"), "nobody"),
    (references.names_peers_that_exist, "port",
     _set("spec egress 0 ports 0 port", 4223, "NetworkPolicy", "stores"), "port 4223"),
    (references.names_peers_that_exist, "in a list",
     lambda found: found.find("NetworkPolicy", "stores")["spec"]["podSelector"]["matchExpressions"][0][
         "values"].append("mail"), "no pod mail"),
    (references.calls_services_that_exist, "gateway", _remove("Service", "realtime"), "gateway → realtime"),
    (references.calls_services_that_exist, "peer",
     _set(f"{_BOX} env 1 value", "email=mail:50051", name="ingest-api"), "→ mail:50051"),
    (references.calls_services_that_exist, "ready",
     _set(f"{_BOX} env 1 value", "email=email:50051", name="ingest-api"), "does not ask sms"),
    (references.fits_its_memory, "heap", _set(f"{_BOX} resources limits memory", "900Mi", name="gateway"), "killed"),
    (references.runs_this_version, "newest", _set(f"{_BOX} image", "crown-notification-service:latest"), "latest"),
    (references.trusts_one_issuer, "issuer", _setting("gateway-settings", "JWT_ISSUER", "https://other"), "other"),
    (references.pods_belong_to_their_workload, "labels",
     _set("spec selector matchLabels", {"app.kubernetes.io/name": "mail"}), "email"),
    (references.pods_belong_to_their_workload, "volumes", _set("spec template spec volumes 0", "-"), "volumes"),
    (references.shows_who_it_is, "nothing", _told("email", "CROWN_TLS_FOLDER", "-"), "email shows no"),
    (references.shows_who_it_is, "another's",
     _set("spec template spec volumes 0 secret secretName", "push-tls"), "email shows no"),
    (references.shows_who_it_is, "gateway", _told("gateway", "CROWN_TLS_FOLDER", "/run/secrets"), "gateway shows no"),
    (references.shows_who_it_is, "probes", _set(f"{_BOX} livenessProbe grpc port", 50051), "email: liveness"),
    (references.shows_who_it_is, "relay",
     _told("ingest-api", "CROWN_TLS_CALLERS", "gateway"), "ingest-api refuses realtime-relay"),
    (references.shows_who_it_is, "filter",
     _told("ingest-filter", "CROWN_TLS_CALLERS", "-"), "ingest-filter refuses ingest-dispatch"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "breaking", "says"),
    [(rule, breaking, says) for rule, _, breaking, says in BROKEN],
    ids=[f"{rule.__name__}: {what}" for rule, what, _, _ in BROKEN],
)
def test_it_is_seen_to_be_broken(rule: Rule, breaking: Breaking, says: str) -> None:
    found = Manifests.render(SUITES["mtls" if rule is references.shows_who_it_is else "production"])
    breaking(found)
    problems = list(rule(found))
    assert any(says in problem for problem in problems), problems


def test_every_rule_has_been_broken() -> None:
    assert {rule for rule, *_ in BROKEN} == set(RULES)


def test_a_key_that_is_not_made_is_seen(made_secrets: dict[str, Manifests]) -> None:
    found = Manifests.render(SUITES["production"])
    del made_secrets[NAMESPACE].find("Secret", "sms-provider")["data"]["SMS_API_KEY"]
    _setting("crown-settings", "REDIS_HOST_FILE", "/run/secrets/REDIS_HOST")(found)
    problems = list(references.mounts_what_it_reads(found, made_secrets[NAMESPACE]))
    assert "sms: /run/secrets/crown/SMS_API_KEY is from sms-provider, which has no SMS_API_KEY" in problems
    assert "email: REDIS_HOST_FILE is /run/secrets/REDIS_HOST, where nothing is" in problems


@pytest.mark.parametrize(
    ("breaking", "says"),
    [
        (_remove("NetworkPolicy", "stores"), "email → nats:4222 does not pass"),
        (_remove("NetworkPolicy", "sockets"), "gateway → realtime:4000 does not pass"),
        (_remove("NetworkPolicy", "keys"), "gateway → auth:8080 does not pass"),
        (_set("spec podSelector", {}, "NetworkPolicy", "ingest-api"), "gateway → ingest-record:50051 passes"),
        (_set("spec ingress 0 from", [{"podSelector": {}}], "NetworkPolicy", "peers"), ""),
    ],
    ids=["bus", "sockets", "keys", "for all", "one side"],
)
def test_a_hole_or_a_wall_is_seen(breaking: Breaking, says: str) -> None:
    found, data = Manifests.render(SUITES["production"]), Manifests.render(DEPENDENCIES)
    breaking(found)
    problems = list(references.lets_through_what_is_needed(found, data))
    # Both ends have to allow it: one that is too open alone lets nobody through.
    assert says in problems if says else problems == []


def test_the_helper_sets_what_it_says() -> None:
    found = Manifests.render(SUITES["production"])
    partial(_set("spec replicas", 3))(found)
    assert found.find("Deployment", "email")["spec"]["replicas"] == 3
