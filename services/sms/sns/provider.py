"""Texts by AWS SNS. The SDK signs and writes the query; what comes back is judged here.

| answer                                              | outcome                                               |
| --------------------------------------------------- | ----------------------------------------------------- |
| 2xx with a MessageId                                | Delivered                                             |
| another 2xx, or one that is none of SNS's, or half  | Unknown                                               |
| 429, or a code that _BUSY names                     | Snooze, as long as Retry-After says                   |
| OptedOut                                            | Discard OPTED_OUT                                     |
| a code that _WRONG names, about the number          | Discard INVALID_NUMBER                                |
| the same, about the message                         | Discard INVALID_CONTENT                               |
| the same, about anything else                       | Retry: a sender or price that we set up wrongly       |
| a code that _OURS names, 401, 403, 404, 405, 408    | Retry: key, account, region or clock, not the text    |
| 3xx, or a 4xx that SNS does not speak or finish     | Retry: who refused stands between us and SNS          |
| another 4xx                                         | Discard                                               |
| 5xx                                                 | Unknown                                               |
| none, nothing written                               | Retry                                                 |
| none, something written                             | Unknown                                               |

Codes: the errors of Publish in the service's model, and those common to all AWS services. SNS has no list of what it
took, so that nobody can be asked about an unknown outcome; its delivery events settle it later, if they come."""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack
from datetime import datetime
from functools import partial
from typing import Any

from botocore.exceptions import ClientError  # type: ignore[import-untyped]

from crown import retry_after
from crown.clock import Clock, now
from crown.http import Answer, CallBroken, Http
from crown.notification.v1.types_pb2 import Category
from crown.outcome import Delivered, Discard, Outcome, Retry, Snooze, Unknown, error_code
from crown.provider import Attempt
from services.sms.numbers import Numbers
from services.sms.sns import wire as sns_wire
from services.sms.text import Texts

_BUSY = {
    "Throttling",
    "ThrottlingException",
    "Throttled",
    "ThrottledException",
    "RequestThrottled",
    "TooManyRequestsException",
    "KMSThrottling",
}
_WRONG = {
    "InvalidParameter",
    "ParameterValueInvalid",
    "InvalidParameterValue",
    "ValidationException",
    "ValidationError",
}
_OURS = {
    "AuthorizationError",
    "AccessDenied",
    "AccessDeniedException",
    "InvalidSecurity",
    "InvalidClientTokenId",
    "InvalidAccessKeyId",
    "UnrecognizedClientException",
    "SignatureDoesNotMatch",
    "IncompleteSignature",
    "MissingAuthenticationToken",
    "ExpiredToken",
    "RequestExpired",
    "OptInRequired",
    "NotFound",
    "EndpointDisabled",
    "PlatformApplicationDisabled",
    "KMSDisabled",
    "KMSInvalidState",
    "KMSNotFound",
    "KMSOptInRequired",
    "KMSAccessDenied",
    "UserError",
}
_ABOUT_NUMBER = re.compile(r"phone\s?number", re.IGNORECASE)
_ABOUT_MESSAGE = re.compile(r"\b(?:empty |invalid )?message\b(?! ?attribute)", re.IGNORECASE)
# What SNS takes as the number of a sender, a short code among them, and as its name.
_NUMBER = re.compile(r"\+?[0-9]{5,15}")
_NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9-]{3,11}")


class Sns:
    """One account and region of AWS. Senders that are numbers must be the account's; short names are shown where the
    country allows it. `price_most` is in US dollars a text, empty for the account's own bound."""

    name = "sns"

    def __init__(
        self,
        http: Http,
        url: str,
        key: tuple[str, str],
        region: str,
        numbers: Numbers,
        texts: Texts,
        price_most: str = "",
        clock: Clock = now,
    ) -> None:
        self._http = http
        self._opens = partial(sns_wire.client, http, key, region, url)
        self._open = AsyncExitStack()
        self._client: Any = None
        self._opening = asyncio.Lock()
        self._numbers = numbers
        self._texts = texts
        self._price_most = price_most
        self._clock = clock

    async def send(self, attempt: Attempt) -> Outcome:
        """Hands the text over."""
        to = attempt.destinations[0].address
        try:
            client = await self._ready()
            found = await client.publish(
                PhoneNumber=to,
                Message=self._texts.compose(attempt.data),
                MessageAttributes=self._attributes(attempt, to),
            )
        except CallBroken as broken:
            return broken.outcome
        except sns_wire.Garbled as garbled:
            return _unspoken(garbled.answer, self._clock())
        except ClientError as error:
            return _refused(error, self._clock())
        message_id = found.get("MessageId", "")
        return Delivered(message_id) if message_id else Unknown("NO_MESSAGE_ID")

    async def find(self, _attempt: Attempt, _since: datetime) -> Outcome | None:
        """SNS cannot say."""
        return None

    async def close(self) -> None:
        """Closes the connections."""
        await self._open.aclose()
        await self._http.close()

    async def _ready(self) -> Any:
        async with self._opening:
            if self._client is None:
                # Reads the description of the service: not before it is needed.
                self._client = await self._open.enter_async_context(self._opens())
        return self._client

    def _attributes(self, attempt: Attempt, to: str) -> dict[str, dict[str, str]]:
        marketing = attempt.category == Category.MARKETING
        found = {"AWS.SNS.SMS.SMSType": _string("Promotional" if marketing else "Transactional")}
        sender = self._numbers.sender(self._numbers.country(to))
        if _NUMBER.fullmatch(sender):
            found["AWS.MM.SMS.OriginationNumber"] = _string(sender)
        elif _NAME.fullmatch(sender):
            found["AWS.SNS.SMS.SenderID"] = _string(sender)
        if self._price_most:
            found["AWS.SNS.SMS.MaxPrice"] = {"DataType": "Number", "StringValue": self._price_most}
        return found


def _string(value: str) -> dict[str, str]:
    return {"DataType": "String", "StringValue": value}


def _refused(error: ClientError, moment: datetime) -> Outcome:
    """What an answer of SNS with an error means; the table at the top."""
    told, metadata = error.response.get("Error", {}), error.response.get("ResponseMetadata", {})
    status = int(metadata.get("HTTPStatusCode", 0))
    code = error_code(str(told.get("Code") or ""), str(status))
    # The code goes to the ledger; the words may repeat the number and go nowhere.
    words = str(told.get("Message", ""))
    if status == 429 or code in _BUSY:
        asked = sns_wire.headers(metadata).get("retry-after")
        return Snooze(code, retry_after.seconds(asked, moment))
    if status >= 500 or status < 300:
        return Unknown(code)
    if code.startswith("OptedOut"):
        return Discard("OPTED_OUT", code)
    if code in _OURS or status in {401, 403, 404, 405, 408} or status < 400:
        return Retry(code)
    if code not in _WRONG:
        return Discard("PROVIDER_REFUSED", code)
    if _ABOUT_NUMBER.search(words):
        return Discard("INVALID_NUMBER", code)
    return Discard("INVALID_CONTENT", code) if _ABOUT_MESSAGE.search(words) else Retry(code)


def _unspoken(answer: Answer, moment: datetime) -> Outcome:
    """What an answer means that SNS does not speak, or did not finish."""
    word = str(answer.status)
    if answer.status == 429:
        return Snooze(word, retry_after.seconds(answer.headers.get("Retry-After"), moment))
    return Retry(word) if 300 <= answer.status < 500 else Unknown(word)
