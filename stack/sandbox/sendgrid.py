"""SendGrid's POST /v3/mail/send: the key, the schema and the rules that a schema cannot say."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import secrets
import time
from collections.abc import Callable, Iterator

import msgspec

from stack import strict
from stack.sandbox.ledger import TEXT_LIMIT_CHARS, Draft
from stack.sandbox.provider import Accepted, Answer, Call, Refused, json_answer
from stack.sandbox.sendgrid_fields import Address, Mail, Personalization

MAX_BODY_BYTES = 30 * 1024 * 1024
RECIPIENT_LIMIT = 1_000
CUSTOM_ARGS_LIMIT_BYTES = 10_000
SCHEDULE_LIMIT_S = 72 * 3600

_HELP = "http://sendgrid.com/docs/API_Reference/Web_API_v3/Mail/errors.html#message."
_RESERVED_HEADERS = frozenset(
    ("x-sg-id", "x-sg-eid", "received", "dkim-signature", "content-type", "content-transfer-encoding")
) | {"to", "from", "subject", "reply-to", "cc", "bcc"}
_EMAIL = re.compile(
    r"(?=.{3,320}\Z)[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}"
    r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z0-9][A-Za-z0-9-]{0,61}[A-Za-z0-9]\Z"
)
_JSON_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
_FAILURES = {
    401: "The provided authorization grant is invalid, expired, or revoked",
    403: "access forbidden",
    404: "not found",
    405: "method not allowed",
    413: "content too large",
    415: "Content-Type should be application/json.",
    429: "too many requests",
    500: "internal server error",
    503: "service unavailable",
}

_decoder = msgspec.json.Decoder(Mail)


class SendGrid:
    """Accepts mail for whoever holds `key`; without a key nobody does."""

    name = "sendgrid"

    def __init__(self, key: str | None, clock: Callable[[], float] = time.time) -> None:
        self._authorization = f"Bearer {key}".encode() if key else None
        self._clock = clock

    def accept(self, call: Call) -> Accepted:
        """Raises Refused with 401, 413, 415 or 400, as SendGrid orders its checks."""
        self._authenticate(call.authorization)
        if len(call.body) > MAX_BODY_BYTES:
            raise Refused(self.failure(413))
        if call.headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
            raise Refused(self.failure(415))
        try:
            mail = strict.decode(_decoder, call.body)
        except strict.Violation as wrong:
            raise Refused(_bad_field(wrong)) from None
        drafts = _drafts(mail)
        try:
            for check in (_check_people, _check_text, _check_headers, _check_args, _check_files):
                check(mail)
            self._check_schedule(mail)
        except _Invalid as wrong:
            raise Refused(_error(400, wrong.message, wrong.field), drafts[0] if drafts else None) from None
        return self._accepted(mail, drafts)

    def failure(self, status: int) -> Answer:
        return _error(status, _FAILURES.get(status, "Bad Request"))

    def _authenticate(self, given: bytes) -> None:
        if not given:
            raise Refused(_error(401, "authorization required"))
        if self._authorization is None or not hmac.compare_digest(given, self._authorization):
            raise Refused(self.failure(401))

    def _check_schedule(self, mail: Mail) -> None:
        latest = self._clock() + SCHEDULE_LIMIT_S
        for name, parcel in _parcels(mail):
            if parcel.send_at > latest:
                raise _Invalid(f"{name}.send_at", "A send may be scheduled at most 72 hours ahead.")
        if mail.send_at > latest:
            raise _Invalid("send_at", "A send may be scheduled at most 72 hours ahead.")

    def _accepted(self, mail: Mail, drafts: list[Draft]) -> Accepted:
        message_id = secrets.token_urlsafe(16)
        dry_run = mail.mail_settings.sandbox_mode.enable
        answer = Answer(200 if dry_run else 202, headers={"X-Message-Id": message_id})
        return Accepted(answer, drafts, message_id, effect=not dry_run)


class _Invalid(Exception):
    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


def _check_people(mail: Mail) -> None:
    _check_address("from", mail.from_)
    if isinstance(mail.reply_to, Address):
        _check_address("reply_to", mail.reply_to)
        if mail.reply_to_list:
            raise _Invalid("reply_to_list", "Use either reply_to or reply_to_list, not both.")
    for number, address in enumerate(mail.reply_to_list):
        _check_address(f"reply_to_list.{number}", address)
    if sum(len(p.to) + len(p.cc) + len(p.bcc) for p in mail.personalizations) > RECIPIENT_LIMIT:
        raise _Invalid("personalizations", f"A request reaches at most {RECIPIENT_LIMIT} recipients.")
    for name, parcel in _parcels(mail):
        if not parcel.to:
            raise _Invalid(f"{name}.to", "The to array is required for all personalization objects.")
        if isinstance(parcel.from_, Address):
            _check_address(f"{name}.from", parcel.from_)
        _check_recipients(name, parcel)


def _check_recipients(name: str, parcel: Personalization) -> None:
    seen = set()
    for kind, addresses in (("to", parcel.to), ("cc", parcel.cc), ("bcc", parcel.bcc)):
        for number, address in enumerate(addresses):
            _check_address(f"{name}.{kind}.{number}", address)
            if address.email.lower() in seen:
                raise _Invalid(name, f"Each address may stand once in to, cc and bcc; see {name}.{kind}.")
            seen.add(address.email.lower())


def _check_address(field: str, address: Address) -> None:
    local = address.email.partition("@")[0]
    if not _EMAIL.match(address.email) or local.startswith(".") or local.endswith(".") or ".." in local:
        raise _Invalid(f"{field}.email", "Does not contain a valid address.")
    if _breaks_line(address.name):
        raise _Invalid(f"{field}.name", "A name holds no line breaks.")


def _check_text(mail: Mail) -> None:
    everyone_has_own = all(parcel.subject for parcel in mail.personalizations)
    if not (mail.subject or mail.template_id or everyone_has_own):
        raise _Invalid("subject", "The subject is required, here, in every personalization or in a template.")
    if _breaks_line(mail.subject) or any(_breaks_line(p.subject) for p in mail.personalizations):
        raise _Invalid("subject", "A subject holds no line breaks.")
    if not (mail.content or mail.template_id):
        raise _Invalid("content", "Unless a template_id is given, at least one content is required.")
    order = [{"text/plain": 0, "text/html": 1}.get(part.type, 2) for part in mail.content]
    if order != sorted(order):
        raise _Invalid("content", "text/plain comes first, then text/html, then the rest.")
    for number, part in enumerate(mail.content):
        if ";" in part.type or _breaks_line(part.type):
            raise _Invalid(f"content.{number}.type", "A content type holds neither ; nor line breaks.")


def _check_headers(mail: Mail) -> None:
    for name, headers in (("", mail.headers), *((f"{n}.", p.headers) for n, p in _parcels(mail))):
        for header, value in headers.items():
            if header.lower() in _RESERVED_HEADERS:
                raise _Invalid(f"{name}headers.{header}", f"The header {header} is reserved.")
            if not header or _breaks_line(header + value) or not header.isascii() or ":" in header:
                raise _Invalid(f"{name}headers", "A header has an ASCII name and no line breaks.")


def _check_args(mail: Mail) -> None:
    for name, parcel in _parcels(mail):
        merged = {**mail.custom_args, **parcel.custom_args}
        if sum(len(k.encode()) + len(v.encode()) for k, v in merged.items()) > CUSTOM_ARGS_LIMIT_BYTES:
            raise _Invalid(f"{name}.custom_args", "custom_args may not exceed 10,000 bytes.")
    if len(set(mail.categories)) != len(mail.categories):
        raise _Invalid("categories", "Each category may be named once.")


def _check_files(mail: Mail) -> None:
    for number, file in enumerate(mail.attachments):
        try:
            base64.b64decode(file.content, validate=True)
        except binascii.Error:
            raise _Invalid(f"attachments.{number}.content", "The content must be base64.") from None


def _breaks_line(text: str) -> bool:
    return "\r" in text or "\n" in text or "\0" in text


def _parcels(mail: Mail) -> Iterator[tuple[str, Personalization]]:
    for number, parcel in enumerate(mail.personalizations):
        yield f"personalizations.{number}", parcel


def _drafts(mail: Mail) -> list[Draft]:
    """One for every recipient: each is a person whom this call would reach."""
    text = mail.content[0].value[:TEXT_LIMIT_CHARS] if mail.content else ""
    drafts = []
    for parcel in mail.personalizations:
        args = {**mail.custom_args, **parcel.custom_args}
        for address in (*parcel.to, *parcel.cc, *parcel.bcc):
            draft = Draft(
                recipient=address.email,
                notification_id=args.get("notification_id", ""),
                delivery_id=args.get("delivery_id", ""),
                sender=mail.from_.email,
                title=parcel.subject or mail.subject,
                text=text,
                args=tuple(args.items()),
            )
            drafts.append(draft)
    return drafts


def _bad_field(wrong: strict.Violation) -> Answer:
    match wrong.fault:
        case strict.Fault.MALFORMED:
            return _error(400, "Bad Request")
        case strict.Fault.UNKNOWN:
            return _error(400, f"Additional property {wrong.path[-1]} is not allowed.", wrong.field)
        case strict.Fault.TYPE:
            expected, given = _json_type(wrong.expected), _json_type(wrong.given)
            return _error(400, f"Invalid type. Expected: {expected}, given: {given}.", wrong.field)
        case _:
            return _error(400, f"{wrong.field}: {wrong.problem}", wrong.field)


def _json_type(name: str) -> str:
    return _JSON_TYPES.get(name, name)


def _error(status: int, message: str, field: str | None = None) -> Answer:
    topic = ".".join(step for step in field.split(".") if not step.isdigit()) if field else None
    help_url = _HELP + topic if topic else None
    return json_answer(status, {"errors": [{"message": message, "field": field, "help": help_url}]})
