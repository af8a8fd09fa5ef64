"""Where the app lives and where links may lead: told to whoever takes links in and to whoever sends them out."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, field_validator

from crown.settings import Settings

_HOST = re.compile(r"[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]")


def origin(value: str) -> str:
    """`value` as scheme, host and port, without a slash at the end. Raises ValueError."""
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    host = parts.netloc if port is None else parts.netloc.removesuffix(f":{port}")
    if parts.scheme not in {"http", "https"} or not _HOST.fullmatch(host):
        raise ValueError("must be https://host or https://host:port (http for a sandbox)")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("must have neither path nor query")
    return f"{parts.scheme}://{parts.netloc}"


# The address of a server: scheme, host and port, without a slash at the end.
Origin = Annotated[str, AfterValidator(origin)]


class LinkSettings(Settings):
    """The settings that both have in common."""

    # Where the app lives: an action link that is a path leads there.
    public_url: Origin = Field("https://crown.example", validation_alias="CROWN_PUBLIC_URL")
    # Hosts that links and pictures may point to besides the app's own, separated by commas.
    link_hosts: str = Field("", validation_alias="CROWN_LINK_HOSTS")

    @field_validator("link_hosts")
    @classmethod
    def _are_link_hosts(cls, value: str) -> str:
        if not all(_HOST.fullmatch(host.strip()) for host in value.split(",") if host.strip()):
            raise ValueError("must be names of hosts, separated by commas")
        return value

    @property
    def allowed_hosts(self) -> tuple[str, ...]:
        """Hosts that links may point to, themselves or below; the app's own first."""
        own = urlsplit(self.public_url).hostname or ""
        others = (host.strip().lower() for host in self.link_hosts.split(","))
        return (own, *(host for host in others if host))
