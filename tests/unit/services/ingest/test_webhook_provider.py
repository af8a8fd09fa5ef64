"""What a sender is called with, and what its answers mean."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime

import pytest
from standardwebhooks.webhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from crown.http import Answer
from crown.notification.v1.types_pb2 import Channel, DeliveryState, Priority
from crown.outcome import Delivered, Discard, Outcome, Retry, Snooze
from crown.vault import Key
from crown.webhook_secrets import WebhookSecrets
from services.ingest.webhook import rows as webhooks
from services.ingest.webhook.provider import outcome, signed
from services.ingest.webhook.rows import Word

NOW = datetime.now(UTC)
BODY = b'{"type": "notification.delivery.delivered"}'
WORD = Word(
    "n1", "ann", Priority.NORMAL, "d1", Channel.EMAIL, DeliveryState.BOUNCED, "BOUNCED: 5.1.1", "smtp", NOW
)


def new_secret() -> str:
    return WebhookSecrets({}, Key.fresh()).of("feed")[0]


# -- signatures


def test_the_standard_s_own_library_takes_it() -> None:
    secret = new_secret()
    headers = signed([secret], "w1", int(time.time()), BODY)
    assert Verifier(secret).verify(BODY.decode(), headers) == json.loads(BODY)


def test_of_several_secrets_each_is_enough() -> None:
    secrets = [new_secret(), new_secret()]
    headers = signed(secrets, "w1", int(time.time()), BODY)
    for secret in secrets:
        Verifier(secret).verify(BODY.decode(), headers)


@pytest.mark.parametrize(
    "change", [{"webhook-id": "w2"}, {"webhook-timestamp": str(int(NOW.timestamp()) + 1)}, {}], ids=str
)
def test_nothing_can_be_changed(change: dict[str, str]) -> None:
    secret = new_secret()
    headers = signed([secret], "w1", int(NOW.timestamp()), BODY)
    body = BODY.decode() if change else BODY.decode().replace("delivered", "bounced")
    with pytest.raises(WebhookVerificationError):
        Verifier(secret).verify(body, {**headers, **change})


# -- what it says


def test_the_body_says_what_became_of_it_and_nothing_more() -> None:
    found = json.loads(webhooks.body(webhooks.row(WORD, NOW)["told"]))
    assert found == {
        "type": "notification.delivery.bounced",
        "timestamp": found["timestamp"],
        "data": {
            "notification_id": "n1",
            "delivery_id": "d1",
            "user_id": "ann",
            "channel": "EMAIL",
            "state": "BOUNCED",
            "reason": "BOUNCED: 5.1.1",
            "provider": "smtp",
            "occur_time": found["timestamp"],
        },
    }
    assert datetime.fromisoformat(found["timestamp"]) == NOW


def test_the_same_word_is_the_same_row() -> None:
    later = NOW.replace(year=2030)
    assert webhooks.row(WORD, NOW)["_id"] == webhooks.row(WORD, later)["_id"]


@pytest.mark.parametrize("state", DeliveryState.Type.values(), ids=DeliveryState.Type.Name)
def test_senders_hear_of_ends_only(state: DeliveryState.Type.ValueType) -> None:
    on_the_way = {
        DeliveryState.STATE_UNSPECIFIED,
        DeliveryState.PENDING,
        DeliveryState.RETRYING,
        DeliveryState.DEFERRED,
    }
    assert webhooks.is_told(state) == (state not in on_the_way)


# -- what answers mean


@pytest.mark.parametrize(
    ("status", "after", "expected"),
    [
        (200, None, Delivered()),
        (204, None, Delivered()),
        (410, None, Discard("GONE", "410")),
        (429, "30", Snooze("429", 30, alone=True)),
        (429, None, Snooze("429", alone=True)),
        (503, "5", Snooze("503", 5, alone=True)),
        (503, None, Retry("503")),
        (301, None, Retry("301")),
        (400, None, Retry("400")),
        (401, None, Retry("401")),
        (404, None, Retry("404")),
        (500, None, Retry("500")),
        (500, "7", Retry("500", 7)),
    ],
)
def test_answers(status: int, after: str | None, expected: Outcome) -> None:
    headers = {"Retry-After": after} if after else {}
    assert outcome(Answer(status, headers, b""), NOW) == expected
