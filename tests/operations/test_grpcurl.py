"""The recipes of docs/operations.md, run with the real grpcurl as they stand, and what each has to show."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stack.control import Stack
from stack.settings import ROOT
from tests.e2e.readme import Block, blocks, run

GRPCURL = ROOT / ".cache" / "bin" / "grpcurl"


@pytest.fixture(scope="module")
def recipes() -> list[Block]:
    return [block for block in blocks((ROOT / "docs" / "operations.md").read_text()) if "call " in block.text]


def objects(text: str) -> list[dict[str, object]]:
    """The JSON objects among what was printed, in order."""
    decoder, found, at = json.JSONDecoder(), [], 0
    while (at := text.find("{", at)) >= 0:
        one, at = decoder.raw_decode(text, at)
        found.append(one)
    return found


@pytest.mark.usefixtures("seeded")
def test_recipes_work_as_they_stand(stack: Stack, recipes: list[Block]) -> None:
    assert GRPCURL.exists(), "tools/go_tools.sh builds it"
    described, health, refused, replayed = run(
        recipes, stack.settings.ports.base, Path(stack.settings.home)
    ).values()
    for words in (
        "crown.notification.v1.DeadLetterService",
        "rpc SendNotification",
        "string idempotency_key",
    ):
        assert words in described
    answers = objects(health)
    assert [one.get("status") for one in answers if "status" in one] == ["SERVING"] * 5
    story = json.dumps(objects(refused))
    assert "21211" in story
    letter, *_, after = objects(replayed)
    assert "21211" in json.dumps(letter)
    (delivery,) = after["notification"]["deliveries"]  # type: ignore[index]
    assert delivery["state"] in {"DELIVERED_TO_PROVIDER", "DELIVERED"}


def test_without_a_token_it_lists_and_does_nothing_else(stack: Stack, recipes: list[Block]) -> None:
    service = "crown.notification.v1.DeadLetterService"
    base, home = stack.settings.ports.base, Path(stack.settings.home)
    refused = Block(1, f"! {GRPCURL} -plaintext localhost:3005 {service}/ListDeadLetters")
    assert "Unauthenticated" in run([refused], base, home)[1]
    assert service in run([Block(1, f"{GRPCURL} -plaintext localhost:3005 list")], base, home)[1]
