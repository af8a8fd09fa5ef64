"""The pages behind an unsubscribe link: one that asks, one that says that it is done, two that say why it is not.
Whole without scripts and pictures, and with nothing in them from outside but the name of the sender."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from html import escape

from crown.notification.v1.types_pb2 import Category

_STYLE = """
:root{color-scheme:light dark;--page:#f3f5f7;--card:#fff;--line:#d8dee4;--text:#24292f;--quiet:#57606a;--act:#1a56c4}
@media(prefers-color-scheme:dark){:root{--page:#0e1116;--card:#171b22;--line:#30363d;--text:#e6edf3;--quiet:#9aa4af;
--act:#2f6fdd}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:24px 16px;background:var(--page);
color:var(--text);font:17px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;overflow-wrap:anywhere}
main{width:100%;max-width:440px;padding:36px 32px;background:var(--card);border:1px solid var(--line);
border-radius:16px}
.from{margin:0 0 20px;color:var(--quiet);font-size:14px;font-weight:600}
h1{margin:0 0 12px;font-size:24px;line-height:1.25;letter-spacing:-.01em}
p{margin:0 0 12px}
.quiet{margin:20px 0 0;color:var(--quiet);font-size:14px}
button{width:100%;min-height:48px;margin:16px 0 0;padding:12px 20px;border:0;border-radius:10px;
background:var(--act);color:#fff;font:inherit;font-weight:600;cursor:pointer}
button:focus-visible{outline:3px solid var(--act);outline-offset:3px}
button:hover{filter:brightness(1.08)}
"""
_HASH = base64.b64encode(sha256(_STYLE.encode()).digest()).decode()

# Sent with every page. Nothing is loaded, nothing runs, nobody may frame it, and where it was came from is not told.
HEADERS: Mapping[str, str] = {
    "content-security-policy": (
        f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
    "x-robots-tag": "noindex, nofollow",
}


@dataclass(frozen=True, slots=True)
class _Words:
    """The texts in one language. `{what}` is the category."""

    ask: str
    ask_more: str
    button: str
    security: str
    done: str
    done_more: str
    back: str
    missing: str
    missing_more: str
    away: str
    away_more: str
    categories: Mapping[Category.Type.ValueType, str]


_WORDS: Mapping[str, _Words] = {
    "en": _Words(
        ask="Unsubscribe?",
        ask_more="After this you get no more e-mails about {what}.",
        button="Unsubscribe",
        security="E-mails about the security of your account keep coming.",
        done="You are unsubscribed",
        done_more="You will get no more e-mails about {what}.",
        back="Changed your mind? Turn them on again in the settings of the app.",
        missing="This link does not work",
        missing_more="It is too old, or a part of it is missing. You choose what you get in the settings of the app.",
        away="Not now",
        away_more="Something on our side is away for a moment. Nothing has changed; please try again in a minute.",
        categories={
            Category.ACTIVITY: "what happens on your posts",
            Category.SOCIAL: "friends and followers",
            Category.SYSTEM: "updates and maintenance",
            Category.MARKETING: "campaigns and offers",
        },
    ),
    "de": _Words(
        ask="Abbestellen?",
        ask_more="Du bekommst dann keine E-Mails mehr über {what}.",
        button="Abbestellen",
        security="E-Mails zur Sicherheit deines Kontos kommen weiterhin.",
        done="Abbestellt",
        done_more="Du bekommst keine E-Mails mehr über {what}.",
        back="Doch wieder? In den Einstellungen der App schaltest du sie wieder ein.",
        missing="Dieser Link funktioniert nicht",
        missing_more="Er ist zu alt, oder ein Teil von ihm fehlt. Was du bekommst, wählst du in den Einstellungen "
        "der App.",
        away="Gerade nicht",
        away_more="Bei uns ist gerade etwas gestört. Geändert ist nichts; bitte versuche es in einer Minute noch "
        "einmal.",
        categories={
            Category.ACTIVITY: "Neues zu deinen Beiträgen",
            Category.SOCIAL: "Freunde und Follower",
            Category.SYSTEM: "Aktualisierungen und Wartung",
            Category.MARKETING: "Kampagnen und Angebote",
        },
    ),
}
# Of one entry without the blanks around it: two rows of blanks side by side could be divided in too many ways.
_PREFERENCE = re.compile(r"([A-Za-z]{2,3})(?:-[A-Za-z0-9-]+)?(?:\s*;\s*q=([01](?:\.[0-9]{0,3})?))?")


def language(accepted: str) -> str:
    """The language of ours that a browser likes best, by its Accept-Language; English where it likes none."""
    liked: dict[str, float] = {}
    for part in accepted.split(",")[:20]:
        found = _PREFERENCE.fullmatch(part.strip())
        if found is not None and found[1].lower() in _WORDS:
            name, weight = found[1].lower(), float(found[2] or 1)
            liked[name] = max(weight, liked.get(name, 0.0))
    best = max(liked, key=liked.__getitem__, default="en")
    return best if liked.get(best) else "en"


def ask(sender: str, category: Category.Type.ValueType, name: str) -> str:
    """The page with the button, in the language `name`. The form leads to the page's own address."""
    words = _WORDS[name]
    more = escape(words.ask_more.format(what=words.categories[category]))
    return _page(
        name,
        sender,
        words.ask,
        f'<p>{more}</p><form method="post"><button name="List-Unsubscribe" value="One-Click">'
        f'{escape(words.button)}</button></form><p class="quiet">{escape(words.security)}</p>',
    )


def done(sender: str, category: Category.Type.ValueType, name: str) -> str:
    """The page that says that it is done."""
    words = _WORDS[name]
    more = escape(words.done_more.format(what=words.categories[category]))
    return _page(
        name, sender, words.done, f'<p role="status">{more}</p><p class="quiet">{escape(words.back)}</p>'
    )


def missing(sender: str, name: str) -> str:
    """The page behind a link that is not good. It does not say why."""
    words = _WORDS[name]
    return _page(name, sender, words.missing, f"<p>{escape(words.missing_more)}</p>")


def away(sender: str, name: str) -> str:
    """The page where the store does not answer."""
    words = _WORDS[name]
    return _page(name, sender, words.away, f"<p>{escape(words.away_more)}</p>")


def _page(name: str, sender: str, title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="{name}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="robots" content="noindex,nofollow">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main>"
        + (f'<p class="from">{escape(sender)}</p>' if sender else "")
        + f"<h1>{escape(title)}</h1>{body}</main></body></html>"
    )
