"""What a digest says."""

from __future__ import annotations

from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st

from crown import validation
from crown.notification.v1.ingest_service_pb2 import SendNotificationRequest
from services.ingest.digest.content import LINES_MOST, SHOWN_MOST, Item, compose

ANN = Item("Ann liked your photo", "", "/photos/1")
BEN = Item("", "Ben  wrote:\n\nhello", "/photos/2")
text = st.text(st.characters(blacklist_categories=["Cc", "Cs"], blacklist_characters="\u2028\u2029"))


def test_one_item_reads_as_it_is() -> None:
    data = compose([ANN], 1, "de")
    assert (data.title, data.message, data.action_url) == (ANN.title, "", "/photos/1")
    assert not data.extra.fields


def test_several_are_named_and_counted() -> None:
    data = compose([ANN, BEN], 2, "en-GB")
    assert data.title == "2 updates for you"
    assert data.message == "Ann liked your photo\nBen wrote: hello"
    assert MessageToDict(data.extra) == {
        "count": 2.0,
        "more": "",
        "items": [
            {"title": "Ann liked your photo", "message": ""},
            {"title": "Ben wrote: hello", "message": ""},
        ],
    }


def test_what_is_not_named_is_counted_in_the_language_of_the_person() -> None:
    data = compose([ANN] * 20, 45, "de")
    assert data.title == "45 Neuigkeiten für dich"
    assert data.message.splitlines()[-1] == f"und {45 - LINES_MOST} weitere"
    assert data.extra["more"] == f"und {45 - SHOWN_MOST} weitere"
    assert len(MessageToDict(data.extra)["items"]) == SHOWN_MOST


@given(st.lists(st.builds(Item, text, text.filter(bool)), min_size=2, max_size=30), st.integers(0, 10_000))
def test_whatever_the_items_say_it_can_be_sent(items: list[Item], more: int) -> None:
    data = compose(items, len(items) + more, "en")
    assert data.ByteSize() < 16 << 10
    assert not validation.violations(SendNotificationRequest(user_id="ann", data=data))
