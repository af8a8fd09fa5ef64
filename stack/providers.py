"""Where the channels send: to the sandbox and the mailbox, or to the world once the caller gives a key."""

from __future__ import annotations

from collections.abc import Mapping

from stack import elsewhere
from stack.secrets import Secrets
from stack.settings import LOOPBACK, Settings

# Nothing costs at the sandbox, and who measures it sends a lot.
_SANDBOX_CAP = "100000000"
_SMS_CAPS = (
    "CROWN_SMS_COUNTRY_HOUR_MOST",
    "CROWN_SMS_DAY_MOST",
    "CROWN_SMS_NUMBER_HOUR_MOST",
    "CROWN_SMS_PREFIX_HOUR_MOST",
)
_PLAIN = {
    "email": (
        "CROWN_EMAIL_FROM",
        "CROWN_EMAIL_PROVIDERS",
        "CROWN_SENDGRID_URL",
        "CROWN_SENDGRID_WEBHOOK_KEY",
    ),
    "push": ("CROWN_FCM_URL", "CROWN_WEB_PUSH_CONTACT", "CROWN_WEB_PUSH_HOSTS"),
    "sms": (
        "CROWN_SMS_COUNTRIES",
        "CROWN_SMS_FROM",
        "CROWN_SMS_HELP",
        "CROWN_SMS_PROVIDERS",
        "CROWN_SMS_SENDERS",
        "CROWN_SMS_STATUS_URL",
        "CROWN_SNS_CA_FILE",
        "CROWN_SNS_CERT_HOSTS",
        "CROWN_SNS_REGION",
        "CROWN_SNS_TOPICS",
        "CROWN_SNS_URL",
        "CROWN_TWILIO_URL",
        "CROWN_SMS_CALLER_PERCENT",
        "CROWN_SMS_RESERVE_PERCENT",
        *_SMS_CAPS,
    ),
}
_SECRET = {
    "email": ("CROWN_SENDGRID_API_KEY", "CROWN_SENDGRID_WEBHOOK_KEY", "CROWN_UNSUBSCRIBE_KEYS"),
    "push": ("CROWN_WEB_PUSH_KEY",),
    "sms": ("CROWN_SNS_KEY",),
}

# These belong to one channel each and are not handed on to the others.
VARIABLES = frozenset(
    {name for names in _PLAIN.values() for name in names}
    | {f"{name}{form}" for names in _SECRET.values() for name in names for form in ("", "_FILE")}
)

SNS_TOPIC = "arn:aws:sns:us-east-1:000000000000:crown-sms"
"""The topic that the sandbox's SNS tells on what became of texts."""

_BROWSERS = "fcm.googleapis.com,*.push.services.mozilla.com,*.notify.windows.com,web.push.apple.com"


def environment(settings: Settings, secrets: Secrets, service: str) -> dict[str, str]:
    """The provider settings of one channel service; empty for the others."""
    match service:
        case "email":
            result = _email(settings, secrets)
        case "push":
            result = _push(settings, secrets)
        case "sms":
            result = _sms(settings, secrets)
        case _:
            return {}
    return {**result, **_chosen(settings.given, _PLAIN[service])}


def sandbox_credentials(settings: Settings, secrets: Secrets) -> dict[str, str]:
    """What the sandbox accepts, the same files that the channels show it, and what it signs callbacks with."""
    return {
        "CROWN_SANDBOX_SENDGRID_KEY_FILE": str(secrets.sendgrid_key()),
        "CROWN_SANDBOX_SENDGRID_WEBHOOK_KEY": str(secrets.sendgrid_webhook_key()),
        "CROWN_SANDBOX_SERVICE_ACCOUNT": str(secrets.fcm_service_account(token_url(settings))),
        "CROWN_SANDBOX_SNS_KEY_FILE": str(secrets.sns_key()),
        "CROWN_SANDBOX_SNS_SIGNER": str(secrets.sns_signer()),
        "CROWN_SANDBOX_SNS_TOPIC": SNS_TOPIC,
        "CROWN_SANDBOX_TWILIO_KEY_FILE": str(secrets.twilio_key()),
    }


def told(settings: Settings, secrets: Secrets, channel: str) -> list[tuple[str, bool]]:
    """Where a channel sends, in words for people, and whether it cannot send so."""
    found = {**settings.given, **environment(settings, secrets, channel)}
    stands_in = {
        "smtp": found.get("SMTP_HOST") == f"{LOOPBACK}:{settings.ports.mailbox_smtp}",
        "sendgrid": "CROWN_SENDGRID_URL" in found,
        "twilio": "CROWN_TWILIO_URL" in found,
        "sns": "CROWN_SNS_URL" in found,
        "fcm": "CROWN_FCM_URL" in found,
    }
    wanted = found.get(f"CROWN_{channel.upper()}_PROVIDERS", "fcm").split(",")
    names = [name.partition(":")[0].strip() for name in wanted]
    result = [(", then ".join(f"{name} ({_words(stands_in.get(name, False))})" for name in names), False)]
    real = not any(stands_in.get(name, False) for name in names)
    if channel == "sms" and not found.get("CROWN_SMS_COUNTRIES"):
        result.append(("CROWN_SMS_COUNTRIES is not set: nothing would be sent to any country", True))
    sender = {"email": "CROWN_EMAIL_FROM", "sms": "CROWN_SMS_FROM"}.get(channel, "")
    if real and sender and not settings.given.get(sender):
        result.append((f"{sender} is not set: who are messages from?", True))
    if real and channel != "push" and not found.get("CROWN_GATEWAY_URL"):
        result.append(("CROWN_GATEWAY_URL is not set: providers cannot tell what became of messages", False))
    return result


def _words(stands_in: bool) -> str:
    return "a stand-in on this machine" if stands_in else "for real"


def token_url(settings: Settings) -> str:
    """Where the sandbox's Firebase hands out access tokens."""
    return f"{_sandbox(settings)}/token"


def _email(settings: Settings, secrets: Secrets) -> dict[str, str]:
    given = settings.given
    result = {"CROWN_EMAIL_FROM": "Crown <notifications@crown.example>"}
    for name in ("CROWN_SENDGRID_WEBHOOK_KEY", "CROWN_UNSUBSCRIBE_KEYS"):
        result |= secrets.as_file(given, name)
    real_sendgrid = secrets.as_file(given, "CROWN_SENDGRID_API_KEY")
    real_smtp = "mailbox" in elsewhere.addresses(given)
    if real_smtp:
        result |= _chosen(given, ("SMTP_HOST", "SMTP_USER")) | secrets.as_file(given, "SMTP_PASSWORD")
    else:
        result["SMTP_HOST"] = f"{LOOPBACK}:{settings.ports.mailbox_smtp}"
    if real_sendgrid:
        result |= real_sendgrid
    else:
        result["CROWN_SENDGRID_API_KEY_FILE"] = str(secrets.sendgrid_key())
        result["CROWN_SENDGRID_URL"] = _sandbox(settings)
        result["CROWN_SENDGRID_WEBHOOK_KEY_FILE"] = str(secrets.sendgrid_webhook_public_key())
    # One real provider alone: falling over to a stand-in would swallow mail that should go out.
    real = [name for name, used in (("smtp", real_smtp), ("sendgrid", real_sendgrid)) if used]
    result["CROWN_EMAIL_PROVIDERS"] = ",".join(real or ("smtp", "sendgrid"))
    return result if real else {**result, **_called_back(settings)}


def _push(settings: Settings, secrets: Secrets) -> dict[str, str]:
    account = secrets.fcm_service_account(token_url(settings))
    ours = {"PUSH_SERVICE_KEY_FILE": str(account), "CROWN_FCM_URL": _sandbox(settings)}
    real_fcm = secrets.as_file(settings.given, "PUSH_SERVICE_KEY")
    return {**(real_fcm or ours), **_web_push(settings, secrets, stand_in=not real_fcm)}


def _web_push(settings: Settings, secrets: Secrets, *, stand_in: bool) -> dict[str, str]:
    # Browsers' push services take any key, so that ours reaches real browsers too.
    key = secrets.as_file(settings.given, "CROWN_WEB_PUSH_KEY")
    found = key or {"CROWN_WEB_PUSH_KEY_FILE": str(secrets.web_push_key())}
    found["CROWN_WEB_PUSH_CONTACT"] = "mailto:crown@crown.example"
    if stand_in and not key:
        port = settings.ports.sandbox
        found["CROWN_WEB_PUSH_HOSTS"] = f"{_BROWSERS},{LOOPBACK}:{port},localhost:{port}"
    return found


def _sms(settings: Settings, secrets: Secrets) -> dict[str, str]:
    given = settings.given
    twilio, sns = secrets.as_file(given, "SMS_API_KEY"), secrets.as_file(given, "CROWN_SNS_KEY")
    if twilio or sns:
        real = [name for name, used in (("twilio", twilio), ("sns", sns)) if used]
        return {
            **twilio,
            **secrets.as_file(given, "SMS_API_KEY_OLD"),
            **sns,
            "CROWN_SMS_PROVIDERS": ",".join(real),
        }
    return {
        "SMS_API_KEY_FILE": str(secrets.twilio_key()),
        "CROWN_TWILIO_URL": _sandbox(settings),
        "CROWN_SMS_PROVIDERS": "twilio,sns",
        "CROWN_SMS_FROM": "+15005550006",
        "CROWN_SMS_COUNTRIES": "US,CA,GB,DE,FR,ES,IT,NL,AT,CH",
        **dict.fromkeys(_SMS_CAPS, _SANDBOX_CAP),
        **_sns(settings, secrets),
        **_called_back(settings),
    }


def _sns(settings: Settings, secrets: Secrets) -> dict[str, str]:
    return {
        "CROWN_SNS_KEY_FILE": str(secrets.sns_key()),
        "CROWN_SNS_REGION": "us-east-1",
        "CROWN_SNS_URL": f"{_sandbox(settings)}/sns",
        "CROWN_SNS_TOPICS": SNS_TOPIC,
        "CROWN_SNS_CERT_HOSTS": f"{LOOPBACK}:{settings.ports.sandbox}",
        "CROWN_SNS_CA_FILE": str(secrets.sns_ca()),
    }


def _called_back(settings: Settings) -> dict[str, str]:
    """Where stand-ins call back. Real providers reach this machine by an address that only the caller knows."""
    return {"CROWN_GATEWAY_URL": settings.given.get("CROWN_GATEWAY_URL") or settings.gateway_url}


def _sandbox(settings: Settings) -> str:
    return f"http://{LOOPBACK}:{settings.ports.sandbox}"


def _chosen(given: Mapping[str, str], names: tuple[str, ...]) -> dict[str, str]:
    return {name: given[name] for name in names if given.get(name)}
