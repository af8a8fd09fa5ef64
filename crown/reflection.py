"""Reflection, by which grpcurl and others learn what a server has. The library's own finds no method by its name,
which is what `grpcurl describe <service>.<method>` asks for: it is looked for in its service."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from grpc_reflection.v1alpha import reflection

SERVICE_NAME = reflection.SERVICE_NAME


class _Pool:
    """All that is compiled in; what is not named here is asked of protobuf's own pool."""

    def __init__(self) -> None:
        self._all: Any = descriptor_pool.Default()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._all, name)

    def FindFileContainingSymbol(self, name: str) -> Any:
        """The file that has the message, enum, service or method `name`. Raises KeyError."""
        try:
            return self._all.FindFileContainingSymbol(name)
        except KeyError:
            service, _, method = name.rpartition(".")
            found = self._all.FindServiceByName(service)
            if method not in found.methods_by_name:
                raise
            return found.file


def enable(names: Iterable[str], server: grpc.aio.Server) -> None:
    """Makes `server` tell of the services called `names`, and of all that they are made of."""
    reflection.enable_server_reflection(names, server, pool=_Pool())
