"""Where the channels send: to the sandbox and the mailbox, or to the world once the caller gives a key."""

from __future__ import annotations

from collections.abc import Mapping

from stack import elsewhere
from stack.secrets import Secrets
from stack.settings import LOOPBACK, Settings

_SMS_CAPS = (
    "CROWN_SMS_DAY_MOST", "CROWN_SMS_NUMBER_HOUR_MOST", "CROWN_SMS_PREFIX_HOUR_MOST", "CROWN_SMS_COUNTRY_HOUR_MOST",
)  # fmt: skip
# Nothing costs at the sandbox, and who measures it sends a lot.
_SANDBOX_CAP = "100000000"
_PLAIN = {
    "email": ("CROWN_EMAIL_PROVIDERS", "CROWN_EMAIL_FROM", "CROWN_SENDGRID_URL"),
    "push": ("CROWN_FCM_URL",),
    "sms": (
        "CROWN_SMS_FROM", "CROWN_SMS_STATUS_URL", "CROWN_TWILIO_URL", "CROWN_SMS_COUNTRIES", *_SMS_CAPS,
    ),
}  # fmt: skip

# These belong to one channel each and are not handed on to the others.
VARIABLES = frozenset(
    {name for names in _PLAIN.values() for name in names}
    | {"CROWN_SENDGRID_API_KEY", "CROWN_SENDGRID_API_KEY_FILE"}
)


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
    """What the sandbox accepts: the same files that the channels show it."""
    return {
        "CROWN_SANDBOX_SENDGRID_KEY_FILE": str(secrets.sendgrid_key()),
        "CROWN_SANDBOX_SERVICE_ACCOUNT": str(secrets.fcm_service_account(token_url(settings))),
        "CROWN_SANDBOX_TWILIO_KEY_FILE": str(secrets.twilio_key()),
    }


def token_url(settings: Settings) -> str:
    """Where the sandbox's Firebase hands out access tokens."""
    return f"{_sandbox(settings)}/token"


def _email(settings: Settings, secrets: Secrets) -> dict[str, str]:
    given = settings.given
    result = {"CROWN_EMAIL_FROM": "Crown <notifications@crown.example>"}
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
    # One real provider alone: falling over to a stand-in would swallow mail that should go out.
    real = [name for name, used in (("smtp", real_smtp), ("sendgrid", real_sendgrid)) if used]
    result["CROWN_EMAIL_PROVIDERS"] = ",".join(real or ("smtp", "sendgrid"))
    return result


def _push(settings: Settings, secrets: Secrets) -> dict[str, str]:
    account = secrets.fcm_service_account(token_url(settings))
    ours = {"PUSH_SERVICE_KEY_FILE": str(account), "CROWN_FCM_URL": _sandbox(settings)}
    return secrets.as_file(settings.given, "PUSH_SERVICE_KEY") or ours


def _sms(settings: Settings, secrets: Secrets) -> dict[str, str]:
    real = secrets.as_file(settings.given, "SMS_API_KEY")
    if real:
        return real
    return {
        "SMS_API_KEY_FILE": str(secrets.twilio_key()),
        "CROWN_TWILIO_URL": _sandbox(settings),
        "CROWN_SMS_FROM": "+15005550006",
        "CROWN_SMS_STATUS_URL": f"http://{LOOPBACK}:{settings.ports.gateway}/webhooks/twilio/status",
        "CROWN_SMS_COUNTRIES": "US,CA,GB,DE,FR,ES,IT,NL,AT,CH",
        **dict.fromkeys(_SMS_CAPS, _SANDBOX_CAP),
    }


def _sandbox(settings: Settings) -> str:
    return f"http://{LOOPBACK}:{settings.ports.sandbox}"


def _chosen(given: Mapping[str, str], names: tuple[str, ...]) -> dict[str, str]:
    return {name: given[name] for name in names if given.get(name)}
