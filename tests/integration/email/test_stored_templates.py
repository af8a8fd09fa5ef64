"""Versions of templates in a real store, whoever else stores one at the same moment."""

from __future__ import annotations

import asyncio

import pytest

from crown.errors import Stale
from crown.notification.v1.template_service_pb2 import Template, TemplateText
from services.email.templates.stored import StoredTemplates
from tests.integration.rig import Rig


@pytest.fixture
def stored(rig: Rig) -> StoredTemplates:
    return StoredTemplates(rig.db)


def text(words: str, name: str = "order") -> Template:
    locales = {"en": TemplateText(subject="s", html=words), "pt-BR": TemplateText(subject="a.b$c", mjml="m")}
    return Template(template_id=name, description="d", default_locale="en", locales=locales, create_by="feed")


async def html(stored: StoredTemplates, name: str = "order") -> str:
    found = await stored.active(name)
    return found.locales["en"].html if found else ""


async def test_what_is_put_is_what_is_read(stored: StoredTemplates) -> None:
    assert await stored.active("order") is None
    put = await stored.put(text("one"), None)
    read = await stored.version("order", 1)
    assert read is not None
    assert (put.version, put.active, read.active) == (1, True, False)
    assert read.locales == text("one").locales
    assert read.create_time.seconds > 0
    assert await stored.active_version("order") == 1


async def test_versions(stored: StoredTemplates) -> None:
    for words in ("one", "two", "three"):
        await stored.put(text(words, "versions"), None)
    assert await html(stored, "versions") == "three"
    await stored.activate("versions", 2)
    assert await html(stored, "versions") == "two"
    found = await stored.versions("versions")
    assert [(one.version, one.active) for one in found] == [(3, False), (2, True), (1, False)]
    assert not found[0].locales
    # The built-in one again; then a version that was not there before.
    await stored.activate("versions", 0)
    assert await stored.active("versions") is None
    assert "versions" not in [one.template_id for one in await stored.all_active()]
    assert (await stored.put(text("four", "versions"), 0)).version == 4
    assert "versions" in [one.template_id for one in await stored.all_active()]
    await stored.delete("versions")
    assert await stored.versions("versions") == []
    await stored.delete("versions")


@pytest.mark.parametrize("if_version", [0, 1], ids=["the first", "the next"])
async def test_of_many_who_saw_the_same_version_one_stores(stored: StoredTemplates, if_version: int) -> None:
    name = f"race{if_version}"
    if if_version:
        await stored.put(text("before", name), None)
    found = await asyncio.gather(
        *(stored.put(text(f"by {n}", name), if_version) for n in range(8)), return_exceptions=True
    )
    (won,) = [one for one in found if isinstance(one, Template)]
    assert [type(one) for one in found].count(Stale) == 7
    assert await html(stored, name) == won.locales["en"].html
    # Nothing is left of those who were refused.
    assert {one.version for one in await stored.versions(name)} == {won.version, *range(1, if_version + 1)}
    with pytest.raises(Stale):
        await stored.put(text("late", name), 99)


async def test_of_many_who_do_not_care_all_store(stored: StoredTemplates) -> None:
    found = await asyncio.gather(*(stored.put(text(f"by {n}", "all"), None) for n in range(4)))
    assert sorted(one.version for one in found) == [1, 2, 3, 4]
    assert await stored.active_version("all") in {1, 2, 3, 4}
