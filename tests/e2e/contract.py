"""The contract as the gateway has it: which RPCs there are, who may call each, and where REST finds it. All of it
is read from the descriptor set, so that a new RPC is tested by being there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from crown import access
from crown.notification.v1 import access_pb2
from gateway.contract import bindings, load, services
from stack.settings import ROOT

# Which process serves what ingest-api does not.
_PROCESSES = {
    "EmailService": "email",
    "EmailCallbackService": "email",
    "TemplateService": "email",
    "SmsCallbackService": "sms",
    "PushService": "push",
    "DeviceService": "push",
    "SmsService": "sms",
    "RealtimeService": "realtime",
}
VARIABLE = re.compile(r"\{(\w+)\}")
# Good values for the variables of paths.
_SAMPLES = {
    "notification_id": "01a202de-cd68-776b-aacc-66961d5740dd",
    "device_id": "0",
    "group_id": "g",
    "suppression_id": "0",
    "dead_letter_id": "0",
    "replay_id": "0",
    "schedule_id": "01a202de-cd68-776b-aacc-66961d5740dd",
    "template_id": "t",
    "token": "t",
    "topic": "group:g",
    "service_id": "nobody-at-all",
    "operator_id": "nobody-at-all",
}
_CALL_LIMIT_S = 10.0
# How long a stream that is not refused is listened to.
_STREAM_LIMIT_S = 0.3


@dataclass(frozen=True)
class Rpc:
    """One RPC: how to call it, and its rule."""

    method: MethodDescriptor
    rule: access_pb2.AccessRule
    rest: tuple[tuple[str, str], ...]  # (HTTP method, path template)
    body: str  # the field that the body of a REST call is; * for the whole request, empty for none

    @property
    def name(self) -> str:
        """Service and method, as tests are named."""
        return f"{self.service}.{self.method.name}"

    @property
    def service(self) -> str:
        """The service's own name."""
        return self.method.containing_service.name

    @property
    def process(self) -> str:
        """The process of the stack that serves it."""
        return _PROCESSES.get(self.service, "ingest-api")

    def message(self, user_id: str) -> Message:
        """A request about this person, else empty."""
        request = GetMessageClass(self.method.input_type)()
        if "user_id" in self.method.input_type.fields_by_name:
            setattr(request, "user_id", user_id)  # noqa: B010, the class is not known to the type checker
        return request

    def paths(self, user_id: str) -> Iterator[tuple[str, str]]:
        """(HTTP method, path) of each way to call it about this person by REST."""
        for verb, template in self.rest:
            yield verb, VARIABLE.sub(lambda found: {"user_id": user_id, **_SAMPLES}[found[1]], template)

    async def call(self, channel: grpc.aio.Channel, user_id: str, metadata: Any) -> grpc.StatusCode:
        """The code of a call about this person. A stream that goes on is OK."""
        error = await self.refused(channel, user_id, metadata)
        return error.code() if error else grpc.StatusCode.OK

    async def refused(
        self, channel: grpc.aio.Channel, user_id: str, metadata: Any
    ) -> grpc.aio.AioRpcError | None:
        """What a call about this person is answered where that is an error."""
        path = f"/{self.method.containing_service.full_name}/{self.method.name}"
        request = self.message(user_id).SerializeToString()
        try:
            if self.method.client_streaming:
                both: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(path)
                async for _ in both(iter([request]), metadata=metadata, timeout=_CALL_LIMIT_S):
                    break
            elif self.method.server_streaming:
                stream: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(path)
                async for _ in stream(request, metadata=metadata, timeout=_STREAM_LIMIT_S):
                    break
            else:
                unary: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
                await unary(request, metadata=metadata, timeout=_CALL_LIMIT_S)
        except grpc.aio.AioRpcError as error:
            late = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and self.method.server_streaming
            return None if late else error
        return None


def _read() -> tuple[Rpc, ...]:
    files = load(ROOT / "gateway" / "crown.binpb")
    pool = DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return tuple(
        Rpc(
            pool.FindMethodByName(f"{package}.{service.name}.{method.name}"),
            method.options.Extensions[access_pb2.access],
            tuple(bindings(method)),
            method.options.Extensions[annotations_pb2.http].body,
        )
        for package, service in services(files)
        for method in service.method
    )


RPCS = _read()
GUARDED = tuple(rpc for rpc in RPCS if not access.is_open(rpc.rule))
# Those that go by another proof than a token.
PROVEN = tuple(rpc for rpc in RPCS if rpc.rule.proof)
