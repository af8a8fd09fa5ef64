"""Which template a mail is made with, and what becomes of the mail where there is none or it says nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from pymongo.errors import AutoReconnect

from crown.notification.v1.template_service_pb2 import Template, TemplateText
from crown.outcome import Discard, Snooze
from crown.provider import Attempt
from services.email.message import Composer, Letterhead, Mail
from services.email.templates import renderers as pool
from services.email.templates.library import FRESH_S, Library
from services.email.templates.renderers import Renderers
from tests.unit.services.email.templates.cases import LINKS, SPIN

Make = Callable[..., Attempt]
LETTERHEAD = Letterhead("Crown", "notifications@crown.example", LINKS)


class Stored:
    """Templates in memory. `asked` is what was looked for."""

    def __init__(self) -> None:
        self.there: dict[str, Template] = {}
        self.asked: list[str] = []
        self.away = False

    def put(self, name: str, version: int = 1, **html: str) -> None:
        """A template with this HTML by language."""
        locales = {tag.replace("_", "-"): TemplateText(subject="s", html=text) for tag, text in html.items()}
        self.there[name] = Template(template_id=name, version=version, default_locale="en", locales=locales)

    async def active(self, name: str) -> Template | None:
        self.asked.append(name)
        await asyncio.sleep(0)
        if self.away:
            raise AutoReconnect("away")
        return self.there.get(name)


class Time:
    """A clock that stands."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def stored() -> Stored:
    return Stored()


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture(scope="module")
async def renderers() -> AsyncIterator[Renderers]:
    found = Renderers(most=1)
    yield found
    await found.close()


@pytest.fixture
def composer(stored: Stored, renderers: Renderers, clock: Time) -> Composer:
    return Composer(LETTERHEAD, Library(stored, renderers, clock))  # type: ignore[arg-type]


async def text(composer: Composer, attempt: Attempt) -> str:
    mail = await composer.compose(attempt)
    assert isinstance(mail, Mail), mail
    return mail.text.strip()


async def test_what_is_asked_for_then_the_kinds_then_the_plain_one(
    composer: Composer, stored: Stored, attempt: Make
) -> None:
    def to(**given: str) -> Attempt:
        return attempt("ann@example.org", **{"title": "Hi", **given})

    assert "New comment" in await text(composer, to(kind="comment"))
    assert (await text(composer, to(kind="unheard"))).startswith("Crown\n\nHi")
    stored.put("plain", en="<p>stored plain</p>")
    stored.put("like", en="<p>stored like</p>")
    stored.put("own", en="<p>own {{ kind }}</p>")
    assert await text(composer, to(kind="like")) == "stored like"
    assert await text(composer, to(kind="like", template_id="own")) == "own like"
    assert "New sign-in" in await text(composer, to(kind="like", template_id="login_alert", title=""))
    assert await composer.compose(to(template_id="nothing")) == Discard("TEMPLATE_NOT_FOUND", "nothing")


@pytest.mark.parametrize(
    ("locale", "expected"),
    [("pt-BR", "brasileiro"), ("pt-PT", "português"), ("fr", "english"), ("", "english")],
)
async def test_the_language(
    composer: Composer, stored: Stored, attempt: Make, locale: str, expected: str
) -> None:
    stored.put("own", en="english", pt="português", pt_BR="brasileiro")
    assert await text(composer, attempt("ann@example.org", template_id="own", locale=locale)) == expected
    built_in = attempt("ann@example.org", kind="comment", locale="de-AT")
    assert "Neuer Kommentar" in await text(composer, built_in)


async def test_one_look_for_all_and_a_new_version_soon(
    composer: Composer, stored: Stored, attempt: Make, clock: Time
) -> None:
    stored.put("own", 1, en="one")
    mail = attempt("ann@example.org", template_id="own")
    assert set(await asyncio.gather(*(text(composer, mail) for _ in range(20)))) == {"one"}
    assert stored.asked == ["own"]
    stored.put("own", 2, en="two")
    assert await text(composer, mail) == "one"
    clock.now += FRESH_S
    assert await text(composer, mail) == "two"
    assert stored.asked == ["own", "own"]


async def test_a_store_that_is_away_costs_no_mail(composer: Composer, stored: Stored, attempt: Make) -> None:
    stored.away = True
    mail = attempt("ann@example.org", kind="comment")
    assert await composer.compose(mail) == Snooze("STORE_UNAVAILABLE", 2.0, alone=True)
    stored.away = False
    assert "New comment" in await text(composer, mail)


async def test_one_who_leaves_ends_no_look_of_others(
    composer: Composer, stored: Stored, attempt: Make
) -> None:
    stored.put("own", en="one")
    mail = attempt("ann@example.org", template_id="own")
    leaving = asyncio.create_task(composer.compose(mail))
    staying = asyncio.create_task(text(composer, mail))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying == "one"


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("\n{{ extra.order }}", Discard("TEMPLATE_FAILED", "own v7 en html:2 extra.order")),
        ("{{ title|length + message }}", Discard("TEMPLATE_FAILED", "own v7 en html:1")),
        (
            "{% for a in range(900) %}{% for a in range(900) %}x{% endfor %}{% endfor %}",
            Discard("TEMPLATE_TOO_LARGE", "own v7 en html:0"),
        ),
        (SPIN, Discard("TEMPLATE_TIMEOUT", "own v7 en")),
    ],
)
async def test_a_template_that_says_nothing(
    composer: Composer, stored: Stored, attempt: Make, html: str, expected: Discard
) -> None:
    stored.put("own", 7, en=html)
    # The reason says where, and nothing of what was to be said.
    secret = attempt("ann@example.org", template_id="own", title="secret", message="secret")
    assert await composer.compose(secret) == expected
    assert isinstance(await composer.compose(attempt("ann@example.org")), Mail)


async def test_no_renderer_is_no_fault_of_the_template(
    composer: Composer, stored: Stored, attempt: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def start() -> None:
        raise OSError

    stored.put("own", en="one")
    empty = Composer(LETTERHEAD, Library(stored, Renderers(), Time()))  # type: ignore[arg-type]
    monkeypatch.setattr(pool._Renderer, "start", start)
    found = await empty.compose(attempt("ann@example.org", template_id="own"))
    assert found == Snooze("RENDERERS_BUSY", 2.0, alone=True)


async def test_a_subject_of_several_lines_is_refused(
    composer: Composer, stored: Stored, attempt: Make
) -> None:
    stored.put("own", en="x")
    stored.there["own"].locales["en"].subject = "{{ message }}"
    found = await composer.compose(attempt("ann@example.org", template_id="own", message="a\r\nBcc: b@c.d"))
    assert found == Discard("INVALID_CONTENT", "header.break")
