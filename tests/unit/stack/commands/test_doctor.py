"""`crown doctor`: what it finds, what it says of a provider's refusal, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from stack import providers
from stack.commands import doctor, send_test
from stack.control import Stack
from stack.errors import StackError
from stack.hints import hint
from stack.secrets import Secrets
from stack.settings import Settings

HINTS: list[tuple[str, str, dict[str, str], str]] = [
    ("sms", "PROVIDER_REFUSED", {"provider": "twilio", "code": "21408"}, "Geo permissions"),
    ("sms", "PROVIDER_UNAVAILABLE", {"provider": "twilio", "code": "20003"}, "SID:token"),
    ("sms", "PROVIDER_UNAVAILABLE", {"provider": "twilio", "code": "21606"}, "CROWN_SMS_FROM"),
    ("sms", "PROVIDER_UNAVAILABLE", {"provider": "sns", "code": "SignatureDoesNotMatch"}, "CROWN_SNS_KEY"),
    ("sms", "PROVIDER_REFUSED", {"provider": "sns", "why": "INVALID_NUMBER"}, "country's code"),
    ("email", "PROVIDER_UNAVAILABLE", {"provider": "sendgrid", "code": "403"}, "verified"),
    ("email", "PROVIDER_UNAVAILABLE", {"provider": "smtp", "code": "535"}, "SMTP_PASSWORD"),
    ("email", "PROVIDER_UNAVAILABLE", {"provider": "smtp", "code": "ConnectionRefusedError"}, "SMTP_HOST"),
    ("push", "PROVIDER_REFUSED", {"provider": "fcm", "why": "UNREGISTERED", "code": "404"}, "new one"),
    (
        "push",
        "PROVIDER_REFUSED",
        {"provider": "fcm", "why": "UNREGISTERED", "code": "SENDER_ID_MISMATCH"},
        "project",
    ),
    ("push", "PROVIDER_UNAVAILABLE", {"provider": "fcm", "code": "PERMISSION_DENIED"}, "role"),
    ("email", "SUPPRESSED", {"why": "BOUNCE"}, "suppressions"),
    ("email", "OUTCOME_UNKNOWN", {"provider": "sendgrid"}, "Look for it"),
    ("push", "PROVIDER_UNAVAILABLE", {"provider": "fcm", "code": "429"}, "patience"),
    ("push", "PROVIDER_UNAVAILABLE", {"provider": ""}, "reach the provider"),
    ("push", "INTERNAL", {}, ""),
]


@pytest.mark.parametrize(("channel", "reason", "metadata", "words"), HINTS)
def test_common_refusals_have_a_hint(
    channel: str, reason: str, metadata: Mapping[str, str], words: str
) -> None:
    found = hint(channel, reason, "", metadata)
    assert words in found
    assert bool(found) == bool(words)


def told(tmp_path: Path, channel: str, **given: str) -> list[tuple[str, bool]]:
    return providers.told(Settings.read(given), Secrets(tmp_path), channel)


def test_it_says_where_each_channel_sends(tmp_path: Path) -> None:
    stand_in = "a stand-in on this machine"
    assert told(tmp_path, "email") == [(f"smtp ({stand_in}), then sendgrid ({stand_in})", False)]
    assert told(tmp_path, "sms") == [(f"twilio ({stand_in}), then sns ({stand_in})", False)]
    assert told(tmp_path, "push") == [(f"fcm ({stand_in})", False)]


@pytest.mark.parametrize(
    ("channel", "given", "bad"),
    [
        ("sms", {"SMS_API_KEY": "AC:x"}, ["CROWN_SMS_COUNTRIES", "CROWN_SMS_FROM"]),
        ("sms", {"SMS_API_KEY": "AC:x", "CROWN_SMS_FROM": "+1", "CROWN_SMS_COUNTRIES": "US"}, []),
        ("email", {"CROWN_SENDGRID_API_KEY": "SG.x"}, ["CROWN_EMAIL_FROM"]),
        ("push", {"PUSH_SERVICE_KEY": "{}"}, []),
    ],
)
def test_it_says_what_a_real_provider_lacks(
    tmp_path: Path, channel: str, given: dict[str, str], bad: list[str]
) -> None:
    where, *rest = told(tmp_path, channel, **given)
    assert "for real" in where[0]
    assert [text.partition(" ")[0] for text, is_bad in rest if is_bad] == bad
    warned = any("CROWN_GATEWAY_URL" in text for text, _ in rest)
    assert warned == (channel != "push")
    url = {"CROWN_GATEWAY_URL": "https://crown.example"}
    assert not any("CROWN_GATEWAY_URL" in text for text, _ in told(tmp_path, channel, **given, **url))


def test_a_stack_that_is_down_is_told_of(tmp_path: Path) -> None:
    stack = Stack(13_900, tmp_path)
    found = {finding.name: finding for finding in doctor.findings(stack)}
    assert (found["machine"].bad, found["stack"].bad) == (False, True)
    assert "crown up" in found["stack"].text
    with pytest.raises(StackError, match="`crown up` first"):
        send_test.main(stack, "sms", "+12025550123")
    with pytest.raises(StackError, match="email, sms, push"):
        send_test.main(stack, "fax", "somebody")
