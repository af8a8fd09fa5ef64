"""Reflection, by which grpcurl and others learn what a server has. The library's own finds no method by its name,
which is what `grpcurl describe <service>.<method>` asks for: it is looked for in its service."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import aclosing
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from grpc_reflection.v1alpha import reflection

from crown import ids, problem
from crown.auth import Authenticator, bearer
from crown.errors import CrownError, NotAllowed

SERVICE_NAME = reflection.SERVICE_NAME
_METHODS = "/grpc.reflection."


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


class ForOperators(grpc.aio.ServerInterceptor):
    """Answers questions about what there is only to who shows the token of an operator. Without an `authenticator`
    nobody can, and nobody is answered."""

    def __init__(self, authenticator: Authenticator | None) -> None:
        self._authenticator = authenticator

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """As gRPC asks for each call: its handler, behind the check."""
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith(_METHODS):
            return handler

        async def stream(given: Any, context: Any) -> Any:
            await self._admit(context)
            async with aclosing(handler.stream_stream(given, context)) as found:
                async for answer in found:
                    yield answer

        return grpc.stream_stream_rpc_method_handler(
            stream, handler.request_deserializer, handler.response_serializer
        )

    async def _admit(self, context: Any) -> None:
        try:
            header = dict(context.invocation_metadata()).get("authorization")
            await self._must_be_operator(bearer(header))
        except CrownError as error:
            await context.abort(error.code, error.message, problem.trailers(error, ids.fresh_request()))

    async def _must_be_operator(self, token: str) -> None:
        if self._authenticator is None or (await self._authenticator.principal(token)).use != "operator":
            raise NotAllowed("reflection is for operators here")
