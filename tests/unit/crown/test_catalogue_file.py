"""The operators' own file over the catalogue."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from crown import catalogue
from crown.catalogue import CatalogueError
from crown.choices import NOTHING, Digest, caps, digest, why_not
from crown.notification.v1.types_pb2 import Category, Channel, Rhythm, Span
from crown.settings import Settings, SettingsError

OURS = """
[kinds.like]
channels = ["in_app", "push"]

[kinds.shift_change]
category = "system"
channels = ["push", "sms"]
template = "shift"
collapse_key = "shift"
quiet_hours = "pass"
digestable = false

[categories.social]
off = ["sms"]
digest.email = {every = "weekly", at = "18:00", weekday = "friday"}
caps = [{channel = "push", most = 5, per = "hour"}]
"""


@pytest.fixture
def given(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "catalogue.toml"
    path.write_text(OURS, "utf-8")
    yield path
    catalogue.lay_over("")


def test_it_changes_what_it_names_and_adds(given: Path) -> None:
    before = dict(catalogue.KINDS)
    catalogue.lay_over(str(given))
    like, added = catalogue.kind("like"), catalogue.kind("shift_change")
    assert (like.category, like.channels) == (Category.ACTIVITY, (Channel.IN_APP, Channel.PUSH))
    assert (added.template, added.collapse_key) == ("shift", "shift")
    assert (added.passes_quiet_hours, added.digestable) == (True, False)
    assert {name: kind for name, kind in catalogue.KINDS.items() if name not in ("like", "shift_change")} == {
        name: kind for name, kind in before.items() if name != "like"
    }
    assert why_not(NOTHING, "social", "sms") == "PREFERENCE_OFF"
    assert why_not(NOTHING, "marketing", "sms") == "CONSENT_MISSING"
    assert digest(NOTHING, "social", "email") == Digest(Rhythm.WEEKLY, 1_080, 4)
    assert [(cap.channel, cap.most, cap.per) for cap in caps(NOTHING, "social", "push")] == [
        ("push", 5, Span.HOUR)
    ]
    catalogue.lay_over("")
    assert dict(catalogue.KINDS) == before


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kind.like = {}", "kind is none of kinds, categories"),
        ("kinds.like.channel = 1", "kinds.like.channel is none of category"),
        ("kinds.like.channels = ['fax']", "kinds.like.channels must be a list of"),
        ("kinds.like.channels = []", "kinds.like must have a category and channels"),
        ("kinds.coup.category = 'system'", "kinds.coup must have a category and channels"),
        ("kinds.like.quiet_hours = 'never'", "kinds.like.quiet_hours must be one of defer, pass"),
        ("kinds.like.digestable = 1", "kinds.like.digestable must be one of"),
        ("kinds.Like.category = 'system'", "kinds.Like must be lower-case"),
        ("kinds.like = 3", "kinds.like must be a table"),
        ("kinds = 3", "kinds must be a table"),
        ("categories.news.off = []", "categories.news must be one of"),
        ("categories.security.off = ['push']", "categories.security must have retention_days only"),
        ("categories.social.digest.push.every = 'daily'", "categories.social.digest.push must have"),
        ("categories.social.digest.in_app.every = 'hourly'", "categories.social.digest.in_app is none of"),
        ("categories.social.caps = [{channel = 'push'}]", "categories.social.caps 1 must have"),
        ("categories.social.retention_days = 0", "categories.social.retention_days must be a number"),
        ("kinds = [", "is not TOML"),
    ],
)
def test_what_nobody_knows_is_refused_by_name(text: str, told: str) -> None:
    with pytest.raises(CatalogueError) as error:
        catalogue.read(text, catalogue.KINDS, {})
    assert told in str(error.value)


def test_settings_refuse_a_file_that_is_wrong(given: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROWN_CATALOGUE", str(given))
    given.write_text("kinds.coup = {}", "utf-8")
    with pytest.raises(SettingsError) as error:
        Settings.load()
    assert "CROWN_CATALOGUE: kinds.coup must have a category and channels" in error.value.problems
    monkeypatch.setenv("CROWN_CATALOGUE", str(given.with_name("none.toml")))
    with pytest.raises(SettingsError) as error:
        Settings.load()
    assert any(one.startswith("CROWN_CATALOGUE: cannot read the file") for one in error.value.problems)
