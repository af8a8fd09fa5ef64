"""The page about rights and the manifests say what the tables say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import rights_page


def test_page_and_manifests_are_what_the_tables_give() -> None:
    assert rights_page.main(["--check"]) == 0


@pytest.mark.parametrize("path", rights_page.files(), ids=lambda path: path.name)
def test_one_that_grants_more_is_seen(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = rights_page.files()
    widened = (
        texts[path].replace("crown.delivery.sms", "crown.delivery.>").replace("find, update", "find, remove")
    )
    widened = widened.replace('"$JS.API.STREAM.CREATE.*"', '"$JS.API.>"')
    assert widened != texts[path]
    monkeypatch.setattr(rights_page, "files", lambda: {path: widened})
    assert rights_page.main(["--check"]) == 1


def test_a_file_without_the_place_is_refused() -> None:
    with pytest.raises(ValueError, match="no place for users"):
        rights_page.filled("users: []\n", {"users": rights_page.nats_users})
