"""SNS's rules, driven by the real client."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aiobotocore.config import AioConfig  # type: ignore[import-untyped]
from aiobotocore.session import get_session  # type: ignore[import-untyped]
from botocore.auth import SigV4Auth  # type: ignore[import-untyped]
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.credentials import Credentials  # type: ignore[import-untyped]
from botocore.exceptions import ClientError  # type: ignore[import-untyped]
from multidict import CIMultiDict

from stack.sandbox.provider import Call
from stack.sandbox.signature_v4 import SignatureV4

if TYPE_CHECKING:
    from tests.unit.stack.sandbox.conftest import Sandbox

TO = "+14155550100"
URL = "http://127.0.0.1:3009/sns/"


@asynccontextmanager
async def opened(sandbox: Sandbox, key: str = "", secret: str = "") -> AsyncIterator[Any]:
    own_key, _, own_secret = sandbox.sns_key.partition(":")
    client = get_session().create_client(
        "sns",
        region_name="us-east-1",
        endpoint_url=f"{sandbox.url}/sns",
        aws_access_key_id=key or own_key,
        aws_secret_access_key=secret or own_secret,
        config=AioConfig(retries={"total_max_attempts": 1}),
    )
    async with client as sns:
        yield sns


@pytest.fixture
async def sns(sandbox: Sandbox) -> AsyncIterator[Any]:
    async with opened(sandbox) as client:
        yield client


def attribute(value: str, kind: str = "String") -> dict[str, str]:
    return {"DataType": kind, "StringValue": value}


async def refusal(client: Any, **message: Any) -> tuple[int, str, str]:
    with pytest.raises(ClientError) as caught:
        await client.publish(**{"PhoneNumber": TO, "Message": "x", **message})
    answer = caught.value.response
    return (
        answer["ResponseMetadata"]["HTTPStatusCode"],
        answer["Error"]["Code"],
        answer["Error"]["Message"],
    )


async def test_a_text_is_accepted_and_recorded(sandbox: Sandbox, sns: Any) -> None:
    attributes = {
        "AWS.SNS.SMS.SMSType": attribute("Transactional"),
        "AWS.SNS.SMS.SenderID": attribute("Crown"),
        "AWS.SNS.SMS.MaxPrice": attribute("0.50", "Number"),
    }
    sent = await sns.publish(PhoneNumber=TO, Message="Grüße <&> 你好", MessageAttributes=attributes)
    assert sent["ResponseMetadata"]["RequestId"]
    [entry] = await sandbox.entries(provider="sns")
    assert (entry["recipient"], entry["sender"], entry["text"]) == (TO, "Crown", "Grüße <&> 你好")
    assert entry["message_id"] == sent["MessageId"]


@pytest.mark.parametrize(
    ("message", "code", "words"),
    [
        ({"PhoneNumber": "+1"}, "InvalidParameter", "PhoneNumber Reason: +1 is not valid to publish to"),
        ({"Message": ""}, "InvalidParameter", "Empty message"),
        ({"Message": "x" * 1_601}, "InvalidParameter", "Message too long"),
        (
            {"MessageAttributes": {"AWS.SNS.SMS.SMSType": attribute("Urgent")}},
            "InvalidParameter",
            "'AWS.SNS.SMS.SMSType' is invalid",
        ),
        (
            {"MessageAttributes": {"AWS.SNS.SMS.MaxPrice": attribute("1")}},
            "InvalidParameter",
            "must be of the type Number",
        ),
    ],
    ids=["number", "empty", "long", "type", "price as text"],
)
async def test_what_sns_refuses(
    sandbox: Sandbox, sns: Any, message: dict[str, Any], code: str, words: str
) -> None:
    status, told, text = await refusal(sns, **message)
    assert (status, told) == (400, code)
    assert words in text
    assert await sandbox.entries() == []


async def test_topics_are_not_there(sandbox: Sandbox, sns: Any) -> None:
    with pytest.raises(sns.exceptions.NotFoundException):
        await sns.publish(TopicArn="arn:aws:sns:us-east-1:000000000000:x", Message="x")
    with pytest.raises(ClientError, match="Could not find operation ListTopics"):
        await sns.list_topics()


@pytest.mark.parametrize(
    ("key", "secret", "code"),
    [
        ("AKIAWRONG", "", "InvalidClientTokenId"),
        ("", "wrong", "SignatureDoesNotMatch"),
    ],
)
async def test_another_s_key_is_refused(sandbox: Sandbox, key: str, secret: str, code: str) -> None:
    async with opened(sandbox, key, secret) as client:
        status, told, _ = await refusal(client)
    assert (status, told) == (403, code)


async def test_a_request_without_signature_is_refused_in_xml(sandbox: Sandbox) -> None:
    status, body = await sandbox.call("POST", "/sns/", data={"Action": "Publish"})
    assert status == 403
    assert body.startswith('<ErrorResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><Error>')
    assert "<Code>MissingAuthenticationToken</Code>" in body


@pytest.mark.parametrize(
    ("status", "code"), [(429, "Throttling"), (500, "InternalFailure"), (418, "InvalidParameter")]
)
async def test_a_scripted_status_has_aws_s_body(sandbox: Sandbox, sns: Any, status: int, code: str) -> None:
    await sandbox.script(provider="sns", answer={"status": status}, times=1)
    assert (await refusal(sns))[:2] == (status, code)


async def test_who_opted_out_gets_nothing(sandbox: Sandbox, sns: Any) -> None:
    await sandbox.call("POST", "/sns/inbound", json={"from": TO, "body": "Stop "})
    assert (await refusal(sns))[1] == "OptedOut"
    await sandbox.call("POST", "/sns/inbound", json={"from": TO, "body": "START"})
    assert await sns.publish(PhoneNumber=TO, Message="x")


NOW = 1_795_000_000.0


def signed(change: Callable[[dict[str, str]], None] | None = None, body: bytes = b"Action=Publish") -> Call:
    """A call signed by botocore at the present moment, changed after that."""
    request = AWSRequest("POST", URL, {"Content-Type": "application/x-www-form-urlencoded"}, body)
    SigV4Auth(Credentials("AKIATEST", "secret"), "sns", "eu-west-1").add_auth(request)
    headers = {"Host": "127.0.0.1:3009", **{name: str(value) for name, value in request.headers.items()}}
    if change is not None:
        change(headers)
    # As in aiohttp, case does not count.
    return Call("POST", CIMultiDict(headers), body)


@pytest.mark.parametrize(
    ("ahead_s", "problem"),
    [(0, None), (290, None), (-290, None), (310, "expired"), (-310, "not yet current")],
)
def test_signatures_grow_old(ahead_s: float, problem: str | None) -> None:
    found = SignatureV4("AKIATEST:secret", "sns", lambda: time.time() + ahead_s).problem(signed(), "/sns/")
    assert (found is None) if problem is None else (found is not None and problem in found.message)


@pytest.mark.parametrize(
    ("header", "value", "code"),
    [
        ("Content-Type", "text/plain", "SignatureDoesNotMatch"),
        ("Host", "sns.us-east-1.amazonaws.com", "SignatureDoesNotMatch"),
        ("X-Amz-Date", "", "IncompleteSignature"),
        ("Authorization", "", "MissingAuthenticationToken"),
        ("Authorization", "Basic YTpi", "IncompleteSignature"),
    ],
)
def test_what_was_changed_after_signing_is_seen(header: str, value: str, code: str) -> None:
    call = signed(lambda headers: headers.update({header: value}))
    found = SignatureV4("AKIATEST:secret", "sns", time.time).problem(call, "/sns/")
    assert found is not None
    assert found.code == code


@pytest.mark.parametrize(("path", "body"), [("/", b"Action=Publish"), ("/sns/", b"Action=Delete")])
def test_path_and_body_are_signed(path: str, body: bytes) -> None:
    call = Call("POST", signed().headers, body)
    found = SignatureV4("AKIATEST:secret", "sns", time.time).problem(call, path)
    assert found is not None
    assert found.code == "SignatureDoesNotMatch"


def test_the_key_is_one_for_sns() -> None:
    found = SignatureV4("AKIATEST:secret", "sqs", time.time).problem(signed(), "/sns/")
    assert found is not None
    assert "correct service: 'sqs'" in found.message
