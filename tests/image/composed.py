"""The servers of compose.yaml without an engine: its own commands, with the programs of the wheels,
folders in place of volumes, and ports of the test."""

from __future__ import annotations

import getpass
import os
import re
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import yaml

from stack.layout import Layout
from stack.secrets import Secrets
from stack.servers import mongod, nats, valkey
from stack.settings import LOOPBACK, Settings
from tests.image import dockerfile

COMPOSE: dict[str, Any] = yaml.safe_load((dockerfile.ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
_LIMIT_S = 30.0
_WRITTEN = Path("/servers")


class Composed:
    """What `docker compose up` has running before our own container starts. `environment` is that of our image,
    `ours` that of the container."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        self._image = environment
        self.ours = {**environment, **_told(environment)}
        self.settings = Settings.read(self.ours)
        layout = Layout.of(self.settings)
        layout.make()
        self.logs = layout.logs
        self.secrets = Secrets(layout.secrets)
        self._programs = self._linked(layout)
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Runs every service but our own, in the order in which they wait for each other."""
        ports = self.settings.ports
        self.once("users")
        self._serve("mongo", ports.mongod, f"--port {ports.mongod} --dbpath {self.volume('mongo')}")
        self.found()
        self._serve(
            "nats",
            ports.nats,
            *("--addr", LOOPBACK, "--port", str(ports.nats), "--http_port", str(ports.nats_monitor)),
        )
        self._serve("valkey", ports.valkey, "--port", str(ports.valkey), "--dir", str(self._folder))

    def found(self) -> None:
        """Runs the service that founds the replica set and its users."""
        self.once("founding", ("mongo:27017", f"{LOOPBACK}:{self.settings.ports.mongod}"))

    def stop(self) -> None:
        """Stops the servers."""
        for process in reversed(self._running):
            process.terminate()
        for process in self._running:
            process.wait(_LIMIT_S)

    def written(self, volume: str) -> dict[str, str]:
        """The files in a volume, and what is in them."""
        return {path.name: path.read_text() for path in self.volume(volume).iterdir()}

    def once(self, name: str, *changed: tuple[str, str]) -> None:
        """Runs a service that ends, with parts of its command changed."""
        command = self._words(name, *changed)
        done = subprocess.run(
            command, env=self._image, cwd=self._folder, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr[-2_000:]

    def _serve(self, name: str, port: int, *more: str) -> None:
        words = self._words(name)
        if SERVICES[name].get("entrypoint"):
            # A script: what is added is a part of it.
            words[-1] = " ".join((words[-1], *more))
        else:
            words += more
        with (self._folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(words, env=self._programs, cwd=self._folder, stdout=log, stderr=log)
        self._running.append(process)
        limit = time.monotonic() + _LIMIT_S
        while not _listens(port):
            assert process.poll() is None, (self._folder / f"{name}.log").read_text()[-2_000:]
            assert time.monotonic() < limit
            time.sleep(0.1)

    def _words(self, name: str, *changed: tuple[str, str]) -> list[str]:
        """The command of a service, with what differs here."""
        service = SERVICES[name]
        places = [(str(_WRITTEN), str(self._folder / "servers"))]
        for volume in service["volumes"]:
            source, target = volume.split(":")[:2]
            link = self._folder / "servers" / Path(target).name
            if Path(target).parent == _WRITTEN and not link.exists():
                link.parent.mkdir(exist_ok=True)
                link.symlink_to(self.volume(source))
            places.append((target, str(self.volume(source))))
        places.append(("/run", str(self._folder)))
        found = []
        for word in (*service.get("entrypoint", ()), *service["command"]):
            for here, there in places:
                word = re.sub(rf"(?<![\w/.-]){here}(?=/|$)", there, word)
            for here, there in (*changed, ("--owner=mongodb", f"--owner={getpass.getuser()}")):
                word = word.replace(here, there)
            found.append(word)
        return found

    def volume(self, name: str) -> Path:
        """The folder that stands for a volume."""
        folder = self._folder / "volumes" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _linked(self, layout: Layout) -> dict[str, str]:
        """An environment whose PATH has the servers, by the names that the images give them."""
        ports = self.settings.ports
        mongo = mongod.process(layout, self.secrets, ports.mongod)
        programs = {
            "mongod": mongo.command[0],
            "nats-server": nats.process(layout, self.secrets, ports.nats, ports.nats_monitor).command[0],
            "valkey-server": valkey.process(layout, self.secrets, ports.valkey).command[0],
        }
        folder = self._folder / "programs"
        folder.mkdir()
        for name, path in programs.items():
            (folder / name).symlink_to(path)
        entrypoint = folder / "docker-entrypoint.sh"
        entrypoint.write_text('#!/bin/sh\nexec "$@"\n')
        entrypoint.chmod(0o755)
        return {**mongo.environment, "PATH": f"{folder}:{os.defpath}"}


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex((LOOPBACK, port)) == 0


def _told(environment: dict[str, str]) -> dict[str, str]:
    """The environment of our container, with the servers where they are here."""
    ports = Settings.read(environment).ports
    there = {
        "mongo:27017": f"{LOOPBACK}:{ports.mongod}",
        "nats:4222": f"{LOOPBACK}:{ports.nats}",
        "valkey": f"{LOOPBACK}:{ports.valkey}",
    }
    given: dict[str, str] = dict(SERVICES["crown"]["environment"])
    for name in ("DATABASE_URL", "NATS_URL", "REDIS_HOST"):
        for address, here in there.items():
            given[name] = given[name].replace(address, here)
    return given | {"CROWN_RELAY_FEEDS": ""}
