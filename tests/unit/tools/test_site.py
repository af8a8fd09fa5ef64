"""The site of the documents: every page is in its navigation, and what the site does not have is no link in it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import yaml

from stack.settings import ROOT
from tools import calls_page
from tools.site_links import on_page_markdown


@pytest.mark.parametrize(
    ("page", "text", "expected"),
    [
        (
            "email.md",
            "see [smtp.py](../services/email/smtp/provider.py).",
            "see smtp.py (`services/email/smtp/provider.py`).",
        ),
        ("index.md", "[README](../README.md#measured)", "README (`README.md`)"),
        ("index.md", "[crown/access.py](../crown/access.py)", "crown/access.py"),
        ("adr/0001-bus.md", "[delivery](../delivery.md)", "[delivery](../delivery.md)"),
        ("adr/0001-bus.md", "[bus](../../crown/bus/bus.py)", "bus (`crown/bus/bus.py`)"),
        (
            "index.md",
            "[words](words.md#route) ![x](console.png)",
            "[words](words.md#route) ![x](console.png)",
        ),
    ],
)
def test_links_out_of_the_documents_become_paths(page: str, text: str, expected: str) -> None:
    assert on_page_markdown(text, page=SimpleNamespace(file=SimpleNamespace(src_uri=page))) == expected


def test_every_decision_is_in_the_navigation() -> None:
    navigation = yaml.safe_load((ROOT / "mkdocs.yml").read_text().replace("!!", ""))["nav"]
    (decisions,) = (one["Decisions"] for one in navigation if "Decisions" in one)
    assert decisions == sorted(f"adr/{path.name}" for path in (ROOT / "docs" / "adr").glob("0*.md"))


def test_the_table_of_calls_has_each_with_its_path_and_its_rule() -> None:
    text = calls_page.page(calls_page.compiled())
    assert (
        "| `SendNotification` | `POST /api/v1/notifications` | `notifications.send` | Accepts one notification,"
        in text
    )
    assert "| `StreamNotifications` (stream) |  | `notifications.send` |" in text
    assert "the user in `user_id`" in text
