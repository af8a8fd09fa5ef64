"""`crown vapid`: keys that the push service takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.push.web_push.vapid import Vapid, private_key
from stack import keys
from stack.cli import app
from stack.errors import StackError


def printed(*arguments: str) -> dict[str, str]:
    answer = CliRunner().invoke(app, ["vapid", *arguments])
    assert answer.exit_code == 0, answer.output
    return dict(line.split("=", 1) for line in answer.stdout.splitlines())


def test_a_new_pair_each_time() -> None:
    one, other = printed(), printed()
    assert one["CROWN_WEB_PUSH_KEY"] != other["CROWN_WEB_PUSH_KEY"]
    service = Vapid(private_key(one["CROWN_WEB_PUSH_KEY"]), "mailto:ops@crown.example")
    assert one["applicationServerKey"] == service.public_key


def test_the_public_half_of_a_key(tmp_path: Path) -> None:
    pair = printed()
    (tmp_path / "key").write_text(f"{pair['CROWN_WEB_PUSH_KEY']}\n")
    assert printed("--of", str(tmp_path / "key")) == pair


@pytest.mark.parametrize("text", ["", "hush", "*" * 43, "_" * 43])
def test_no_key(text: str) -> None:
    with pytest.raises(StackError, match="no private key"):
        keys.vapid_public_key(text)
