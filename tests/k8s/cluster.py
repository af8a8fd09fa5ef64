"""A cluster of one machine: each pod has a network of its own on a bridge, and sees a file system that cannot be
written to but where its manifest says so, with the Secrets and ConfigMaps at the paths that it names. So a container
runs as it is written: its command, user, variables, ports and files, with no address changed.

Runs in namespaces that tools/k8s_check.sh makes, and everything ends with those.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.k8s.manifests import ROOT, Manifests, Object, container, pod_spec, writable

_BRIDGE = "crown0"
_NETWORK = "10.77"
SERVING = health_pb2.HealthCheckResponse.SERVING


def run(*command: str) -> str:
    """Runs a tool, and answers what it says."""
    result = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert result.returncode == 0, f"{' '.join(command)}: {result.stderr}"
    return result.stdout


@dataclass
class Box:
    """One pod: a network with an address, and what runs there."""

    name: str
    address: str
    holder: subprocess.Popen[bytes]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process of its container."""
        assert self.process is not None
        return self.process.pid

    def said(self) -> str:
        """Its log."""
        return self.log.read_text(errors="replace")

    def connections(self) -> set[tuple[int, str, int]]:
        """The established connections of its network: own port, and the other's address and port."""
        tables = (Path(f"/proc/{self.holder.pid}/net/{name}").read_text() for name in ("tcp", "tcp6"))
        found = set()
        for line in (line for table in tables for line in table.splitlines()[1:]):
            _, own, other, state, *_ = line.split()
            address, port = other.split(":")
            if state == "01":
                # In the table of version 6 an address of version 4 is the last of four words.
                host = socket.inet_ntoa(bytes.fromhex(address[-8:])[::-1])
                found.add((int(own.partition(":")[2], 16), host, int(port, 16)))
        return found

    def memory(self) -> int:
        """The bytes that it holds, with its children."""
        kib = 0
        for pid in self.pids():
            with suppress(OSError):
                text = Path(f"/proc/{pid}/status").read_text()
                if "VmRSS" in text:
                    kib += int(text.partition("VmRSS:")[2].split()[0])
        return kib * 1024

    def pids(self) -> list[int]:
        """Every process in its network."""
        found, own = [], os.stat(f"/proc/{self.holder.pid}/ns/net").st_ino
        for path in Path("/proc").glob("[0-9]*/ns/net"):
            with suppress(OSError):
                if os.stat(path).st_ino == own:
                    found.append(int(path.parts[2]))
        return found


@dataclass
class Cluster:
    """All pods, and the names under which they find each other."""

    folder: Path
    names: dict[str, list[str]] = field(default_factory=dict)
    boxes: dict[str, Box] = field(default_factory=dict)

    def __post_init__(self) -> None:
        interfaces = {name for _, name in socket.if_nameindex()}
        alone = os.getuid() == 0 and interfaces <= {"lo", "tunl0", "sit0", "ip6tnl0"}
        assert alone, "these tests make networks, and run by `make k8s-check` only, in one of their own"
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", _BRIDGE, "type", "bridge")
        run("ip", "addr", "add", f"{_NETWORK}.0.1/16", "dev", _BRIDGE)
        run("ip", "link", "set", _BRIDGE, "up")
        # What the image has at /etc, where mounts need places of their own.
        shutil.copytree("/etc", self.folder / "etc", symlinks=True, ignore_dangling_symlinks=True)
        (self.folder / "etc" / "resolv.conf").unlink(missing_ok=True)
        (self.folder / "etc" / "resolv.conf").touch()
        (self.folder / "bin").mkdir()

    def box(self, name: str) -> Box:
        """A network of its own, with nothing in it yet."""
        number = len(self.boxes) + 2
        address = f"{_NETWORK}.1.{number}"
        holder = subprocess.Popen(["unshare", "--net", "--", "sleep", "infinity"])
        own = os.stat("/proc/self/ns/net").st_ino
        _until(lambda: os.stat(f"/proc/{holder.pid}/ns/net").st_ino != own, f"{name} has no network")
        run(
            "ip",
            "link",
            "add",
            f"pod{number}",
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            str(holder.pid),
        )
        run("ip", "link", "set", f"pod{number}", "master", _BRIDGE, "up")
        for command in ("link set lo up", f"addr add {address}/16 dev eth0", "link set eth0 up"):
            run("nsenter", "--target", str(holder.pid), "--net", "--", "ip", *command.split())
        self.boxes[name] = Box(name, address, holder, self.folder / f"{name}.log")
        return self.boxes[name]

    def call(self, box: Box, *names: str) -> None:
        """Lets a pod be found under these names too."""
        for name in names:
            self.names.setdefault(name, []).append(box.address)

    def start(self, box: Box, command: Sequence[str], told: Mapping[str, str]) -> None:
        """Runs a program in a pod as it is, for what is none of ours to write."""
        hosts = self._hosts(box)
        script = f"mount --make-rprivate / && mount --bind {hosts} /etc/hosts && exec {shlex.join(command)}"
        self._enter(box, script, told)

    def launch(
        self, box: Box, found: Manifests, workload: Object, values: Callable[[str, str], Mapping[str, str]]
    ) -> None:
        """Runs the container of a workload as it is written. `values` answers what a Secret or ConfigMap holds."""
        context = pod_spec(workload)["securityContext"]
        assert container(workload)["securityContext"]["readOnlyRootFilesystem"]
        mounts = self._mounts(box, found, workload, values)
        script = "\n".join(
            [
                "set -e",
                "mount --make-rprivate /",
                f"mount --bind {self.folder}/etc /etc",
                f"mount --bind {self._hosts(box)} /etc/hosts",
                f"mount --bind {self.folder}/bin /usr/local/bin",
                "mount -t tmpfs -o mode=755 tmpfs /run",
                *(f"mkdir -p {target}" for _, target in mounts),
                *(f"mount --bind {source} {target}" for source, target in mounts),
                *_covered(writable(workload)),
                "mount -o remount,bind,ro /etc",
                "mount -o remount,bind,ro /run",
                "mount -o remount,bind,ro /",
                "cd /",
                shlex.join(
                    [
                        "exec", "setpriv", f"--reuid={context['runAsUser']}", f"--regid={context['runAsGroup']}",
                        "--clear-groups", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all", "--",
                        *container(workload).get("command", []), *container(workload).get("args", []),
                    ]
                ),
            ]
        )  # fmt: skip
        self._enter(box, script, found.environment(workload))

    def _enter(self, box: Box, script: str, told: Mapping[str, str]) -> None:
        path = f"{sys.prefix}/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
        environment = {"PATH": path, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **told}
        inside = ["nsenter", f"--net=/proc/{box.holder.pid}/ns/net", "unshare", "--mount", "sh", "-c", script]
        with box.log.open("ab") as log:
            box.process = subprocess.Popen(inside, env=environment, stdout=log, stderr=log)

    def _hosts(self, box: Box) -> Path:
        path = self.folder / f"{box.name}.hosts"
        rows = [f"{address} {name}" for name, addresses in self.names.items() for address in addresses]
        path.write_text("\n".join(["127.0.0.1 localhost", f"{box.address} {box.name}", *rows]) + "\n")
        return path

    def _mounts(
        self, box: Box, found: Manifests, workload: Object, values: Callable[[str, str], Mapping[str, str]]
    ) -> list[tuple[Path, str]]:
        """Each volume of files as a folder, owned as the kubelet does it, and where it is mounted."""
        group = pod_spec(workload)["securityContext"]["fsGroup"]
        folders: dict[str, Path] = {}
        for path, (kind, name, key) in found.files(workload).items():
            target = path.rpartition("/")[0]
            folder = folders.setdefault(target, self.folder / box.name / f"volume{len(folders)}")
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o755)
            file = folder / path.rpartition("/")[2]
            file.write_text(values(kind, name)[key])
            os.chown(file, 0, group)
            file.chmod(0o440 if kind == "Secret" else 0o644)
        for target in folders:
            if target.startswith("/etc/"):
                (self.folder / target[1:]).mkdir(parents=True, exist_ok=True)
        return [(folder, target) for target, folder in folders.items()]

    def close(self) -> None:
        """Ends all."""
        for box in self.boxes.values():
            # Envoy lives on where its parent is killed.
            for pid in box.pids():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for process in (box.process, box.holder):
                if process is not None:
                    process.wait()
        for _, name in socket.if_nameindex():
            if name.startswith("pod"):
                # It may go by itself, with the network of its pod.
                subprocess.run(["ip", "link", "del", name], capture_output=True, check=False)
        run("ip", "link", "del", _BRIDGE)


def _covered(targets: Sequence[str]) -> list[str]:
    """Empty folders at `targets`, which can be written to, and what it takes that another user than root reads this
    Python and this repository, as anybody reads an image: also where they lie below a target, or below a folder
    that is closed to others."""
    covers: dict[str, set[Path]] = {target: set() for target in targets}
    for path in {Path(sys.base_prefix), Path(sys.prefix).resolve(), ROOT}:
        above = [str(folder) for folder in reversed(path.parents)]
        closed = next((one for one in above if one in covers or not os.stat(one).st_mode & 0o001), None)
        if closed:
            covers.setdefault(closed, set()).add(path)
    lines = []
    for folder, paths in covers.items():
        # What is below is kept in hand while the folder above it is covered.
        kept = [(f"/run/kept{folder}/{number}", path) for number, path in enumerate(sorted(paths))]
        for place, path in kept:
            lines += [f"mkdir -p {place}", f"mount --bind {path} {place}"]
        lines.append(f"mount -t tmpfs -o mode={1777 if folder in targets else 755} tmpfs {folder}")
        for place, path in kept:
            lines += [f"mkdir -p {path}", f"mount --bind {place} {path}"]
    return lines


def _until(done: Callable[[], Any], what: str, within_s: float = 60.0, step_s: float = 0.05) -> None:
    limit = time.monotonic() + within_s
    while not done():
        assert time.monotonic() < limit, what
        time.sleep(step_s)


def passes(box: Box, workload: Object, probe: Mapping[str, Any]) -> bool:
    """What the kubelet would find, asking as the manifest says."""
    ports = {port["name"]: port["containerPort"] for port in container(workload).get("ports", [])}
    if "grpc" in probe:
        with grpc.insecure_channel(f"{box.address}:{probe['grpc']['port']}") as channel:
            request = health_pb2.HealthCheckRequest(service=probe["grpc"].get("service", ""))
            try:
                answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=probe["timeoutSeconds"])
            except grpc.RpcError:
                return False
            return bool(answer.status == SERVING)
    if "tcpSocket" in probe:
        port = probe["tcpSocket"]["port"]
        with socket.socket() as one:
            one.settimeout(probe["timeoutSeconds"])
            return one.connect_ex((box.address, ports.get(port, port))) == 0
    port = probe["httpGet"]["port"]
    connection = HTTPConnection(box.address, ports.get(port, port), timeout=probe["timeoutSeconds"])
    try:
        connection.request("GET", probe["httpGet"]["path"])
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def become(box: Box, workload: Object, kind: str, passing: bool = True, within_s: float = 60.0) -> None:
    """Returns when a probe of a workload passes, or no longer does; fails with its log where it ended."""
    probe = container(workload)[f"{kind}Probe"]

    def done() -> bool:
        assert box.process is not None
        assert box.process.poll() is None, f"{box.name} ended:\n{box.said()[-4000:]}"
        return passes(box, workload, probe) == passing

    _until(
        done,
        f"{box.name}: {kind} is not {passing}:\n{box.said()[-4000:] if box.log.exists() else ''}",
        within_s,
        0.2,
    )


def ends(box: Box, within_s: float) -> int:
    """The exit status of a container, which has to end in time."""
    assert box.process is not None
    try:
        return box.process.wait(within_s)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"{box.name} runs on after {within_s:g} s:\n{box.said()[-4000:]}") from None


def terminate(box: Box) -> None:
    """What the kubelet does after preStop."""
    assert box.process is not None
    box.process.send_signal(signal.SIGTERM)
