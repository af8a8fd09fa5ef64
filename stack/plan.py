"""What shall run: the processes, in the order of start, and the servers that run elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from stack import elsewhere, probes, providers, services
from stack.errors import NotInstalled, StackError
from stack.layout import Layout
from stack.process import Preparation, Process
from stack.secrets import Secrets
from stack.servers import envoy, mongod, nats, valkey
from stack.settings import LOOPBACK, Settings

GATEWAY = envoy.NAME

_SERVERS = ("mongod", "nats", "valkey", "mailbox", "sandbox")

# Every stack has these; see `names` for what comes on top.
NAMES = (*_SERVERS, *(role.name for role in services.ROLES), GATEWAY)

_GATEWAY_NEEDS = tuple(role.name for role in services.ROLES)


@dataclass(frozen=True, slots=True)
class Plan:
    """What one stack consists of."""

    settings: Settings
    layout: Layout
    secrets: Secrets
    processes: dict[str, Process]
    external: dict[str, str]  # server name -> address
    preparation: Preparation | None = None  # None: nobody wants to be prepared for


def make(settings: Settings, only: Sequence[str] = ()) -> Plan:
    """The plan for the whole suite, or for the named processes and what they need.

    Raises StackError for an unknown name, or for servers whose binaries are not here: it names all of them.
    """
    layout = Layout.of(settings)
    layout.make()
    secrets = Secrets(layout.secrets)
    external = elsewhere.addresses(settings.given)
    names = wanted(only, settings.given)
    builders = _builders(settings, layout, secrets)
    processes = _built({name: builders[name] for name in names if name not in external})
    prepared = any(process.prepared for process in processes.values())
    return Plan(
        settings=settings,
        layout=layout,
        secrets=secrets,
        processes=processes,
        external={name: external[name] for name in names if name in external},
        preparation=services.preparation(settings, secrets) if prepared else None,
    )


def _built(builders: Mapping[str, Callable[[], Process]]) -> dict[str, Process]:
    found: dict[str, Process] = {}
    missing: dict[str, str] = {}
    for name, build in builders.items():
        try:
            found[name] = build()
        except NotInstalled as error:
            missing[name] = str(error)
    if missing:
        raise StackError(_missing(missing))
    return found


def _missing(problems: Mapping[str, str]) -> str:
    """A line for each server that is not here, with the setting that names another one in its place."""
    return "\n".join(
        f"{variable} is required, for {problem}" if (variable := elsewhere.variable_of(name)) else problem
        for name, problem in problems.items()
    )


def _builders(settings: Settings, layout: Layout, secrets: Secrets) -> dict[str, Callable[[], Process]]:
    ports = settings.ports
    builders: dict[str, Callable[[], Process]] = {
        "mongod": lambda: mongod.process(layout, secrets, ports.mongod),
        "nats": lambda: nats.process(layout, secrets, ports.nats, ports.nats_monitor),
        "valkey": lambda: valkey.process(layout, secrets, ports.valkey),
        "mailbox": lambda: _mailbox(settings, layout),
        "sandbox": lambda: _sandbox(settings, layout, secrets),
        GATEWAY: lambda: envoy.process(layout, settings, _told(settings, secrets), _GATEWAY_NEEDS),
    }
    for role in services.roles(settings.given):
        builders[role.name] = partial(services.process, settings, secrets, role)
    return builders


def _mailbox(settings: Settings, layout: Layout) -> Process:
    ports = settings.ports
    return Process(
        name="mailbox",
        command=(sys.executable, "-m", "stack.mailbox"),
        environment={
            "CROWN_MAILBOX_HTTP_PORT": str(ports.mailbox_http),
            "CROWN_MAILBOX_SMTP_PORT": str(ports.mailbox_smtp),
            "CROWN_MAILBOX_STORE": str(layout.data("mailbox") / "letters.jsonl"),
        },
        address=f"{LOOPBACK}:{ports.mailbox_smtp}",
        ports={"mailbox": ports.mailbox_smtp, "mailbox http": ports.mailbox_http},
        probe=probes.http(ports.mailbox_http, "/healthz"),
        grace_s=3,
    )


def _sandbox(settings: Settings, layout: Layout, secrets: Secrets) -> Process:
    port = settings.ports.sandbox
    return Process(
        name="sandbox",
        command=(sys.executable, "-m", "stack.sandbox"),
        environment={
            "CROWN_SANDBOX_PORT": str(port),
            "CROWN_SANDBOX_LEDGER": str(layout.data("sandbox") / "ledger.jsonl"),
            "CROWN_SANDBOX_GATEWAY_URL": settings.gateway_url,
            "CROWN_SANDBOX_CALLBACKS": settings.given.get("CROWN_SANDBOX_CALLBACKS") or "on",
            **providers.sandbox_credentials(settings, secrets),
        },
        address=f"{LOOPBACK}:{port}",
        ports={"sandbox": port},
        probe=probes.http(port, "/healthz"),
        grace_s=3,
    )


def _told(settings: Settings, secrets: Secrets) -> dict[str, str]:
    trust = services.trust(settings, secrets)
    told = envoy.variables(
        settings, trust["CROWN_JWKS"], trust["CROWN_JWT_ISSUER"], trust["CROWN_JWT_AUDIENCE"]
    )
    folder = services.shown(settings, secrets, GATEWAY)
    return told | ({"CROWN_TLS_FOLDER": str(folder)} if folder else {})


def names(given: Mapping[str, str]) -> tuple[str, ...]:
    """Every process of a stack in the caller's environment, in the order of start."""
    own = [role.name for role in services.roles(given)]
    relay = services.RELAY.name
    return (
        *_SERVERS,
        *(name for name in own if name != relay),
        GATEWAY,
        *(name for name in own if name == relay),
    )


def wanted(only: Sequence[str], given: Mapping[str, str]) -> tuple[str, ...]:
    """The named processes and all that they need, in the order of start; every process when none is named. A role
    that is scaled brings all its processes."""
    there = names(given)
    kinds = {role.name: role for role in services.roles(given)}
    found: set[str] = set()
    queue = list(only or there)
    while queue:
        name = queue.pop()
        if name not in there:
            raise StackError(_unknown(name, there))
        if name not in found:
            found.add(name)
            queue.extend(_needs_of(name, kinds))
            queue.extend(role.name for role in kinds.values() if role.first == name)
    return tuple(name for name in there if name in found)


def _unknown(name: str, there: Sequence[str]) -> str:
    if name == services.RELAY.name:
        return f"{name} runs only where CROWN_RELAY_FEEDS names a file of feeds"
    if name == services.FILTER.name:
        return f"{name} runs only where CROWN_STACK_FILTER is reference"
    return f"no process is called {name}: there are {', '.join(there)}"


def _needs_of(name: str, roles: Mapping[str, services.Role]) -> tuple[str, ...]:
    if name == GATEWAY:
        return _GATEWAY_NEEDS
    return roles[name].needs if name in roles else ()
