"""Every container of the manifests, run as it is written: it starts, its probes pass, a notification goes through all
of them, what they say to each other is what the policies allow, and each ends in its time."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from crown import subjects
from k8s import make_secrets
from services.realtime import closecodes
from stack import tokens
from stack.secrets import Secrets
from tests.k8s import stores
from tests.k8s.cluster import Box, Cluster, _until, become, ends, passes, terminate
from tests.k8s.manifests import (
    DEPENDENCIES,
    NAMESPACE,
    ROOT,
    SUITES,
    Manifests,
    Object,
    Pod,
    container,
    pod_spec,
)
from tests.k8s.network import Policies

ISSUER = "https://auth.crown.example"
PROBES = ("startup", "liveness", "readiness")
# Everything starts at once here, on the cores that one machine has.
_START_LIMIT_S = 120.0
# Kubernetes does not send traffic, and does not restart, within less.
_NOTICED_S = 30.0


class Running:
    """The suite in the cluster."""

    def __init__(self, cluster: Cluster, found: Manifests, folder: Path) -> None:
        self.cluster = cluster
        self.found = found
        self.folder = folder
        self.signer = Secrets(folder / "signer")

    def values(self, kind: str, name: str) -> Mapping[str, str]:
        """What a Secret or a ConfigMap of the suite holds."""
        if kind == "ConfigMap" and name in self.found.names(kind):
            held: Mapping[str, str] = self.found.find(kind, name)["data"]
            return held
        return {path.name: path.read_text() for path in (self.folder / NAMESPACE / name).iterdir()}

    def box(self, name: str) -> Box:
        """The pod of a workload."""
        return self.cluster.boxes[name]

    def deployments(self) -> list[Object]:
        """Every workload that runs on."""
        return self.found.of("Deployment")

    def ask(self, method: str, path: str, token: str = "", body: Any = None) -> tuple[int, Any]:
        """A request through the gateway."""
        connection = HTTPConnection(self.box("gateway").address, 3005, timeout=20)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text else None
        finally:
            connection.close()

    def token(self, use: tokens.Use, name: str) -> str:
        """A token of the auth service that the manifests name."""
        return tokens.sign(self.signer, use, name)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """All of it, started as a cluster starts it: everything at once, and what fails again until it does not."""
    with started(tmp_path_factory.mktemp("cluster"), "everything") as suite:
        yield suite


@contextmanager
def started(folder: Path, name: str) -> Iterator[Running]:
    """The suite of that name, running."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokens, "ISSUER", ISSUER)
        make_secrets.make(folder / "secrets")
        cluster = Cluster(folder)
        suite = Running(cluster, Manifests.render(SUITES[name]), folder / "secrets")
        try:
            _start_stores(cluster, suite)
            _start_suite(cluster, suite)
            yield suite
        finally:
            cluster.close()


def _start_stores(cluster: Cluster, suite: Running) -> None:
    stores.start_nats(cluster, stores.passwords(suite.folder, "nats"))
    stores.start_mongodb(cluster, stores.passwords(suite.folder, "mongodb"))
    stores.start_valkey(cluster, suite.folder)
    auth = cluster.box("auth")
    cluster.call(auth, "auth.auth.svc.cluster.local")
    keys = cluster.folder / "keys" / ".well-known"
    keys.mkdir(parents=True)
    (keys / "jwks.json").write_text(suite.signer.jwks().read_text())
    cluster.start(auth, ["python", "-m", "http.server", "8080", "--directory", str(keys.parent)], {})


def _start_suite(cluster: Cluster, suite: Running) -> None:
    for one in suite.found.workloads():
        box = cluster.box(one["metadata"]["name"])
        if box.name in suite.found.names("Service"):
            cluster.call(box, box.name)
    _prepare(suite)
    for one in suite.deployments():
        cluster.launch(suite.box(one["metadata"]["name"]), suite.found, one, suite.values)
    for one in suite.deployments():
        become(suite.box(one["metadata"]["name"]), one, "startup", within_s=_START_LIMIT_S)


def _prepare(suite: Running) -> None:
    """The Job, as often as it takes."""
    job = suite.found.find("Job", "prepare")
    box = suite.box("prepare")
    for _ in range(job["spec"]["backoffLimit"]):
        suite.cluster.launch(box, suite.found, job, suite.values)
        if ends(box, 60) == 0:
            return
        time.sleep(0.5)
    raise AssertionError(box.said()[-4000:])


@pytest.mark.parametrize("kind", PROBES)
def test_every_probe_passes(running: Running, kind: str) -> None:
    for one in running.deployments():
        become(running.box(one["metadata"]["name"]), one, kind)


def test_the_gateway_says_that_all_are_ready(running: Running) -> None:
    def ready() -> bool:
        return running.ask("GET", "/readyz")[0] == 200

    _until(ready, f"not ready: {running.ask('GET', '/readyz')}")


def test_the_job_done_again_changes_nothing(running: Running) -> None:
    box, job = running.box("prepare"), running.found.find("Job", "prepare")
    before = len(box.said())
    running.cluster.launch(box, running.found, job, running.values)
    assert ends(box, 60) == 0
    assert "stream_changed" not in box.said()[before:]


def test_three_servers_hold_each_stream_and_keda_finds_each_consumer(running: Running) -> None:
    account = _jsz(running)
    streams = {stream["name"]: stream for stream in account["stream_detail"]}
    assert {stream["name"] for stream in subjects.streams(0)} == streams.keys()
    assert {stream["config"]["num_replicas"] for stream in streams.values()} == {3}
    for scaler in running.found.of("ScaledObject"):
        for trigger in scaler["spec"]["triggers"]:
            asked = trigger["metadata"]
            assert asked["account"] == account["name"]
            assert asked["natsServerMonitoringEndpoint"].partition(":")[0] in running.cluster.names
            assert asked["consumer"] in {one["name"] for one in streams[asked["stream"]]["consumer_detail"]}


def _jsz(running: Running) -> Any:
    """What KEDA reads: a server's own word about the streams of an account."""
    connection = HTTPConnection(running.box("nats-0").address, 8222, timeout=10)
    connection.request("GET", "/jsz?acc=CROWN&consumers=true&config=true")
    (account,) = json.loads(connection.getresponse().read())["account_details"]
    connection.close()
    return account


@pytest.mark.parametrize("priority", ["CRITICAL", "NORMAL", "BULK"])
def test_a_notification_goes_through_all_of_it(running: Running, priority: str) -> None:
    user = f"ann-{priority.lower()}"
    ours, hers = running.token(tokens.Use.SERVICE, "feed"), running.token(tokens.Use.USER, user)
    sent = {
        "user_id": user,
        "priority": priority,
        "channels": ["in_app", "real_time"],
        "data": {"title": "Hello", "message": "from a cluster"},
    }
    status, answer = running.ask("POST", "/api/v1/notifications", ours, sent)
    assert status in (200, 202), answer

    def arrived() -> bool:
        found = running.ask("GET", f"/api/v1/users/{user}/notifications", hers)
        return found[0] == 200 and [one["data"]["title"] for one in found[1]["notifications"]] == ["Hello"]

    _until(arrived, "it is not in the inbox")


@pytest.mark.parametrize("path", ["/console", "/console/console.js", "/demo"])
def test_the_gateway_serves_the_console(running: Running, path: str) -> None:
    connection = HTTPConnection(running.box("gateway").address, 3005, timeout=20)
    connection.request("GET", path)
    assert connection.getresponse().status == 200
    connection.close()


def test_the_calls_of_the_page_do_what_it_says(running: Running) -> None:
    """The last lines of the walk in k8s/README.md, with curl, against the gateway."""
    page = (ROOT / "k8s" / "README.md").read_text()
    walk = page.partition("# The first notification")[2].partition("```")[0]
    calls = walk[walk.index("curl http://localhost:3005/api") :].replace(
        "localhost:3005", f"{running.box('gateway').address}:3005"
    )
    told = {
        "PATH": os.environ["PATH"],
        "SERVICE": running.token(tokens.Use.SERVICE, "feed"),
        "ANN": running.token(tokens.Use.USER, "ann"),
    }
    script = calls.replace("curl ", "curl --silent --show-error --fail ")

    def found() -> bool:
        result = subprocess.run(
            ["bash", "-euc", script], env=told, capture_output=True, text=True, timeout=30
        )
        assert result.returncode == 0, result.stderr
        return '"message":"from a cluster"' in result.stdout

    _until(found, "the inbox does not show it")


def test_nobody_says_what_the_policies_do_not_allow(running: Running) -> None:
    policies = Policies(
        [*running.found.of("NetworkPolicy"), *Manifests.render(DEPENDENCIES).of("NetworkPolicy")]
    )
    pods = {pod.name: pod for pod in running.found.world()}
    pods |= {f"nats-{number}": pods["nats"] for number in range(3)}
    by_address = {box.address: name for name, box in running.cluster.boxes.items()}
    seen = set()
    for name, box in running.cluster.boxes.items():
        for own, address, port in box.connections():
            if address in by_address and own not in pods[name].ports.values():
                seen.add((name, by_address[address], port))
    wrong = [one for one in seen if not _allowed(policies, pods, *one)]
    assert wrong == []
    # It has looked: these are always open.
    assert {("email", "crown-0", 27017), ("ingest-api", "realtime", 50051)} <= seen


def _allowed(policies: Policies, pods: Mapping[str, Pod], source: str, to: str, port: int) -> bool:
    return policies.passes(pods[source], pods[to], port)


def test_each_fits_into_what_it_asks_for(running: Running) -> None:
    units = {"Mi": 1 << 20, "Gi": 1 << 30}
    for one in running.deployments():
        asked = container(one)["resources"]["requests"]["memory"]
        used = running.box(one["metadata"]["name"]).memory()
        assert used <= int(asked[:-2]) * units[asked[-2:]], (
            f"{one['metadata']['name']} holds {used >> 20} MiB"
        )


def test_no_container_writes_but_where_it_may(running: Running) -> None:
    for one in running.deployments():
        pid = running.box(one["metadata"]["name"]).pid
        state = Path(f"/proc/{pid}/status").read_text()
        assert state.partition("Uid:\t")[2].split()[0] == "10001"
        assert int(state.partition("CapEff:\t")[2].split()[0], 16) == 0
        assert state.partition("NoNewPrivs:\t")[2].split()[0] == "1"
        mounts = Path(f"/proc/{pid}/mounts").read_text().splitlines()
        options = {line.split()[1]: line.split()[3].split(",") for line in mounts}
        assert "ro" in options["/"]
        assert "rw" in options["/tmp"]


def test_a_store_that_is_away_takes_pods_out_and_restarts_none(running: Running) -> None:
    mongodb = running.box("crown-0")
    asks_it = ("ingest-dispatch", "ingest-record", "email")
    _signal(mongodb, "STOP")
    try:
        for name in asks_it:
            become(running.box(name), running.found.find("Deployment", name), "readiness", False, _NOTICED_S)
        for one in running.deployments():
            assert passes(running.box(one["metadata"]["name"]), one, container(one)["livenessProbe"])
    finally:
        _signal(mongodb, "CONT")
    for name in asks_it:
        become(running.box(name), running.found.find("Deployment", name), "readiness")


def _signal(box: Box, name: str) -> None:
    os.kill(box.pid, getattr(signal, f"SIG{name}"))


def test_the_stand_in_of_the_auth_service_runs_as_it_is_written(running: Running) -> None:
    found = Manifests.render(SUITES["dev"])
    workload = found.find("Deployment", "auth")
    box = running.cluster.box("stand-in")
    running.cluster.launch(box, found, workload, running.values)
    for kind in PROBES:
        become(box, workload, kind)


@pytest.mark.parametrize("suite", ["dev", "production"])
def test_what_was_run_is_what_every_overlay_runs(running: Running, suite: str) -> None:
    """But for what it is told: test_references.py looks at that in each."""
    found = Manifests.render(SUITES[suite])
    for one in found.workloads():
        if one["metadata"]["name"] not in {"auth"}:
            ran = running.found.find(one["kind"], one["metadata"]["name"])
            assert _written(one) == _written(ran)


def _written(workload: Object) -> Object:
    box = container(workload)
    names = ("command", "args", "ports", "lifecycle", "securityContext", *(f"{kind}Probe" for kind in PROBES))
    mounts = [one for one in box["volumeMounts"] if one["name"] != "filter-token"]
    return {**{name: box.get(name) for name in names}, "mounts": mounts}


async def test_z_each_ends_in_its_time_and_sockets_are_sent_away(running: Running) -> None:
    token = running.token(tokens.Use.USER, "ann")
    url = f"http://{running.box('gateway').address}:3005/socket/websocket?vsn=2.0.0&token={token}"
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as held:
        await held.send_json(["1", "1", "user:ann", "phx_join", {}])
        assert (await held.receive_json(timeout=10))[4]["status"] == "ok"
        for one in running.deployments():
            terminate(running.box(one["metadata"]["name"]))
        async with asyncio.timeout(30):
            async for _ in held:
                pass
        assert held.close_code == closecodes.RESTART.code
    for one in running.deployments():
        box = running.box(one["metadata"]["name"])
        before = container(one)["lifecycle"]["preStop"]["sleep"]["seconds"]
        limit_s = pod_spec(one)["terminationGracePeriodSeconds"] - before
        assert await asyncio.to_thread(ends, box, limit_s) == 0, box.said()[-4000:]
