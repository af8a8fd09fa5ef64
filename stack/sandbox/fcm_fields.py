"""The message of FCM's HTTP v1 API, field by field. Anything else is refused.

Source: Google's discovery document fcm:v1 and the fields of firebase-admin 7.7.0, read 2026-11.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType, field, json

Duration = Annotated[str, Meta(pattern=r"^[0-9]{1,12}(\.[0-9]{1,9})?s\Z")]
Label = Annotated[str, Meta(pattern=r"^[A-Za-z0-9\-_.~%]{0,50}\Z")]
Colour = Annotated[str, Meta(pattern=r"^(#[0-9a-fA-F]{6})?\Z")]
Texts = dict[str, str]


def _any_of(*names: str) -> str:
    # FCM reads enum names in any case; firebase-admin itself sends "high".
    return rf"^(?i:{'|'.join(names)})\Z"


AndroidPriority = Annotated[str, Meta(pattern=_any_of("NORMAL", "HIGH"))]
Shown = Annotated[str, Meta(pattern=_any_of("VISIBILITY_UNSPECIFIED", "PRIVATE", "PUBLIC", "SECRET"))]
Proxy = Annotated[str, Meta(pattern=_any_of("PROXY_UNSPECIFIED", "ALLOW", "DENY", "IF_PRIORITY_LOWERED"))]
Urgency = Annotated[str, Meta(pattern=_any_of("PRIORITY_(UNSPECIFIED|MIN|LOW|DEFAULT|HIGH|MAX)"))]


class Fields(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A JSON object with no other fields than these. Written again, it is as long as it came."""


class Options(Fields):
    analytics_label: Label = ""


class Notification(Fields):
    title: str = ""
    body: str = ""
    image: str = ""


class Tint(Fields):
    red: float = 0
    green: float = 0
    blue: float = 0
    alpha: float = 1


class LightSettings(Fields):
    color: Tint
    light_on_duration: Duration
    light_off_duration: Duration


class AndroidNotification(Notification):
    icon: str = ""
    color: Colour = ""
    sound: str = ""
    tag: str = ""
    click_action: str = ""
    body_loc_key: str = ""
    body_loc_args: list[str] = []
    title_loc_key: str = ""
    title_loc_args: list[str] = []
    channel_id: str = ""
    ticker: str = ""
    sticky: bool = False
    event_time: str = ""
    local_only: bool = False
    notification_priority: Urgency = "PRIORITY_UNSPECIFIED"
    default_sound: bool = False
    default_vibrate_timings: bool = False
    default_light_settings: bool = False
    vibrate_timings: list[Duration] = []
    visibility: Shown = "VISIBILITY_UNSPECIFIED"
    notification_count: Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)] = 0
    light_settings: LightSettings | UnsetType = UNSET
    proxy: Proxy = "PROXY_UNSPECIFIED"
    bypass_proxy_notification: bool = False


class Android(Fields):
    collapse_key: str = ""
    priority: AndroidPriority = "NORMAL"
    ttl: Duration = "0s"
    restricted_package_name: str = ""
    data: Texts = {}
    notification: AndroidNotification | UnsetType = UNSET
    fcm_options: Options | UnsetType = UNSET
    direct_boot_ok: bool = False
    bandwidth_constrained_ok: bool = False
    restricted_satellite_ok: bool = False


class WebpushOptions(Options):
    link: str = ""


class Webpush(Fields):
    headers: Texts = {}
    data: Texts = {}
    notification: dict[str, Any] = {}
    fcm_options: WebpushOptions = field(default_factory=WebpushOptions)


class ApnsOptions(Options):
    image: str = ""


class Apns(Fields):
    headers: Texts = {}
    payload: dict[str, Any] = {}
    fcm_options: ApnsOptions | UnsetType = UNSET
    live_activity_token: str = ""


class Message(Fields):
    name: str = ""
    data: Texts = {}
    notification: Notification = field(default_factory=Notification)
    android: Android | UnsetType = UNSET
    webpush: Webpush | UnsetType = UNSET
    apns: Apns | UnsetType = UNSET
    fcm_options: Options | UnsetType = UNSET
    token: str | UnsetType = UNSET
    fid: str | UnsetType = UNSET
    topic: str | UnsetType = UNSET
    condition: str | UnsetType = UNSET


class Send(Fields):
    message: Message
    validate_only: bool = False


_HUMP = re.compile(r"(?<=[a-z0-9])([A-Z])")
_OPAQUE = frozenset(("data", "headers", "payload"))


def snake_case(body: bytes) -> bytes:
    """The same request with proto names, for callers that write JSON names (`collapseKey`)."""
    return json.encode(_snake(json.decode(body)))


def _snake(value: Any, inside: str = "") -> Any:
    if not isinstance(value, dict) or inside in _OPAQUE:
        return value
    renamed = {_HUMP.sub(lambda hump: "_" + hump[1].lower(), name): part for name, part in value.items()}
    # A web notification is the browser's own object: its names stay.
    return {
        name: part if inside == "webpush" and name == "notification" else _snake(part, name)
        for name, part in renamed.items()
    }
