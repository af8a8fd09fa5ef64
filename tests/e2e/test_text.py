"""What is accepted arrives as it was written, in every script, on every channel."""

from __future__ import annotations

import pytest

from tests.e2e.arrivals import Ledger, Mailbox
from tests.e2e.people import Person
from tests.e2e.phoenix import connected
from tests.e2e.rest import Caller, Rest

TEXTS = {
    "emoji": "Heron \U0001f9a2 \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1eb\U0001f1f7",
    "right to left": "مالك الحزين \u202b(heron)\u202c אנפה",
    "combining": "He\u0301ron Z\u0335\u0348\u0321a\u0337l\u0338g\u0336o",
    "composed": "Héron",  # another string than the one above
    "beyond the plane": "\U00020000\U0001d573 𝄞",
    "zero width": "He\u200bron\ufeff\u2060",
    "markup": "<b>Heron</b> & \"fish\" {{7*7}} ${x} %s \\n",
    "asian": "サギ 鹭 백로",
    "long": "Reiher" * 9,
}  # fmt: skip


# Those that fit the GSM alphabet once their typography is plain, which a text message then is.
PLAIN = {"composed", "zero width", "markup", "long"}
_TYPOGRAPHY = str.maketrans({"\t": " ", "\u200b": "", "\ufeff": "", "\u2060": ""})


@pytest.mark.parametrize(("name", "text"), TEXTS.items(), ids=TEXTS)
async def test_what_was_sent_is_what_is_read(
    rest: Rest, feed: Caller, person: Person, ledger: Ledger, mailbox: Mailbox, name: str, text: str
) -> None:
    said = {"title": text, "message": f"{text}\n\t{text}", "extra": {text: [text, 1.5]}}
    assert person.caller.token
    async with connected(rest, person.caller.token) as socket:
        await socket.join(f"user:{person.user_id}")
        channels = ["real_time", "in_app", "push", "email", "sms"]
        sent = await feed.send(channels=channels, user_id=person.user_id, data=said)
        frame = await socket.pushed("notification")
    (entry,) = (await person.caller.history(person.user_id))["notifications"]
    for found in (frame["data"], entry["data"]):
        assert {name: found[name] for name in said} == said
    mail = await mailbox.message(notification_id=sent)
    assert mail["subject"] == text
    assert said["message"] in mail["text"]
    await feed.settled(sent)
    push, sms = sorted(await ledger.entries(notification_id=sent), key=lambda effect: effect["provider"])
    assert (push["title"], push["text"]) == (text, said["message"])
    told = f"{text}\n{said['message']}"
    assert sms["text"].startswith(told.translate(_TYPOGRAPHY) if name in PLAIN else told)


async def test_markup_is_only_text_in_a_mail(feed: Caller, person: Person, mailbox: Mailbox) -> None:
    said = {"title": "<script>heron()</script>", "message": "<img src=x onerror=heron()>"}
    mail = await mailbox.message(notification_id=await feed.send("email", user_id=person.user_id, data=said))
    assert "&lt;script&gt;heron()" in mail["html"]
    assert "<script" not in mail["html"]
    assert "<img src=x" not in mail["html"]
