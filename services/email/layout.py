"""The one look of an e-mail: a column of text with a button. Styles stand inline and tables carry the layout,
because that is what mail programs agree on. Everything that came from outside is escaped."""

from __future__ import annotations

from html import escape

_FONT = "font-family:-apple-system,BlinkMacSystemFont,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"
_BLOCK = f"margin:0 0 16px;{_FONT};overflow-wrap:anywhere"
_TEXT = f"{_BLOCK};font-size:16px;line-height:1.5;color:#24292f"
_TITLE = f"{_BLOCK};font-size:22px;line-height:1.3;font-weight:600;color:#111418"
_NAME = f"padding:0 8px 16px;{_FONT};font-size:14px;font-weight:600;color:#57606a"
_CARD = "background:#ffffff;border:1px solid #d8dee4;border-radius:12px;padding:32px"
_BUTTON = (
    f"display:inline-block;{_FONT};font-size:16px;font-weight:600;line-height:1;color:#ffffff;"
    "background:#1a56c4;border-radius:8px;padding:14px 24px;text-decoration:none"
)
_PICTURE = "display:block;width:100%;max-width:100%;height:auto;border:0;border-radius:8px;margin:0 0 24px"


def page(sender: str, title: str, message: str, action: str, image: str) -> str:
    """A whole HTML page. `action` and `image` are absolute addresses or empty, as is any of the texts."""
    parts = [
        f'<img src="{escape(image)}" alt="" style="{_PICTURE}">' if image else "",
        f'<h1 style="{_TITLE}">{escape(title)}</h1>' if title else "",
        *(f'<p style="{_TEXT}">{paragraph}</p>' for paragraph in _paragraphs(message)),
        f'<p style="margin:8px 0 0"><a href="{escape(action)}" style="{_BUTTON}">Open</a></p>'
        if action
        else "",
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title></head>"
        '<body style="margin:0;padding:0;background:#f3f5f7">'
        '<table role="presentation" width="100%" cellpadding="0" cellspacing="0" style="background:#f3f5f7">'
        '<tr><td align="center" style="padding:32px 16px">'
        '<table role="presentation" width="100%" cellpadding="0" cellspacing="0" style="max-width:560px">'
        + (f'<tr><td style="{_NAME}">{escape(sender)}</td></tr>' if sender else "")
        + f'<tr><td style="{_CARD}">{"".join(parts)}</td></tr>'
        "</table></td></tr></table></body></html>"
    )


def _paragraphs(message: str) -> list[str]:
    """The escaped paragraphs of `message`: an empty line parts two, a line break stays one."""
    text = message.replace("\r\n", "\n").replace("\r", "\n")
    found = (block.strip("\n") for block in text.split("\n\n"))
    return [escape(block).replace("\n", "<br>") for block in found if block.strip()]
