"""What providers may answer, and what is to be made of it by the tables at the top of their modules.

An answer is in the words of the sandbox's scripts, or of the mailbox's where it is for SMTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crown.outcome import Delivered, Discard, Outcome, Retry, Snooze, Unknown
from tests.unit.services.wire import Reply, chunked, http

Kind = type[Outcome]
Case = tuple[str, Mapping[str, Any], Kind]
Break = tuple[str, Reply, Kind]
FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"

# What is the same for most who speak HTTP.
HTTP: Sequence[Case] = (
    ("taken", {"delay_s": 0.0}, Delivered),
    ("taken late", {"delay_s": 0.05}, Delivered),
    ("429", {"status": 429}, Snooze),
    ("429, Retry-After in seconds", {"status": 429, "headers": {"Retry-After": "3"}}, Snooze),
    ("429, Retry-After garbled", {"status": 429, "headers": {"Retry-After": "soon"}}, Snooze),
    ("429 of a proxy", {"status": 429, "body": "slow down"}, Snooze),
    ("redirect", {"status": 302, "headers": {"Location": "http://127.0.0.1:1/"}}, Retry),
    ("our key is wrong", {"status": 401}, Retry),
    ("not ours to use", {"status": 403, "body": "no"}, Retry),
    ("no such address of theirs", {"status": 404, "body": "not here"}, Retry),
    ("408", {"status": 408}, Retry),
    ("bad request", {"status": 400, "body": "no"}, Discard),
    ("422", {"status": 422, "body": "no"}, Discard),
    ("502", {"status": 502, "body": "bad gateway"}, Unknown),
    ("504", {"status": 504}, Unknown),
    ("200 with garbage", {"status": 200, "body": "<p>hello"}, Unknown),
    ("reset, nothing taken", {"reset": "before"}, Unknown),
    ("reset, taken", {"reset": "after"}, Unknown),
)
# Whoever sends these waits for less.
LATE: Sequence[Case] = (
    ("never answers", {"hang": True}, Unknown),
    ("answers too late", {"delay_s": 5.0}, Unknown),
)


def differing(**kinds: Kind) -> list[Case]:
    """HTTP, but for these cases, by their names with `_` for a blank."""
    wanted = {name.replace("_", " "): kind for name, kind in kinds.items()}
    assert wanted.keys() <= {name for name, _, _ in HTTP}
    return [(name, answer, wanted.get(name, kind)) for name, answer, kind in HTTP]


SENDGRID: Sequence[Case] = (
    *HTTP,
    ("too large", {"status": 413}, Discard),
    ("500", {"status": 500}, Unknown),
    ("503", {"status": 503}, Unknown),
)
TWILIO: Sequence[Case] = (
    *HTTP,
    ("invalid number", {"status": 400, "body": {"code": 21211}}, Discard),
    ("opted out", {"status": 400, "body": {"code": 21610}}, Discard),
    ("landline", {"status": 400, "body": {"code": 21614}}, Discard),
    ("our sender is wrong", {"status": 400, "body": {"code": 21606}}, Retry),
    ("a 404 of the account", {"status": 404, "body": {"code": 20404}}, Retry),
    ("500", {"status": 500}, Unknown),
    ("503", {"status": 503}, Unknown),
)


def _sns(status: int, code: str, words: str = "No.") -> Mapping[str, Any]:
    error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{words}</Message></Error>"
    return {"status": status, "body": f"<ErrorResponse>{error}<RequestId>r</RequestId></ErrorResponse>"}


SNS: Sequence[Case] = (
    # SNS has said nothing of these.
    *differing(bad_request=Retry, **{"422": Retry}),
    ("taken without an id", {"status": 200, "body": "<PublishResponse></PublishResponse>"}, Unknown),
    ("opted out", _sns(400, "OptedOut"), Discard),
    ("invalid number", _sns(400, "InvalidParameter", "Invalid parameter: PhoneNumber"), Discard),
    ("invalid message", _sns(400, "InvalidParameter", "Invalid parameter: Empty message"), Discard),
    ("our sender is wrong", _sns(400, "InvalidParameter", "Invalid parameter: MessageAttributes"), Retry),
    ("throttled", _sns(400, "Throttling"), Snooze),
    ("throttled by KMS", _sns(400, "KMSThrottling"), Snooze),
    ("our secret is wrong", _sns(403, "SignatureDoesNotMatch"), Retry),
    ("our clock is wrong", _sns(400, "RequestExpired"), Retry),
    ("an unknown code", _sns(400, "Levitation"), Discard),
    ("500", {"status": 500}, Unknown),
    ("503", {"status": 503}, Unknown),
)


def _fcm(status: int, word: str) -> Mapping[str, Any]:
    details = [{"@type": FCM_ERROR, "errorCode": word}]
    return {"status": status, "body": {"error": {"status": word, "details": details}}}


FCM: Sequence[Case] = (
    *HTTP,
    ("unregistered", _fcm(404, "UNREGISTERED"), Discard),
    ("of another project", _fcm(403, "SENDER_ID_MISMATCH"), Discard),
    ("quota", _fcm(429, "QUOTA_EXCEEDED"), Snooze),
    ("unavailable", _fcm(503, "UNAVAILABLE"), Retry),
    ("internal", _fcm(500, "INTERNAL"), Retry),
    ("their key for APNs", _fcm(401, "THIRD_PARTY_AUTH_ERROR"), Retry),
    ("invalid argument", _fcm(400, "INVALID_ARGUMENT"), Discard),
)
WEB_PUSH: Sequence[Case] = (
    # What it says of a subscription is said by the status alone.
    *differing(no_such_address_of_theirs=Discard, **{"200 with garbage": Delivered}),
    ("202", {"status": 202}, Delivered),
    ("204", {"status": 204}, Unknown),
    ("unsubscribed", {"status": 410}, Discard),
    ("too large", {"status": 413}, Discard),
    ("subscribed with another key", {"status": 400, "body": {"reason": "VapidPkHashMismatch"}}, Retry),
    ("500", {"status": 500}, Retry),
    ("503", {"status": 503, "headers": {"Retry-After": "3"}}, Retry),
)
WEBHOOK: Sequence[Case] = (
    # Its receiver knows repetitions by their id, so that nearly everything is told again.
    *differing(
        bad_request=Retry,
        **{"422": Retry, "502": Retry, "504": Retry, "200 with garbage": Delivered},
    ),
    ("204", {"status": 204}, Delivered),
    ("gone", {"status": 410}, Discard),
    ("500", {"status": 500}, Retry),
    ("503", {"status": 503}, Retry),
    ("503, Retry-After", {"status": 503, "headers": {"Retry-After": "3"}}, Snooze),
)
SMTP: Sequence[Case] = (
    ("taken", {}, Delivered),
    ("MAIL: later", {"command": "MAIL", "reply": "451 4.3.0 later"}, Retry),
    ("MAIL: we are not wanted", {"command": "MAIL", "reply": "550 5.7.1 you"}, Retry),
    ("MAIL: too large", {"command": "MAIL", "reply": "552 5.3.4 big"}, Discard),
    ("MAIL: lost", {"command": "MAIL", "drop": True}, Retry),
    ("RCPT: busy", {"command": "RCPT", "reply": "450 4.2.1 busy"}, Retry),
    ("RCPT: 421", {"command": "RCPT", "reply": "421 4.3.2 bye"}, Retry),
    ("RCPT: nobody", {"command": "RCPT", "reply": "550 5.1.1 nobody"}, Discard),
    ("RCPT: lost", {"command": "RCPT", "drop": True}, Retry),
    ("dot: later", {"command": "DATA", "reply": "451 4.3.0 later"}, Retry),
    ("dot: full", {"command": "DATA", "reply": "452 4.3.1 full"}, Retry),
    ("dot: refused", {"command": "DATA", "reply": "554 5.7.1 spam"}, Discard),
    ("dot: lost", {"command": "DATA", "drop": True}, Unknown),
)
SMTP_LATE: Sequence[Case] = (
    ("RCPT: no answer", {"command": "RCPT", "delay_s": 5.0}, Retry),
    ("dot: no answer", {"command": "DATA", "delay_s": 5.0}, Unknown),
)


def breaks(
    status: int, taken: bytes, refused: bytes, *, cut: Kind, bad_gateway: Kind, out: Kind
) -> list[Break]:
    """Answers that are none, and answers that break off. `taken` is the body of a yes with this status, `refused` how
    one of a no begins. `cut` is what half a yes means, `bad_gateway` a 502, and `out` a 503."""
    half = len(taken) // 2
    return [
        ("no HTTP", Reply(b"SSH-2.0-OpenSSH_9.2\r\n"), Unknown),
        ("closed without a word", Reply(), Unknown),
        ("cut off in the headers", Reply(http(status, taken)[:20]), Unknown),
        ("taken, cut off", Reply(http(status, taken[:half], more=max(1, len(taken) - half))), cut),
        ("taken, reset in the body", Reply(http(status, taken[:half], more=99), reset=True), cut),
        ("taken, cut off in a chunk", Reply(chunked(status, taken[:half])), cut),
        ("taken, then reset", Reply(http(status, taken), reset=True), Delivered),
        ("429, cut off", Reply(http(429, refused, more=99)), Snooze),
        ("502, cut off", Reply(http(502, refused, more=99)), bad_gateway),
        ("503, cut off", Reply(http(503, refused, more=99)), out),
        ("503, reset in the body", Reply(http(503, refused, more=99), reset=True), out),
    ]
