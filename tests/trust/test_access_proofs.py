"""Calls without a token: what is not signed, or signed by somebody else, is refused on every one of them."""

from __future__ import annotations

import base64
import json

import grpc
import pytest

from crown.notification.v1.access_pb2 import PROOF_PROVIDER_SIGNATURE, PROOF_SIGNED_LINK
from stack.control import Stack
from tests.e2e.answers import Reply
from tests.e2e.contract import PROVEN, Rpc
from tests.e2e.rest import Rest
from tests.sendgrid_signer import Signer
from tests.trust import matrix
from tests.trust.callers import OWNER

SURFACE = "callbacks and links"
SIGNED = [rpc for rpc in PROVEN if rpc.rule.proof == PROOF_PROVIDER_SIGNATURE]
LINKS = [rpc for rpc in PROVEN if rpc.rule.proof == PROOF_SIGNED_LINK]
BODY = b'[{"event": "bounce", "email": "heron@heron.example"}]'
TWILIO = b"MessageSid=SM1&MessageStatus=delivered&From=%2B12025560100&Body=STOP"
SNS = json.dumps(
    {
        "Type": "Notification",
        "MessageId": "m",
        "TopicArn": "arn:aws:sns:eu-west-1:123456789012:crown",
        "Message": "{}",
        "Timestamp": "2026-11-26T00:00:00.000Z",
        "SignatureVersion": "2",
        "Signature": base64.b64encode(b"x" * 256).decode(),
        "SigningCertURL": "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-x.pem",
    }
).encode()
BODIES = {"sendgrid": BODY, "status": TWILIO, "inbound": TWILIO, "sns": SNS}


def unsigned(path: str) -> list[dict[str, str]]:
    """Headers with which nobody has signed."""
    return [
        {},
        {"Authorization": "Bearer x"},
        Signer().headers(BODIES["sendgrid"]),
        {"X-Twilio-Signature": base64.b64encode(b"x" * 20).decode()},
        {"X-Twilio-Signature": ""},
        {"x-twilio-email-event-webhook-signature": "x", "x-twilio-email-event-webhook-timestamp": "1"},
        {"x-amz-sns-message-type": "Notification"},
        {"x-crown-verified": "true", "x-envoy-original-path": path, "x-forwarded-host": "localhost"},
    ]


async def post(rest: Rest, path: str, body: bytes, headers: dict[str, str]) -> Reply:
    kind = "application/json" if body.startswith((b"[", b"{")) else "application/x-www-form-urlencoded"
    url = f"http://{rest.address}{path}"
    async with rest.http.post(url, data=body, headers={"Content-Type": kind, **headers}) as answer:
        return Reply(answer.status, dict(answer.headers), await answer.read())


@pytest.mark.parametrize("rpc", SIGNED, ids=lambda rpc: rpc.name)
async def test_a_provider_has_to_sign(rest: Rest, rpc: Rpc) -> None:
    for _, path in rpc.paths(OWNER):
        body = BODIES[path.rpartition("/")[2]]
        for headers in unsigned(path):
            answer = await post(rest, path, body, headers)
            matrix.check(SURFACE, answer.status, 403, path, headers, answer)
            assert b"SIGNATURE_INVALID" in answer.body, answer


@pytest.mark.parametrize("rpc", LINKS, ids=lambda rpc: rpc.name)
async def test_a_link_has_to_be_ours(rest: Rest, rpc: Rpc) -> None:
    for verb, path in rpc.paths(OWNER):
        for token in ("x", "a.b", "A" * 64, "owner", "..", "%2e%2e%2fx", "A" * 1_024):
            url = f"http://{rest.address}{path.rpartition('/')[0]}/{token}"
            async with rest.http.request(verb, url) as answer:
                matrix.check(SURFACE, answer.status in (400, 404), True, verb, token, answer.status)


@pytest.mark.parametrize("rpc", PROVEN, ids=lambda rpc: rpc.name)
async def test_a_proof_is_asked_for_past_the_gateway_too(stack: Stack, rest: Rest, rpc: Rpc) -> None:
    """Also of who holds the best of tokens: they are for other calls."""
    for caller in (rest.nobody, rest.operator, rest.service("feed")):
        async with grpc.aio.insecure_channel(stack.address(rpc.process)) as direct:
            code = await rpc.call(direct, OWNER, caller.metadata)
        refused = code in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.NOT_FOUND)
        matrix.check(SURFACE, refused, True, code)


@pytest.mark.parametrize("rpc", PROVEN, ids=lambda rpc: rpc.name)
async def test_by_grpc_the_gateway_lets_no_callback_in(channel: grpc.aio.Channel, rpc: Rpc) -> None:
    matrix.check(SURFACE, await rpc.call(channel, OWNER, ()), grpc.StatusCode.UNAUTHENTICATED)
