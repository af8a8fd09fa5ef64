"""A network of machines on this one: each is a network namespace with a TUN device, and a thread of ours carries
the packets between them. What it drops, delays and throttles is set for each direction of each pair, so that a cut is
what it is between machines: no answer, also to what connects anew.

    with Lan() as lan:
        bus = lan.machine("bus")
        start(*bus.command("nats-server", "--addr", bus.address))
        with lan.trouble(Trouble(cut=True), lan.here, bus):
            ...

Needs root and /dev/net/tun; netem, which could do the same, is not in every kernel."""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import itertools
import os
import random
import select
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType

_TUNSETIFF = 0x400454CA
_TUN_WITHOUT_HEADER = 0x1001
_PACKET_MOST_BYTES = 65_536
_VERSION_4 = 4
_FIN, _SYN, _RST, _ACK = 1, 2, 4, 16
# A throttled wire holds so much and drops what comes on top, as a router does.
_HELD_MOST_BYTES = 64 << 10
_START_LIMIT_S = 10.0


@dataclass(frozen=True, slots=True)
class Trouble:
    """What becomes of packets in one direction; nothing unless said. `loss` is the part of them that vanishes. With
    `reset` none passes, and whoever sends one has their connection reset."""

    cut: bool = False
    reset: bool = False
    loss: float = 0.0
    delay_s: float = 0.0
    jitter_s: float = 0.0
    bytes_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class Machine:
    """One end: `here` is where we are, any other has a namespace, held by process `pid`."""

    name: str
    address: str
    pid: int | None = None

    def command(self, *words: str) -> tuple[str, ...]:
        """`words`, to be run on this machine. The process becomes what is run: its pid is the program's."""
        if self.pid is None:
            return words
        return ("nsenter", f"--net=/proc/{self.pid}/ns/net", "--", *words)


def missing() -> str:
    """What this machine lacks for it; empty: nothing."""
    if os.geteuid() != 0:
        return "root, to make networks"
    return "" if os.path.exists("/dev/net/tun") else "/dev/net/tun"


class Lan:
    """Up while the block runs. Machines are added as they are asked for."""

    def __init__(self, seed: int = 1) -> None:
        # From the range for tests of networks. Two runs on one machine must not meet, hence the process.
        self._network = f"198.{18 + os.getpid() // 256 % 2}.{os.getpid() % 256}"
        self._chance = random.Random(seed)
        self._holders: list[subprocess.Popen[bytes]] = []
        self._devices: dict[bytes, int] = {}
        self._wires: dict[tuple[bytes, bytes], _Wire] = {}
        self._woken, self._waker = os.pipe()
        self._thread = threading.Thread(target=self._carry, name="lan", daemon=True)
        self._closing = False

    def __enter__(self) -> Lan:
        self.here = self._machine("here", None)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self._wake()
        self._thread.join()
        for holder in self._holders:
            holder.kill()
            holder.wait()
        for descriptor in (*self._devices.values(), self._woken, self._waker):
            os.close(descriptor)

    def machine(self, name: str) -> Machine:
        """A new one."""
        holder = subprocess.Popen(["unshare", "--net", "--", "sleep", "infinity"])
        self._holders.append(holder)
        own = os.stat("/proc/self/ns/net").st_ino
        limit = time.monotonic() + _START_LIMIT_S
        while os.stat(f"/proc/{holder.pid}/ns/net").st_ino == own:
            assert time.monotonic() < limit, f"{name} has no network"
            time.sleep(0.01)
        found = self._machine(name, holder.pid)
        self._wake()
        return found

    def set(self, trouble: Trouble, source: Machine, target: Machine) -> None:
        """From now on, for what goes from `source` to `target`."""
        self._wires[_key(source), _key(target)] = _Wire(trouble)

    @contextlib.contextmanager
    def trouble(self, trouble: Trouble, one: Machine, other: Machine) -> Iterator[None]:
        """Both ways, while the block runs."""
        with self.one_way(trouble, one, other), self.one_way(trouble, other, one):
            yield

    @contextlib.contextmanager
    def one_way(self, trouble: Trouble, source: Machine, target: Machine) -> Iterator[None]:
        """From `source` to `target` alone, while the block runs."""
        self.set(trouble, source, target)
        try:
            yield
        finally:
            self.set(Trouble(), source, target)

    def _machine(self, name: str, pid: int | None) -> Machine:
        number = len(self._devices) + 1
        found = Machine(name, f"{self._network}.{number}", pid)
        device = f"lan{os.getpid()}-{number}"[:15]
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", device.encode(), _TUN_WITHOUT_HEADER))
        if pid is not None:
            _run("ip", "link", "set", device, "netns", str(pid))
            _run(*found.command("ip", "link", "set", "lo", "up"))
        _run(*found.command("ip", "addr", "add", f"{found.address}/24", "dev", device))
        _run(*found.command("ip", "link", "set", device, "up"))
        self._devices[_key(found)] = descriptor
        return found

    def _wake(self) -> None:
        os.write(self._waker, b"\0")

    def _carry(self) -> None:
        """The thread: from each device to that which a packet is for, when its time has come."""
        late: list[tuple[float, int, int, bytes]] = []
        numbers = itertools.count()
        poll = select.poll()
        known: dict[int, bytes] = {}
        poll.register(self._woken, select.POLLIN)
        while not self._closing:
            for key, descriptor in list(self._devices.items()):
                if descriptor not in known:
                    known[descriptor] = key
                    poll.register(descriptor, select.POLLIN)
            wait_ms = max(0.0, late[0][0] - time.monotonic()) * 1e3 if late else None
            for descriptor, _ in poll.poll(wait_ms):
                if descriptor == self._woken:
                    os.read(descriptor, 64)
                    continue
                for packet in _packets(descriptor):
                    target = packet[16:20]
                    out = self._devices.get(target)
                    wire = self._wires.get((known[descriptor], target))
                    if out is None or packet[0] >> 4 != _VERSION_4:
                        continue
                    if wire and wire.resets:
                        if answer := _reset(packet):
                            _give(descriptor, answer)
                        continue
                    due = wire.due(len(packet), self._chance) if wire else 0.0
                    if due is None:
                        continue
                    if due <= time.monotonic():
                        _give(out, packet)
                    else:
                        heapq.heappush(late, (due, next(numbers), out, packet))
            while late and late[0][0] <= time.monotonic():
                _, _, out, packet = heapq.heappop(late)
                _give(out, packet)


class _Wire:
    """One direction between two machines, in trouble."""

    def __init__(self, trouble: Trouble) -> None:
        self._trouble = trouble
        # When what was taken so far is through.
        self._free = 0.0
        self._last = 0.0

    @property
    def resets(self) -> bool:
        """Whether it answers each packet itself, by a reset."""
        return self._trouble.reset

    def due(self, size: int, chance: random.Random) -> float | None:
        """When a packet that comes now arrives, in monotonic seconds; None: never. They keep their order."""
        trouble, now = self._trouble, time.monotonic()
        if trouble.cut or (trouble.loss and chance.random() < trouble.loss):
            return None
        at = now
        if trouble.bytes_per_s is not None:
            if (self._free - now) * trouble.bytes_per_s > _HELD_MOST_BYTES:
                return None
            self._free = at = max(self._free, now) + size / trouble.bytes_per_s
        at += max(0.0, trouble.delay_s + chance.uniform(-trouble.jitter_s, trouble.jitter_s))
        self._last = max(self._last, at)
        return self._last


def _packets(descriptor: int) -> Iterator[bytes]:
    """What waits in a device, some at a time so that others get their turn."""
    for _ in range(64):
        try:
            yield os.read(descriptor, _PACKET_MOST_BYTES)
        except OSError:
            return


def _give(descriptor: int, packet: bytes) -> None:
    # A device whose machine is gone, or that has no room, loses the packet, as a wire does.
    with contextlib.suppress(OSError):
        os.write(descriptor, packet)


def _reset(packet: bytes) -> bytes | None:
    """The packet that resets the connection of `packet` at its sender; None for what has no connection, and for
    resets, which nobody answers."""
    start = (packet[0] & 15) * 4
    if packet[9] != socket.IPPROTO_TCP:
        return None
    source, target, sequence, acknowledged, flags = struct.unpack_from("!HHIIH", packet, start)
    if flags & _RST:
        return None
    size = len(packet) - start - (flags >> 12) * 4 + bool(flags & _SYN) + bool(flags & _FIN)
    own = acknowledged if flags & _ACK else 0
    heard = (sequence + size) & 0xFFFFFFFF
    addresses = packet[16:20] + packet[12:16]
    tcp = struct.pack("!HHIIHHHH", target, source, own, heard, 5 << 12 | _RST | _ACK, 0, 0, 0)
    both = _checksum(addresses + struct.pack("!HH", socket.IPPROTO_TCP, len(tcp)) + tcp)
    tcp = tcp[:16] + struct.pack("!H", both) + tcp[18:]
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, socket.IPPROTO_TCP, 0) + addresses
    return head[:10] + struct.pack("!H", _checksum(head)) + head[12:] + tcp


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _key(machine: Machine) -> bytes:
    return socket.inet_aton(machine.address)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_START_LIMIT_S)
    assert done.returncode == 0, f"{command}: {done.stderr}"
