"""E-mail by SendGrid's v3 API. The SDK builds the request; it is sent here, since the SDK blocks, opens a
connection for each mail and has no time limit.

| answer                         | outcome                                                               |
| ------------------------------ | --------------------------------------------------------------------- |
| 202                            | Delivered, with X-Message-Id                                          |
| another 2xx                    | Unknown: not what it says when it takes a mail                        |
| 3xx, 404, 405                  | Retry: the address of the API is wrong, not the mail                  |
| 401, 403                       | Retry: key or sender identity are wrong, not the mail; once mended, none is lost |
| 408                            | Retry: it did not get all of the request                              |
| 413                            | Discard                                                               |
| 429                            | Snooze, as long as Retry-After or X-RateLimit-Reset says              |
| another 4xx                    | Discard                                                               |
| 5xx                            | Unknown: it may have taken the mail                                   |
| none, nothing written          | Retry                                                                 |
| none, something written        | Unknown                                                               |
"""

from __future__ import annotations

from datetime import datetime

import msgspec
from sendgrid import SendGridAPIClient
from sendgrid.helpers.mail import CustomArg, From, Header, Personalization, Subject, To
from sendgrid.helpers.mail import Mail as Request

from crown import retry_after
from crown.clock import Clock, now
from crown.http import Answer, CallBroken, Http
from crown.outcome import Delivered, Discard, Outcome, Retry, Snooze, Unknown
from crown.provider import Attempt
from services.email.message import Composer, Letterhead, Mail


class SendGrid:
    """SendGrid with one API key."""

    name = "sendgrid"

    def __init__(
        self,
        http: Http,
        url: str,
        api_key: str,
        composer: Composer,
        clock: Clock = now,
        tracking: bool = False,
    ) -> None:
        self._http = http
        self._url = f"{url}/v3/mail/send"
        self._headers = {
            **SendGridAPIClient(api_key, host=url)._default_headers,
            "Content-Type": "application/json",
        }
        self._composer = composer
        self._letterhead = composer.letterhead
        self._clock = clock
        self._tracking = tracking

    async def send(self, attempt: Attempt) -> Outcome:
        """Hands the mail over."""
        mail = await self._composer.compose(attempt)
        if not isinstance(mail, Mail):
            return mail
        body = msgspec.json.encode(request(mail, self._letterhead, self._tracking))
        try:
            answer = await self._http.post(self._url, self._headers, body)
        except CallBroken as broken:
            return broken.outcome
        return outcome(answer, self._clock())

    async def find(self, attempt: Attempt, since: datetime) -> Outcome | None:
        """None: asking for sent mail is an extra that SendGrid sells."""
        del attempt, since
        return None

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.close()


def request(mail: Mail, letterhead: Letterhead, tracking: bool) -> dict[str, object]:
    """The body of the call."""
    built = Request(
        from_email=From(letterhead.address, letterhead.name or None), subject=Subject(mail.subject)
    )
    person = Personalization()
    person.add_to(To(mail.to))
    person.add_custom_arg(CustomArg("notification_id", mail.notification_id))
    person.add_custom_arg(CustomArg("delivery_id", mail.delivery_id))
    built.add_personalization(person)
    for name, value in mail.headers.items():
        built.add_header(Header(name, value))
    body: dict[str, object] = built.get()
    # Not the SDK's Content: that raises on any text that begins like an API key, such as "SG.Market.News".
    body["content"] = [
        {"type": "text/plain", "value": mail.text},
        {"type": "text/html", "value": mail.html},
    ]
    # Said either way: an account may have it on for all mails. SendGrid's own unsubscribe link is never wanted, since
    # ours asks for less and is obeyed by every provider.
    body["tracking_settings"] = {
        "click_tracking": {"enable": tracking, "enable_text": False},
        "open_tracking": {"enable": tracking},
        "subscription_tracking": {"enable": False},
    }
    return body


def outcome(answer: Answer, moment: datetime) -> Outcome:
    """What SendGrid's answer means; the table at the top."""
    error = str(answer.status)
    match answer.status:
        case 202:
            return Delivered(answer.headers.get("X-Message-Id", ""))
        case 429:
            asked_s = retry_after.seconds(answer.headers.get("Retry-After"), moment)
            if asked_s is None:
                asked_s = retry_after.until_epoch(answer.headers.get("X-RateLimit-Reset"), moment)
            return Snooze(error, asked_s)
        case 401 | 403 | 404 | 405 | 408:
            return Retry(error)
        case 413:
            return Discard("PAYLOAD_TOO_LARGE", error)
        case status if 300 <= status < 400:
            return Retry(error)
        case status if 400 <= status < 500:
            return Discard("PROVIDER_REFUSED", error)
        case _:
            return Unknown(error)
