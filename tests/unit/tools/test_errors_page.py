"""The page of errors is what the protos and the table of closes give."""

from __future__ import annotations

import json
import re

from services.realtime import closecodes
from tools import errors_page
from tools.calls_page import compiled

PAGE = errors_page.PAGE.read_text()


def test_the_page_is_up_to_date() -> None:
    assert errors_page.page(compiled()) == PAGE


def test_every_example_is_json_with_its_reason() -> None:
    found = re.findall(r"^### (\w+)\n\n.+\n\n```json\n(.+)\n```$", PAGE, flags=re.MULTILINE)
    assert found
    assert [json.loads(example)["reason"] for _, example in found] == [name for name, _ in found]


def test_every_close_is_on_it() -> None:
    for close in errors_page.closes():
        assert f"| {close.code} | {close.reason} | {close.when} |" in PAGE
    assert closecodes.TOO_MANY in errors_page.closes()
