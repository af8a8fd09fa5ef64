"""What a request says of a push target: a token of Firebase, or a browser's subscription with its keys. Pure."""

from __future__ import annotations

from collections.abc import Callable

from crown.egress import Egress
from crown.errors import Violation
from crown.notification.v1.device_service_pb2 import WebPushKeys
from crown.notification.v1.types_pb2 import DeviceKind
from services.push.web_push.crypto import browser_key, shared_secret


def problems(
    kind: DeviceKind.Type.ValueType, token: str, keys: WebPushKeys, egress: Egress | None
) -> list[Violation]:
    """What is wrong with a target, beside the rules in the protos. `egress` are the push services that may be
    called; None where there is no key to sign with, so that no browser can have subscribed with us."""
    if kind != DeviceKind.WEB_PUSH:
        return []
    if egress is None:
        return [Violation("kind", "must not be WEB_PUSH: it is not set up here", "web_push.off")]
    found = []
    if why := egress.problem(token):
        found.append(
            Violation("token", f"{why}: the endpoint of a browser's push service", "web_push.endpoint")
        )
    if not _is_good(browser_key, keys.p256dh):
        found.append(Violation("web_push.p256dh", "must be a point on the curve P-256", "web_push.p256dh"))
    if not _is_good(shared_secret, keys.auth):
        found.append(Violation("web_push.auth", "must be 16 bytes in base64url", "web_push.auth"))
    return found


def _is_good(read: Callable[[str], object], text: str) -> bool:
    """Whether `read` takes `text`; that there is one, the protos ask."""
    try:
        if text:
            read(text)
    except ValueError:
        return False
    return True
