"""Channels send to the stand-ins, or to the world as soon as a key is given; never half and half."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stack import providers
from stack.secrets import Secrets
from stack.settings import Settings


def environment(tmp_path: Path, service: str, **given: str) -> dict[str, str]:
    settings = Settings.read({"CROWN_STACK_PORT_BASE": "13000", **given})
    return providers.environment(settings, Secrets(tmp_path), service)


def test_without_keys_the_sandbox_and_the_mailbox_are_addressed(tmp_path: Path) -> None:
    email, push, sms = (environment(tmp_path, service) for service in ("email", "push", "sms"))
    assert (email["SMTP_HOST"], email["CROWN_EMAIL_PROVIDERS"]) == ("127.0.0.1:13025", "smtp,sendgrid")
    sandbox = "http://127.0.0.1:13009"
    assert email["CROWN_SENDGRID_URL"] == push["CROWN_FCM_URL"] == sms["CROWN_TWILIO_URL"] == sandbox
    account = json.loads(Path(push["PUSH_SERVICE_KEY_FILE"]).read_text())
    assert (account["project_id"], account["token_uri"]) == ("crown-sandbox", f"{sandbox}/token")
    assert Path(sms["SMS_API_KEY_FILE"]).read_text().startswith("AC")


def test_the_sandbox_is_shown_the_keys_of_the_channels_and_signs_with_its_own(tmp_path: Path) -> None:
    settings, secrets = Settings.read({}), Secrets(tmp_path)
    shown = set(providers.sandbox_credentials(settings, secrets).values())
    email, push, sms = (environment(tmp_path, service) for service in ("email", "push", "sms"))
    used = {
        email["CROWN_SENDGRID_API_KEY_FILE"],
        push["PUSH_SERVICE_KEY_FILE"],
        sms["SMS_API_KEY_FILE"],
        sms["CROWN_SNS_KEY_FILE"],
    }
    signs = {str(secrets.sendgrid_webhook_key()), str(secrets.sns_signer())}
    assert shown - used == {*signs, sms["CROWN_SNS_TOPICS"]}
    verified_by = {email["CROWN_SENDGRID_WEBHOOK_KEY_FILE"], sms["CROWN_SNS_CA_FILE"]}
    assert not verified_by & shown


@pytest.mark.parametrize("service", ["email", "sms"])
def test_stand_ins_call_back_at_the_gateway(tmp_path: Path, service: str) -> None:
    assert environment(tmp_path, service)["CROWN_GATEWAY_URL"] == "http://127.0.0.1:13005"
    open_to_all = {"CROWN_STACK_HOST": "0.0.0.0", "NOTIFICATION_SERVICE_PORT": "8080"}
    assert environment(tmp_path, service, **open_to_all)["CROWN_GATEWAY_URL"] == "http://127.0.0.1:8080"


@pytest.mark.parametrize(
    ("service", "given"),
    [
        ("email", {"CROWN_SENDGRID_API_KEY": "SG.x"}),
        ("email", {"SMTP_HOST": "smtp.example.com"}),
        ("sms", {"SMS_API_KEY": "AC:x"}),
        ("sms", {"CROWN_SNS_KEY": "AK:x"}),
    ],
)
def test_real_providers_are_given_no_address_of_this_machine(
    tmp_path: Path, service: str, given: dict[str, str]
) -> None:
    assert "CROWN_GATEWAY_URL" not in environment(tmp_path, service, **given)


@pytest.mark.parametrize(
    ("service", "variable", "url"),
    [
        ("push", "PUSH_SERVICE_KEY", "CROWN_FCM_URL"),
        ("sms", "SMS_API_KEY", "CROWN_TWILIO_URL"),
        ("email", "CROWN_SENDGRID_API_KEY", "CROWN_SENDGRID_URL"),
    ],
)
def test_a_real_key_leads_out_into_the_world(tmp_path: Path, service: str, variable: str, url: str) -> None:
    found = environment(tmp_path, service, **{variable: "a real key"})
    assert url not in found
    assert Path(found[f"{variable}_FILE"]).read_text() == "a real key"
    assert variable not in environment(tmp_path, "realtime", **{variable: "a real key"})


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ({"SMTP_HOST": "smtp.example.com"}, "smtp"),
        ({"CROWN_SENDGRID_API_KEY": "SG.x"}, "sendgrid"),
        ({"SMTP_HOST": "smtp.example.com", "CROWN_SENDGRID_API_KEY": "SG.x"}, "smtp,sendgrid"),
        ({"SMTP_HOST": "smtp.example.com", "CROWN_EMAIL_PROVIDERS": "sendgrid"}, "sendgrid"),
    ],
    ids=["smtp", "sendgrid", "both", "as asked"],
)
def test_real_mail_never_falls_over_to_a_stand_in(tmp_path: Path, given: dict[str, str], used: str) -> None:
    assert environment(tmp_path, "email", **given)["CROWN_EMAIL_PROVIDERS"] == used


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ({}, "twilio,sns"),
        ({"SMS_API_KEY": "AC:x"}, "twilio"),
        ({"CROWN_SNS_KEY": "AK:x"}, "sns"),
        ({"SMS_API_KEY": "AC:x", "CROWN_SNS_KEY": "AK:x"}, "twilio,sns"),
        ({"CROWN_SMS_PROVIDERS": "sns"}, "sns"),
    ],
    ids=["none", "twilio", "sns", "both", "as asked"],
)
def test_real_texts_never_fall_over_to_a_stand_in(tmp_path: Path, given: dict[str, str], used: str) -> None:
    found = environment(tmp_path, "sms", **given)
    assert found["CROWN_SMS_PROVIDERS"] == used
    stand_ins = {name for name in ("CROWN_TWILIO_URL", "CROWN_SNS_URL") if name in found}
    real = {"SMS_API_KEY", "CROWN_SNS_KEY"} & given.keys()
    assert len(stand_ins) == (0 if real else 2)


def test_browsers_are_reached_with_the_stack_s_key(tmp_path: Path) -> None:
    found = environment(tmp_path, "push")
    assert len(Path(found["CROWN_WEB_PUSH_KEY_FILE"]).read_text()) == 43
    assert found["CROWN_WEB_PUSH_HOSTS"].endswith(",127.0.0.1:13009,localhost:13009")
    assert found["CROWN_WEB_PUSH_CONTACT"].startswith("mailto:")


@pytest.mark.parametrize("variable", ["PUSH_SERVICE_KEY", "CROWN_WEB_PUSH_KEY"])
def test_with_a_real_key_for_push_no_browser_is_a_stand_in(tmp_path: Path, variable: str) -> None:
    found = environment(tmp_path, "push", **{variable: "a real key"})
    assert "CROWN_WEB_PUSH_HOSTS" not in found
    assert Path(found[f"{variable}_FILE"]).read_text() == "a real key"
    assert f"{variable}_FILE" not in environment(tmp_path, "sms", **{variable: "a real key"})


def test_smtp_credentials_go_to_email_in_a_file(tmp_path: Path) -> None:
    given = {"SMTP_HOST": "smtp.example.com:587", "SMTP_USER": "me", "SMTP_PASSWORD": "hush"}
    found = environment(tmp_path, "email", **given)
    assert (found["SMTP_HOST"], found["SMTP_USER"]) == ("smtp.example.com:587", "me")
    assert Path(found["SMTP_PASSWORD_FILE"]).read_text() == "hush"
    assert environment(tmp_path, "sms", **given).get("SMTP_PASSWORD_FILE") is None
