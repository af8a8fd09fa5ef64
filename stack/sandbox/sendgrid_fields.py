"""The documented body of SendGrid's POST /v3/mail/send, field by field. Anything else is refused.

Source: Twilio's OpenAPI description of the mail API (github.com/twilio/sendgrid-oai), read 2026-11.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

Filled = Annotated[str, Meta(min_length=1)]


class Fields(Struct, forbid_unknown_fields=True):
    """A JSON object with no other fields than these; null is a value of none of them."""


class Address(Fields):
    email: str
    name: str = ""


class Personalization(Fields):
    to: list[Address]
    from_: Address | UnsetType = field(name="from", default=UNSET)
    cc: list[Address] = []
    bcc: list[Address] = []
    subject: str = ""
    headers: dict[str, str] = {}
    substitutions: dict[str, str] = {}
    dynamic_template_data: dict[str, Any] = {}
    custom_args: dict[str, str] = {}
    send_at: int = 0


class Content(Fields):
    type: Filled
    value: Filled


class Attachment(Fields):
    content: Filled
    filename: Filled
    type: Filled | UnsetType = UNSET
    disposition: Literal["inline", "attachment"] = "attachment"
    content_id: str = ""


class Asm(Fields):
    group_id: int
    groups_to_display: Annotated[list[int], Meta(max_length=25)] = []


class Switch(Fields):
    enable: bool = False


class Footer(Switch):
    text: str = ""
    html: str = ""


class BccSetting(Switch):
    email: str = ""


class SpamCheck(Switch):
    threshold: int = 0
    post_to_url: str = ""


class MailSettings(Fields):
    bcc: BccSetting | UnsetType = UNSET
    bypass_list_management: Switch | UnsetType = UNSET
    bypass_spam_management: Switch | UnsetType = UNSET
    bypass_bounce_management: Switch | UnsetType = UNSET
    bypass_unsubscribe_management: Switch | UnsetType = UNSET
    footer: Footer | UnsetType = UNSET
    sandbox_mode: Switch = field(default_factory=Switch)
    spam_check: SpamCheck | UnsetType = UNSET


class ClickTracking(Switch):
    enable_text: bool = False


class OpenTracking(Switch):
    substitution_tag: str = ""


class SubscriptionTracking(Switch):
    text: str = ""
    html: str = ""
    substitution_tag: str = ""


class Ganalytics(Switch):
    utm_source: str = ""
    utm_medium: str = ""
    utm_term: str = ""
    utm_content: str = ""
    utm_campaign: str = ""


class TrackingSettings(Fields):
    click_tracking: ClickTracking | UnsetType = UNSET
    open_tracking: OpenTracking | UnsetType = UNSET
    subscription_tracking: SubscriptionTracking | UnsetType = UNSET
    ganalytics: Ganalytics | UnsetType = UNSET


class Mail(Fields):
    personalizations: Annotated[list[Personalization], Meta(min_length=1, max_length=1_000)]
    from_: Address = field(name="from")
    reply_to: Address | UnsetType = UNSET
    reply_to_list: Annotated[list[Address], Meta(max_length=1_000)] = []
    subject: str = ""
    content: list[Content] = []
    attachments: list[Attachment] = []
    template_id: str = ""
    sections: dict[str, str] = {}
    headers: dict[str, str] = {}
    categories: Annotated[list[Annotated[str, Meta(max_length=255)]], Meta(max_length=10)] = []
    custom_args: dict[str, str] = {}
    send_at: int = 0
    batch_id: str = ""
    asm: Asm | UnsetType = UNSET
    ip_pool_name: Annotated[str, Meta(min_length=2, max_length=64)] | UnsetType = UNSET
    mail_settings: MailSettings = field(default_factory=MailSettings)
    tracking_settings: TrackingSettings | UnsetType = UNSET
