"""Templates through the gateway: stored, tried, used by the next mails, and no harm to others where they fail."""

from __future__ import annotations

import time
from typing import Any

import pytest

from crown.catalogue import KINDS
from tests.e2e.arrivals import Item, Mailbox
from tests.e2e.people import Person
from tests.e2e.rest import Caller, Rest
from tests.e2e.waiting import until

TEMPLATES = "/api/v1/templates"
MJML = """<mjml><mj-body><mj-section><mj-column>
<mj-text>Order {{ extra.order }}: {{ title }}</mj-text>
<mj-button href="{{ extra.link }}">See</mj-button>
</mj-column></mj-section></mj-body></mjml>"""
SPIN = "".join(f"{{% for {name} in range(1000) %}}" for name in "abc") + "{% endfor %}" * 3
# A process uses what it has read for three seconds.
FRESH_S = 6.0


@pytest.fixture
def operator(rest: Rest) -> Caller:
    """One who runs the suite."""
    return rest.operator


async def put(caller: Caller, name: str, text: dict[str, str], **given: Any) -> Item:
    """A new version, with the text in English."""
    body = {"locales": {"en": {"subject": "{{ title }}", **text}}, **given}
    found: Item = (await caller.put(f"{TEMPLATES}/{name}", body)).ok["template"]
    return found


async def preview(caller: Caller, **given: Any) -> Item:
    found: Item = (await caller.post(f"{TEMPLATES}:preview", given)).ok
    return found


async def test_a_preview_is_what_arrives(
    feed: Caller, operator: Caller, mailbox: Mailbox, person: Person
) -> None:
    data = {
        "title": "Ann commented",
        "message": "Two\n\nparagraphs & <b>",
        "action_url": "/photos/1?a=1&b=2",
        "extra": {"actor": "Ann", "quote": "So nice!"},
    }
    path = f"/api/v1/users/{person.user_id}/contact"
    await person.caller.put(path, {"email": person.email, "locale": "de-AT"})
    mail = await mailbox.message(
        notification_id=await feed.send("email", user_id=person.user_id, kind="comment", data=data)
    )
    shown = await preview(operator, kind="comment", locale="de-AT", data=data)
    assert (shown["template_id"], shown["version"], shown["locale"]) == ("comment", 0, "de")
    assert "Neuer Kommentar" in shown["html"]
    assert mail["subject"] == shown["subject"] == "Ann commented"
    # All that differs are ids.
    link = mail["headers"]["List-Unsubscribe"].strip("<>")
    example = shown["headers"]["List-Unsubscribe"].strip("<>")
    assert link != example
    assert mail["html"].replace(link, example).strip() == shown["html"].strip()
    assert mail["text"].replace(link, example) == shown["text"]
    assert shown["headers"].keys() <= mail["headers"].keys()
    same = {"Auto-Submitted", "List-Unsubscribe-Post"}
    assert {name: mail["headers"][name] for name in same} == {name: shown["headers"][name] for name in same}


async def test_a_stored_template_is_used_until_it_is_gone(
    feed: Caller, operator: Caller, mailbox: Mailbox, person: Person
) -> None:
    first = await put(operator, "order", {"mjml": MJML}, description="An order")
    assert (first["version"], first["active"], first["create_by"]) == (1, True, "olga")

    async def arrived(**given: Any) -> Item:
        sent = await feed.send(
            "email",
            user_id=person.user_id,
            template_id="order",
            data={"title": "Hello", "extra": {"order": 7, "link": "/orders/7", **given}},
        )
        return await mailbox.message(notification_id=sent)

    mail = await arrived()
    assert "Order 7: Hello" in mail["html"]
    assert "/orders/7" in mail["html"]
    assert mail["text"].startswith("Order 7: Hello\n\nSee:\nhttp")
    assert "evil" not in (await arrived(link="https://evil.example/"))["html"]
    second = await put(operator, "order", {"html": "<p>Second</p>"}, if_version=1)
    assert second["version"] == 2
    await until(arrived, lambda mail: mail["text"] == "Second\n", FRESH_S)
    # Somebody who has not seen the second version does not replace it.
    stale = await operator.put(
        f"{TEMPLATES}/order", {"locales": {"en": {"subject": "x", "html": "y"}}, "if_version": 1}
    )
    assert (stale.status, stale.problem.reason) == (409, "STALE_ETAG")
    versions = (await operator.get(f"{TEMPLATES}/order/versions")).ok["templates"]
    assert [(found["version"], found["active"]) for found in versions] == [(2, True), (1, False)]
    await operator.post(f"{TEMPLATES}/order:activate", {"version": 1})
    await until(arrived, lambda mail: "Order 7" in mail["text"], FRESH_S)
    assert (await operator.get(f"{TEMPLATES}/order")).ok["template"]["version"] == 1
    assert (await operator.request("DELETE", f"{TEMPLATES}/order")).status == 200
    assert (await operator.get(f"{TEMPLATES}/order")).status == 404

    async def reason() -> str:
        sent = await feed.send("email", user_id=person.user_id, template_id="order", data={"title": "x"})
        return str((await feed.outcome(sent)).get("reason", ""))

    await until(reason, lambda found: found.startswith("TEMPLATE_NOT_FOUND"), FRESH_S)


async def test_a_kinds_own_template_is_replaced_and_comes_back(operator: Caller) -> None:
    listed = (await operator.get(TEMPLATES)).ok["templates"]
    assert {*KINDS, "digest", "plain"} <= {found["template_id"] for found in listed}
    built_in = (await operator.get(f"{TEMPLATES}/media_ready")).ok["template"]
    assert (built_in["version"], set(built_in["locales"])) == (0, {"en", "de"})
    # What is built in can be taken, changed and stored.
    built_in["locales"]["en"]["subject"] = "Changed: {{ title }}"
    body = {name: built_in[name] for name in ("description", "default_locale", "locales")}
    stored = await operator.put(f"{TEMPLATES}/media_ready", {**body, "if_version": 0})
    assert stored.ok["template"]["version"] == 1
    shown = await preview(operator, kind="media_ready")
    assert (shown["subject"], shown["version"]) == ("Changed: Your video is ready", 1)
    assert (await preview(operator, kind="media_ready", locale="de"))["version"] == 1
    await operator.post(f"{TEMPLATES}/media_ready:activate", {"version": 0})
    assert (await preview(operator, kind="media_ready"))["subject"] == "Your video is ready"
    assert (await operator.request("DELETE", f"{TEMPLATES}/media_ready")).status == 200


async def test_what_is_wrong_is_told_with_its_line(operator: Caller) -> None:
    body = {
        "locales": {
            "en": {"subject": "{{ nope }}", "mjml": "<mjml>\n<mj-body>\n<mj-txt>x</mj-txt></mj-body></mjml>"},
            "de": {"subject": "x", "html": "\n\n{{ title|attr('__class__') }}"},
        }
    }
    answer = await operator.put(f"{TEMPLATES}/broken", body)
    assert (answer.status, answer.problem.reason) == (400, "INVALID_REQUEST")
    told = answer.problem.violations
    assert told["locales[en].subject"].startswith("line 1: nope is no variable")
    assert told["locales[en].mjml"] == "line 3: <mj-txt> is no component of MJML"
    assert told["locales[de].html"] == "line 3: No filter named 'attr'."
    answer = await operator.put(f"{TEMPLATES}/broken", {"locales": {"en": {"subject": "x", "html": SPIN}}})
    assert dict(answer.problem.violations) == {"locales[en]": "takes longer than a second"}
    answer = await operator.put(
        f"{TEMPLATES}/broken", {"default_locale": "fr", "locales": {"en": {"html": "x"}}}
    )
    assert answer.problem.violations.keys() == {"default_locale", "locales[en].subject"}
    answer = await operator.post(
        f"{TEMPLATES}:preview", {"draft": {"subject": "x", "html": "{{ extra.nothing }}"}}
    )
    assert answer.problem.violations.keys() == {"draft.html"}
    assert (await operator.get(f"{TEMPLATES}/broken")).status == 404


async def test_one_that_never_ends_harms_nobody_else(
    feed: Caller, operator: Caller, mailbox: Mailbox, person: Person
) -> None:
    # Fine with what it is tried with when it is stored.
    await put(operator, "spin", {"html": "{% if extra.spin is defined %}" + SPIN + "{% endif %}x"})
    await put(operator, "lacks", {"html": "{{ extra.nothing }}"})

    async def send(template_id: str, **extra: Any) -> str:
        data = {"title": "Hello", "extra": extra}
        return await feed.send("email", user_id=person.user_id, template_id=template_id, data=data)

    stuck = [await send("spin", spin=True) for _ in range(2)]
    lacking = await send("lacks")
    began = time.monotonic()
    await mailbox.message(notification_id=await send(""))
    # Alone on a machine it takes no longer than ever.
    assert time.monotonic() - began < 4
    assert (await feed.outcome(lacking))["reason"].startswith("TEMPLATE_FAILED")
    for sent in stuck:
        assert (await feed.outcome(sent, 20))["reason"].startswith("TEMPLATE_TIMEOUT")

    async def reasons() -> list[str]:
        letters = (await operator.get(f"/api/v1/dead-letters?filter.user_id={person.user_id}")).ok
        return sorted(letter["reason"].partition(":")[0] for letter in letters["dead_letters"])

    # The bus has them at once, the store a moment later.
    wanted = ["TEMPLATE_FAILED", "TEMPLATE_TIMEOUT", "TEMPLATE_TIMEOUT"]
    await until(reasons, lambda found: found == wanted)
    mail = await mailbox.message(notification_id=await send("spin"))
    assert mail["text"] == "x\n"


async def test_a_direct_send_has_a_template_and_a_language(
    operator: Caller, mailbox: Mailbox, person: Person
) -> None:
    body = {
        "to": f"direct-{person.user_id}@example.org",
        "data": {"title": "Hallo", "extra": {"device": "Telefon"}},
    }
    answer = await operator.post(
        "/api/v1/email:send", {**body, "template_id": "login_alert", "locale": "de-CH"}
    )
    # There is no notification; its place in the headers is taken.
    mail = await mailbox.message(notification_id=answer.ok["receipt"]["delivery_id"])
    assert "Gerät: Telefon" in mail["text"]
    assert "List-Unsubscribe" not in mail["headers"]
    answer = await operator.post("/api/v1/email:send", {**body, "template_id": "nothing"})
    assert (answer.status, answer.problem.reason) == (400, "PROVIDER_REFUSED")
