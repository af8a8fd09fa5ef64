"""Everything that is kept has an answer to how long, and to what becomes of it when a person is erased."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from crown import store, subjects
from crown.kept import TABLE, Kept, Where, of
from tools import retention_page

ROOT = Path(__file__).resolve().parents[3]
_KEY = re.compile(r"[\"'`](crown:[a-z]+:)")
_ROW = re.compile(r"^\| ([a-z_]+) +\| \S", re.MULTILINE)
_EXPORT = (ROOT / "services/ingest/people/export.py").read_text()


def test_every_collection_has_an_answer() -> None:
    named = set(_ROW.findall(store.__doc__ or "")) - {"collection"}
    assert named == of(Where.MONGODB).keys()
    assert store.collections().keys() <= named


@pytest.mark.parametrize("kept", of(Where.MONGODB).values(), ids=lambda kept: kept.name)
def test_a_collection_is_kept_as_long_as_it_says(kept: Kept) -> None:
    assert store.collections().get(kept.name) == kept.kept_s


def test_every_stream_has_an_answer_and_is_kept_as_long_as_it_says() -> None:
    lanes = "|".join(subjects.LANES.values())
    ages = {
        re.sub(rf"_(?:{lanes})$", "_<lane>", stream["name"]): stream.get("max_age", 0) // 10**9 or None
        for stream in subjects.streams(1 << 20)
    }
    assert ages == {name: kept.kept_s for name, kept in of(Where.NATS).items()}


def test_every_key_in_redis_has_an_answer() -> None:
    found = {
        prefix
        for folder in ("crown", "services")
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "kept.py"
        for prefix in _KEY.findall(path.read_text())
    }
    assert found == of(Where.REDIS).keys()


@pytest.mark.parametrize("kept", TABLE, ids=lambda kept: kept.name)
def test_what_is_of_a_person_is_erased_and_exported_or_says_why_not(kept: Kept) -> None:
    assert bool(kept.of_a_person) == bool(kept.erased)
    assert bool(kept.of_a_person) == (bool(kept.exported) != bool(kept.not_exported))
    assert kept.until


def test_the_export_has_the_fields_that_the_table_names() -> None:
    named = {field for kept in TABLE for field in kept.exported}
    written = set(
        re.findall(r'^            "(\w+)": ', _EXPORT.partition("yield _encoded(head)")[0], re.MULTILINE)
    )
    assert named == (written | {"notifications"}) - {"user_id", "export_time"}


def test_the_page_is_made_from_the_table() -> None:
    assert retention_page.page() == retention_page.PAGE.read_text(encoding="utf-8")
