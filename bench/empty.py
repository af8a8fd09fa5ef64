"""The limit of accepting by gRPC: a grpc.aio server in a process of its own, same contract, same messages, whose
handler does nothing. No interceptors, no checks."""

from __future__ import annotations

from typing import Any

import grpc

from bench.child import Answer, serve
from crown.notification.v1 import ingest_service_pb2 as pb
from crown.notification.v1.types_pb2 import NotificationStatus

_SERVICE = pb.DESCRIPTOR.services_by_name["IngestService"].full_name
_ID = "01970000-0000-7000-8000-000000000000"


async def accept_nothing(request: pb.SendNotificationRequest, context: Any) -> pb.SendNotificationResponse:
    """Answers at once what ingest would answer."""
    del request, context
    return pb.SendNotificationResponse(notification_id=_ID, status=NotificationStatus.ACCEPTED)


_servers: list[grpc.aio.Server] = []


async def handle(_order: Answer) -> Answer:
    """Starts it and answers where."""
    server = grpc.aio.server()
    method = grpc.unary_unary_rpc_method_handler(
        accept_nothing,
        request_deserializer=pb.SendNotificationRequest.FromString,
        response_serializer=pb.SendNotificationResponse.SerializeToString,
    )
    service = grpc.method_handlers_generic_handler(_SERVICE, {"SendNotification": method})
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    _servers.append(server)
    return {"target": f"127.0.0.1:{port}"}


if __name__ == "__main__":
    serve(handle)
