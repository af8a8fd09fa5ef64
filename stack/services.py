"""Our own processes: which there are, and which settings each gets. None gets what only another needs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from crown.token import LIFE_MOST_S
from stack import elsewhere, probes, providers, scale, tokens
from stack.errors import StackError
from stack.process import Preparation, Process
from stack.secrets import OPERATOR, PREPARE, Secrets
from stack.servers import mongod, valkey
from stack.settings import LOOPBACK, Settings

_STORES = ("mongod", "nats", "valkey")


class _Server(Protocol):
    """What a module of stack/servers tells of how a user reaches its server."""

    def url(self, secrets: Secrets, user: str, port: int) -> str: ...
    def with_user(self, secrets: Secrets, user: str, address: str) -> str: ...


@dataclass(frozen=True, slots=True)
class Role:
    """One process of a service: its arguments, and the credentials that it uses."""

    name: str
    user: str
    arguments: tuple[str, ...]
    needs: tuple[str, ...] = _STORES
    lanes: str = ""
    first: str = ""
    """Of one that a role is scaled to: the name of the first."""

    @property
    def kind(self) -> str:
        """What all processes of a role are called together: the name of the first."""
        return self.first or self.name


ROLES = (
    Role("ingest-api", "ingest-api", ("services.ingest", "api")),
    Role("ingest-dispatch-critical", "ingest-dispatch", ("services.ingest", "dispatch"), lanes="critical"),
    Role("ingest-dispatch", "ingest-dispatch", ("services.ingest", "dispatch"), lanes="normal,bulk"),
    Role("ingest-record", "ingest-record", ("services.ingest", "record")),
    Role("ingest-webhook", "ingest-webhook", ("services.ingest", "webhook")),
    Role("email", "email", ("services.email",), needs=(*_STORES, "mailbox", "sandbox")),
    Role("push", "push", ("services.push",), needs=(*_STORES, "sandbox")),
    Role("sms", "sms", ("services.sms",), needs=(*_STORES, "sandbox")),
    Role("realtime", "realtime", ("services.realtime",)),
)

# Listens to feeds of others. Part of a stack only where the caller says to which.
RELAY = Role("realtime-relay", "relay", ("services.realtime.relay",), needs=("ingest-api",))

# The suite's own filter. Part of a stack only where the caller asks for it; who has one of their own names that.
FILTER = Role("ingest-filter", "filter", ("services.ingest", "filter"), needs=())
_FILTER_VARIABLE = "CROWN_STACK_FILTER"
_OWN_FILTER = "reference"

# Whose certificates each may be called with; the gateway's and the operator's where nothing else stands. All tell
# their health to all.
_CALLERS = {
    "ingest-api": ("gateway", "realtime-relay", OPERATOR),
    FILTER.name: ("ingest-dispatch-critical", "ingest-dispatch"),
    **dict.fromkeys(("ingest-dispatch-critical", "ingest-dispatch", "ingest-record", "ingest-webhook"), ()),
    RELAY.name: (),
}

# Settings that the stack gives to each process itself: one value for all would be wrong.
_OWN = frozenset(
    {"CROWN_GRPC_PORT", "CROWN_METRICS_PORT", "CROWN_BIND", "CROWN_WEBSOCKET_PORT"}
    | {"CROWN_LONGPOLL_PORT"}
    | {"CROWN_DISPATCH_LANES", "CROWN_PEERS", "CROWN_JWKS", "CROWN_JWT_ISSUER", "CROWN_JWT_AUDIENCE"}
    | {
        "CROWN_DATA_KEY",
        "CROWN_DATA_KEY_FILE",
        "CROWN_SEAL_KEYS",
        "CROWN_SEAL_KEYS_FILE",
        *providers.VARIABLES,
    }
    | {"CROWN_FILTER_ADDRESS", "CROWN_FILTER_TOKEN", "CROWN_FILTER_TOKEN_FILE"}
    | {"CROWN_TLS_FOLDER", "CROWN_TLS_CALLERS", "CROWN_HEALTH_PORT"}
    | {"CROWN_RELAY_FEEDS", "CROWN_RELAY_TOKEN", "CROWN_RELAY_TOKEN_FILE", "CROWN_INGEST_ADDRESS"}
)

# What the stack is told itself.
_STACK_S = ("CROWN_STACK_", "CROWN_SANDBOX_", "CROWN_MAILBOX_")


def roles(given: Mapping[str, str]) -> tuple[Role, ...]:
    """The processes that a stack has in the caller's environment. Raises StackError where a role is scaled that there
    is none of."""
    wanted = scale.read(given.get(scale.VARIABLE, ""))
    for name in wanted:
        if name == RELAY.name:
            raise StackError(f"{name} cannot be scaled: each would bring every event of its feeds")
        if name == FILTER.name:
            raise StackError(f"{name} cannot be scaled: dispatch is told of one address")
        if not any(role.name == name for role in ROLES):
            known = ", ".join(role.name for role in ROLES)
            raise StackError(f"--scale {name}: no service is called that; there are {known}")
    scaled = tuple(one for role in ROLES for one in (role, *_more(role, wanted.get(role.name, 1))))
    filters = (FILTER,) if _own_filter(given) else ()
    relays = (RELAY,) if given.get("CROWN_RELAY_FEEDS") else ()
    return (*scaled, *filters, *relays)


def _own_filter(given: Mapping[str, str]) -> bool:
    wanted = given.get(_FILTER_VARIABLE, "")
    if wanted not in ("", _OWN_FILTER):
        raise StackError(f"{_FILTER_VARIABLE} is {wanted}: it must be {_OWN_FILTER} or be left out")
    return bool(wanted)


def _more(role: Role, count: int) -> list[Role]:
    return [replace(role, name=name, first=role.name) for _, name in scale.more({role.name: count})]


def preparation(settings: Settings, secrets: Secrets) -> Preparation:
    """What makes streams, consumers and indexes before the first service starts."""
    return Preparation(
        (sys.executable, "-m", "services.ingest", "prepare"),
        {
            **connections(settings, secrets, PREPARE),
            **_handed_on(settings.given),
            "CROWN_BIND": LOOPBACK,
            "CROWN_METRICS_PORT": str(settings.ports.metrics(PREPARE)),
        },
        needs=("mongod", "nats"),
    )


def process(settings: Settings, secrets: Secrets, role: Role) -> Process:
    ports = settings.ports
    opens = {role.name: ports.grpc(role.name), f"{role.name} metrics": ports.metrics(role.name)}
    if role.kind == "realtime":
        opens[f"{role.name} websocket"] = ports.websocket(role.name)
        opens[f"{role.name} longpoll"] = ports.longpoll(role.name)
    return Process(
        name=role.name,
        command=(sys.executable, "-m", *role.arguments),
        environment=environment(settings, secrets, role),
        address=f"{LOOPBACK}:{ports.grpc(role.name)}",
        ports=opens,
        probe=probes.grpc(ports.grpc(role.name), shown(settings, secrets), role.kind),
        needs=role.needs,
        prepared="nats" in role.needs,
        grace_s=15,  # more than the services' own grace (CROWN_GRACE_S), so that they report what was left
    )


def environment(settings: Settings, secrets: Secrets, role: Role) -> dict[str, str]:
    """Every setting of one service process."""
    ports = settings.ports
    result = {
        **_reached(settings, secrets, role),
        **_handed_on(settings.given),
        **providers.environment(settings, secrets, role.kind),
        "CROWN_BIND": LOOPBACK,
        "CROWN_GRPC_PORT": str(ports.grpc(role.name)),
        "CROWN_METRICS_PORT": str(ports.metrics(role.name)),
    }
    if folder := shown(settings, secrets, role.kind):
        callers = _CALLERS.get(role.kind, ("gateway", OPERATOR))
        result["CROWN_TLS_FOLDER"] = str(folder)
        # A list of nobody would be taken for none.
        result["CROWN_TLS_CALLERS"] = ",".join(callers or (OPERATOR,))
    if role.lanes:
        result["CROWN_DISPATCH_LANES"] = role.lanes
        result.update(_filter(settings, secrets))
    if role.kind == "ingest-api":
        peers = (name for one in ROLES for name in ports.processes(one.name) if name != role.name)
        result["CROWN_PEERS"] = ",".join(f"{name}={LOOPBACK}:{ports.grpc(name)}" for name in peers)
    if role.kind == "realtime":
        result["CROWN_WEBSOCKET_PORT"] = str(ports.websocket(role.name))
        result["CROWN_LONGPOLL_PORT"] = str(ports.longpoll(role.name))
    return result


def shown(settings: Settings, secrets: Secrets, name: str = OPERATOR) -> Path | None:
    """The folder of the certificate that the part `name` shows the others; None where they speak in the clear."""
    return secrets.tls(name) if settings.mtls else None


def _reached(settings: Settings, secrets: Secrets, role: Role) -> dict[str, str]:
    if role is RELAY:
        return _relay(settings, secrets)
    # It keeps what it knows to itself.
    return trust(settings, secrets) if role is FILTER else connections(settings, secrets, role.user)


def connections(settings: Settings, secrets: Secrets, user: str) -> dict[str, str]:
    """How `user` reaches NATS, MongoDB and Valkey, and what it trusts."""
    return {
        **_nats(settings, secrets, user),
        **_store(settings, secrets, "DATABASE_URL", mongod, settings.ports.mongod, user),
        **_store(settings, secrets, "REDIS_HOST", valkey, settings.ports.valkey, user),
        **(secrets.as_file(settings.given, "CROWN_DATA_KEY") or _file("CROWN_DATA_KEY", secrets.data_key())),
        **secrets.as_file(settings.given, "CROWN_SEAL_KEYS"),
        **trust(settings, secrets),
    }


def _relay(settings: Settings, secrets: Secrets) -> dict[str, str]:
    """What the relay reaches: ingest alone, with the caller's token or one of the stack's."""
    given = settings.given
    return {
        "CROWN_RELAY_FEEDS": given.get("CROWN_RELAY_FEEDS", ""),
        "CROWN_INGEST_ADDRESS": f"{LOOPBACK}:{settings.ports.grpc('ingest-api')}",
        **(
            secrets.as_file(given, "CROWN_RELAY_TOKEN")
            or _file("CROWN_RELAY_TOKEN", _service_token(secrets, "relay", "notifications.send"))
        ),
    }


def _filter(settings: Settings, secrets: Secrets) -> dict[str, str]:
    """Whom dispatch asks what is worth sending: the caller's filter, the suite's own one, or nobody."""
    given = settings.given
    address = given.get("CROWN_FILTER_ADDRESS", "")
    if not address and not _own_filter(given):
        return {}
    return {
        "CROWN_FILTER_ADDRESS": address or f"{LOOPBACK}:{settings.ports.grpc(FILTER.name)}",
        **(
            secrets.as_file(given, "CROWN_FILTER_TOKEN")
            or _file("CROWN_FILTER_TOKEN", _service_token(secrets, "dispatch", "notifications.filter"))
        ),
    }


def renew_tokens(settings: Settings, secrets: Secrets) -> None:
    """Signs the tokens of the stack's own callers anew; they read their files again."""
    _relay(settings, secrets)
    _filter(settings, secrets)


def _service_token(secrets: Secrets, name: str, scope: str) -> Path:
    token = tokens.sign(secrets, tokens.Use.SERVICE, name, scopes=(scope,), ttl_s=LIFE_MOST_S)
    return secrets.write(f"{name}-token", token)


def trust(settings: Settings, secrets: Secrets) -> dict[str, str]:
    """Whose tokens are believed: the stack's own, unless the caller named an issuer."""
    given = settings.given
    return {
        "CROWN_JWKS": given.get("CROWN_JWKS") or str(secrets.jwks()),
        "CROWN_JWT_ISSUER": given.get("CROWN_JWT_ISSUER") or tokens.ISSUER,
        "CROWN_JWT_AUDIENCE": given.get("CROWN_JWT_AUDIENCE") or tokens.AUDIENCE,
    }


def _nats(settings: Settings, secrets: Secrets, user: str) -> dict[str, str]:
    given = settings.given
    if settings.own_users or "nats" not in elsewhere.addresses(given):
        address = given.get("NATS_URL") or f"nats://{LOOPBACK}:{settings.ports.nats}"
        return {
            "NATS_URL": _of_nobody("NATS_URL", address),
            "NATS_USER": user,
            **_file("NATS_PASSWORD", secrets.nats_password(user)),
        }
    named = {name: given[name] for name in ("NATS_URL", "NATS_USER") if given.get(name)}
    return {**named, **secrets.as_file(given, "NATS_PASSWORD")}


def _store(
    settings: Settings, secrets: Secrets, name: str, server: _Server, port: int, user: str
) -> dict[str, str]:
    """The store that the caller named, else ours. The address holds a password, so it travels in a file."""
    file_name = f"{name.lower().replace('_', '-')}-{user}"
    if settings.own_users and (address := settings.given.get(name)):
        url = server.with_user(secrets, user, _of_nobody(name, address))
    elif theirs := secrets.as_file(settings.given, name):
        return theirs
    else:
        url = server.url(secrets, user, port)
    return _file(name, secrets.write(file_name, url))


def _of_nobody(name: str, address: str) -> str:
    """An address to which a user is to be added. Raises StackError where it has one."""
    if "@" in address:
        raise StackError(f"{name} names a user: leave it out, or set CROWN_STACK_USERS to off")
    return address


def _handed_on(given: Mapping[str, str]) -> dict[str, str]:
    """The caller's other CROWN_* settings (log level, stream sizes, …) reach every service."""
    return {
        name: value
        for name, value in given.items()
        if name.startswith("CROWN_") and not name.startswith(_STACK_S) and name not in _OWN
    }


def _file(name: str, path: Path) -> dict[str, str]:
    return {f"{name}_FILE": str(path)}
