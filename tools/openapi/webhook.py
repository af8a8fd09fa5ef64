"""What the suite calls itself: the webhook of who sent a notification, whose body is no message of the protos."""

from __future__ import annotations

from tools.openapi.messages import Schema
from tools.openapi.paths import parameter

_TEXT: Schema = {"type": "string"}
EVENT: Schema = {
    "type": "object",
    "description": "What became of a delivery. Never content, never an address. New fields may come.",
    "properties": {
        "type": {
            "type": "string",
            "pattern": "^notification[.]delivery[.][a-z_]+$",
            "description": "Ends in the state, in small letters.",
        },
        "timestamp": {"type": "string", "format": "date-time"},
        "data": {
            "type": "object",
            "properties": {
                "notification_id": _TEXT,
                "delivery_id": _TEXT,
                "user_id": _TEXT,
                "channel": {"$ref": "#/components/schemas/Channel"},
                "state": {"$ref": "#/components/schemas/DeliveryState"},
                "reason": _TEXT,
                "provider": _TEXT,
                "occur_time": {"type": "string", "format": "date-time"},
            },
            "required": ["notification_id", "delivery_id", "user_id", "channel", "state", "occur_time"],
        },
    },
    "required": ["type", "timestamp", "data"],
}
WEBHOOK: Schema = {
    "operationId": "webhook_delivery",
    "summary": "What became of a delivery, told to the `webhook_url` of its notification",
    "description": "Signed by Standard Webhooks. It may come twice, and out of order.",
    "parameters": [
        parameter(name, "header", {"type": "string", "description": about}, required=True)
        for name, about in (
            ("webhook-id", "The same when it comes again."),
            ("webhook-timestamp", "Seconds since 1970, when it was sent."),
            ("webhook-signature", "`v1,` and the signature in base64."),
        )
    ],
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/WebhookEvent"}}},
    },
    "responses": {"2XX": {"description": "Taken. Anything else is tried again."}},
    "security": [],
}
