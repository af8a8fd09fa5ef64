"""The few things that envoy.yaml adds to YAML: placeholders, repeated list items, short addresses.

Works on the parsed document and not on its text, so that no value can break out of its place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

_PLACEHOLDER = re.compile(r"\$\{([A-Za-z_]+)(?::-([^}]*))?\}")
# Stands for a column that a row does not have.
_LEFT_OUT = object()

# What placeholders may name: variables in capitals, columns and tables in small letters.
Scope = Mapping[str, Any]


class ConfigurationError(ValueError):
    """A variable is missing or makes no sense. The message names it, not its value."""


def expand(node: Any, scope: Scope) -> Any:
    """`node` with everything filled in; keys that begin with x- are dropped."""
    match node:
        case dict():
            entries = {k: _entry(k, v, scope) for k, v in node.items() if not k.startswith("x-")}
            return {key: value for key, value in entries.items() if value is not _LEFT_OUT}
        case list():
            items = [item for element in node for item in _repeated(element, scope)]
            return [item for item in items if item is not _LEFT_OUT]
        case str():
            return _filled(node, scope)
        case _:
            return node


def dump(document: Any) -> str:
    """The document as YAML without aliases, in its own order."""
    return yaml.dump(document, Dumper=_PlainDumper, sort_keys=False, width=110)


def _entry(key: str, value: Any, scope: Scope) -> Any:
    expanded = expand(value, scope)
    return socket_address(value, expanded) if key == "socket_address" else expanded


def _repeated(element: Any, scope: Scope) -> list[Any]:
    """One element of a list, or one for each row of the table that it names."""
    if not isinstance(element, dict) or "x-each" not in element:
        return [expand(element, scope)]
    item = element.get("x-item", element)
    return [expand(item, {**scope, **expand(row, scope)}) for row in scope[element["x-each"]]]


def _filled(text: str, scope: Scope) -> Any:
    """The text with its placeholders filled in. What is one placeholder alone keeps the value's type."""
    if alone := _PLACEHOLDER.fullmatch(text):
        return _value(alone, scope)
    return _PLACEHOLDER.sub(lambda placeholder: str(_value(placeholder, scope)), text)


def _value(placeholder: re.Match[str], scope: Scope) -> Any:
    name, default = placeholder.groups()
    if name in scope:
        return scope[name]
    if default is not None:
        return default
    if name.islower():
        return _LEFT_OUT
    raise ConfigurationError(f"{name} is not set, and the gateway has no default for it")


def socket_address(written: str, address: str) -> dict[str, Any]:
    """`address`, host:port, as Envoy writes it. Raises ConfigurationError naming the variables in `written`."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        names = ", ".join(name for name, _ in _PLACEHOLDER.findall(written))
        raise ConfigurationError(f"{names}: host:port is needed, with a port up to 65535")
    return {"address": host.strip("[]"), "port_value": int(port)}


class _PlainDumper(yaml.SafeDumper):
    """Writes what is used twice twice: Envoy reads no aliases."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        return True
