"""What `crown` reads from its environment, once. Nothing else in the stack looks at os.environ."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stack import scale
from stack.errors import StackError
from stack.ports import DEFAULT_BASE, Ports

ROOT = Path(__file__).resolve().parent.parent

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Settings:
    """One stack: its ports, its folder, and the variables that name other servers and real providers."""

    ports: Ports
    gateway_host: str  # CROWN_STACK_HOST: 0.0.0.0 opens the gateway, and only it, to the network
    home: Path  # holds one folder per port base
    given: Mapping[str, str]  # the whole environment as it was read
    own_users: bool = (
        False  # CROWN_STACK_USERS: whether servers that are named know the users of stack/secrets.py
    )
    mtls: bool = (
        False  # CROWN_STACK_MTLS: whether the gateway and the services speak TLS, each with a certificate
    )

    @property
    def gateway_url(self) -> str:
        """Where this machine reaches the gateway."""
        host = LOOPBACK if self.gateway_host == "0.0.0.0" else self.gateway_host
        return f"http://{host}:{self.ports.gateway}"

    @classmethod
    def read(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Raises StackError naming the variable whose value does not do."""
        given = dict(os.environ if environment is None else environment)
        base = _port(given, "CROWN_STACK_PORT_BASE") or DEFAULT_BASE
        gateway = _port(given, "NOTIFICATION_SERVICE_PORT")
        home = given.get("CROWN_STACK_HOME") or ROOT / ".stack"
        more = [name for _, name in scale.more(scale.read(given.get(scale.VARIABLE, "")))]
        return cls(
            ports=Ports.at(base, gateway, more),
            gateway_host=given.get("CROWN_STACK_HOST") or LOOPBACK,
            home=Path(home).expanduser().resolve(),
            given=given,
            own_users=_switch(given, "CROWN_STACK_USERS"),
            mtls=_switch(given, "CROWN_STACK_MTLS"),
        )


def _switch(given: Mapping[str, str], name: str) -> bool:
    value = given.get(name) or "off"
    if value not in ("on", "off"):
        raise StackError(f"{name} is neither on nor off")
    return value == "on"


def _port(given: Mapping[str, str], name: str) -> int | None:
    value = given.get(name, "")
    if not value:
        return None
    if not value.isdecimal() or not 1 <= int(value) <= 65535:
        raise StackError(f"{name} is not a port number between 1 and 65535")
    return int(value)
