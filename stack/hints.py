"""What to do about the refusals that who sets a provider up meets first. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

# The first that fits: channel, a pattern for what was said ("reason provider why code"), and the advice.
_HINTS: tuple[tuple[str, str, str], ...] = (
    (
        "",
        r"\bSUPPRESSED\b",
        "Nothing is sent to this address any more: it bounced, complained or said stop. Take it off the "
        "list of suppressions: docs/email.md, docs/sms.md.",
    ),
    (
        "sms",
        r"\bCAP_REACHED\b",
        "A cap of this suite is reached: CROWN_SMS_DAY_MOST and its kin in docs/settings.md.",
    ),
    (
        "sms",
        r"country that texts go to|COUNTRY_NOT_ALLOWED",
        "Name the country in CROWN_SMS_COUNTRIES, such as US,DE: without it nothing is sent.",
    ),
    (
        "sms",
        r"twilio.*\b(401|20003)\b",
        "Twilio does not know SMS_API_KEY: it is SID:token, both from the first page of its console.",
    ),
    (
        "sms",
        r"twilio.*\b21608\b",
        "A trial account of Twilio texts verified numbers only: verify this one in its console, or "
        "upgrade the account.",
    ),
    (
        "sms",
        r"twilio.*\b21408\b",
        "Twilio itself allows no texts to this country: open it in its console under Messaging, Geo "
        "permissions.",
    ),
    (
        "sms",
        r"twilio.*\b(21606|21603|21212|21659|21660|21661|21701|21703)\b",
        "CROWN_SMS_FROM must be a number, name or messaging service of this account that can send to this "
        "country.",
    ),
    (
        "sms",
        r"twilio.*\b21610\b",
        "The number has said STOP to this sender: its owner texts START to take it back.",
    ),
    (
        "sms",
        r"twilio.*\b21609\b",
        "Twilio must reach the suite to tell what became of a text: CROWN_GATEWAY_URL is an address that "
        "it can call.",
    ),
    (
        "sms",
        r"sns.*\b(InvalidClientTokenId|SignatureDoesNotMatch|UnrecognizedClientException)\b",
        "AWS does not know CROWN_SNS_KEY (ACCESS_KEY_ID:SECRET), or this machine's clock is wrong.",
    ),
    (
        "sms",
        r"sns.*\b(AuthorizationError|AccessDenied)",
        "The access key may not publish: allow sns:Publish.",
    ),
    (
        "sms",
        r"\bINVALID_NUMBER\b",
        "The number cannot be texted. It is written +14155550123, with the country's code.",
    ),
    (
        "email",
        r"sendgrid.*\b401\b",
        "SendGrid does not know CROWN_SENDGRID_API_KEY, or it was deleted.",
    ),
    (
        "email",
        r"sendgrid.*\b403\b",
        "SendGrid wants the sender verified: CROWN_EMAIL_FROM must be a verified sender or of an "
        "authenticated domain; and the key needs the right Mail Send.",
    ),
    (
        "email",
        r"smtp.*\b(530|535|534|538)\b",
        "The mail server wants other credentials: SMTP_USER and SMTP_PASSWORD, or smtps://…; providers of "
        "mail often want a password made for applications.",
    ),
    (
        "email",
        r"smtp.*\b(550|553|554|541)\b",
        "The mail server refuses sender or recipient: is CROWN_EMAIL_FROM an address that this server "
        "sends for?",
    ),
    (
        "email",
        r"smtp",
        "Is SMTP_HOST right (host:port, smtps://host:465, smtp://host:587), and may this machine reach "
        "it? Many networks block port 25.",
    ),
    (
        "push",
        r"SENDER_ID_MISMATCH|\bmismatch\b",
        "The token belongs to another Firebase project than PUSH_SERVICE_KEY.",
    ),
    (
        "push",
        r"UNREGISTERED|NOT_FOUND|\b(404|410)\b",
        "The device does not have this token any more: the app gets a new one at its next start.",
    ),
    (
        "push",
        r"web_push.*VAPID",
        "The browser has subscribed with another key than CROWN_WEB_PUSH_KEY.",
    ),
    (
        "push",
        r"\b(401|403|THIRD_PARTY_AUTH_ERROR|PERMISSION_DENIED|UNAUTHENTICATED)\b",
        "Firebase does not let this account send: is the Cloud Messaging API on, and does the account "
        "have the role Firebase Cloud Messaging API Admin?",
    ),
    (
        "push",
        r"INVALID_ARGUMENT|\bPROVIDER_REFUSED\b.*\b400\b",
        "This is no registration token of an app: it has more than a hundred characters and comes from "
        "the Firebase SDK on the device.",
    ),
    (
        "push",
        r"allowed host|HOST_NOT_ALLOWED",
        "The endpoint is of no push service in CROWN_WEB_PUSH_HOSTS.",
    ),
    (
        "",
        r"\b429\b|throttl",
        "The provider asks for patience. New accounts often have low limits.",
    ),
    (
        "",
        r"\bOUTCOME_UNKNOWN\b",
        "Nobody knows whether it was sent: the provider did not answer in time. Look for it before you "
        "try again.",
    ),
    (
        "",
        r"\bPROVIDER_UNAVAILABLE\b",
        "Nothing was sent. Can this machine reach the provider, and is the provider well? `crown logs` of "
        "the channel says more.",
    ),
)


def hint(channel: str, reason: str, message: str, metadata: Mapping[str, str]) -> str:
    """The advice for a refusal; empty where there is none."""
    told = " ".join(
        (reason, metadata.get("provider", ""), metadata.get("why", ""), metadata.get("code", ""), message)
    )
    for only, pattern, advice in _HINTS:
        if only in ("", channel) and re.search(pattern, told, re.IGNORECASE):
            return advice
    return ""
