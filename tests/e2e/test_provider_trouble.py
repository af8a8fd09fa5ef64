"""Providers that fail, ask to wait, hang or break off: every delivery still ends, as the channel's policy says.

All troubles are brought about at once and watched to their end; each test then tells one of the stories.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest

from tests.e2e.arrivals import Item, Ledger, Mailbox
from tests.e2e.people import People, Person, data
from tests.e2e.rest import Caller
from tests.e2e.waiting import until

# The longest is a text that may have gone out: Twilio is asked once it must know, then comes a first backoff.
END_LIMIT_S = 60.0
RETRY_AFTER_S = 4


@dataclass
class Story:
    """One notification on one channel in trouble, and what was seen of it."""

    person: Person
    notification_id: str
    seen: list[Item]  # the delivery, each time that its state had changed
    calls: list[Item]  # what the sandbox answered, in order
    mail: list[Item]

    @property
    def states(self) -> list[str]:
        """The states that were seen, without PENDING, which may be over too soon to be seen."""
        return [delivery["state"] for delivery in self.seen if delivery["state"] != "PENDING"]

    @property
    def end(self) -> Item:
        """The delivery at its end."""
        return self.seen[-1]


@dataclass
class Stage:
    """Where stories are played."""

    feed: Caller
    people: People
    ledger: Ledger
    mailbox: Mailbox

    async def provider(self, type: str, **answer: Any) -> Story:
        """The provider of `type` answers so once."""
        person = await self.people.new()
        provider, address = ("fcm", person.device_token) if type == "push" else ("twilio", person.phone)
        async with self.ledger.scripted(provider, address, **answer):
            return await self._play(type, person)

    async def mail_server(self, command: str, **answer: Any) -> Story:
        """The mail server answers so to `command` once."""
        person = await self.people.new()
        await self.mailbox.script(command, person.email, **answer)
        return await self._play("email", person)

    async def _play(self, type: str, person: Person) -> Story:
        sent = await self.feed.send(type, user_id=person.user_id, data=data())
        story = Story(person, sent, [], [], [])

        async def look() -> Item:
            found = await self.feed.look(sent)
            # At most one; none in the instant before it is dispatched.
            for delivery in found["deliveries"]:
                if not story.seen or story.seen[-1]["state"] != delivery["state"]:
                    story.seen.append(delivery)
            return found

        await until(look, lambda found: found["status"] == "DONE", END_LIMIT_S)
        story.calls = await self.ledger.entries(kind="all", notification_id=sent)
        story.mail = await self.mailbox.messages(notification_id=sent)
        return story


TROUBLES: dict[str, Callable[[Stage], Awaitable[Story]]] = {
    "push 503": lambda stage: stage.provider("push", status=503),
    "push hangs": lambda stage: stage.provider("push", hang=True),
    "push breaks off": lambda stage: stage.provider("push", reset="after"),
    "push is refused": lambda stage: stage.provider("push", status=400),
    "sms asks to wait": lambda stage: stage.provider(
        "sms", status=429, headers={"Retry-After": str(RETRY_AFTER_S)}
    ),
    "sms 500": lambda stage: stage.provider("sms", status=500),
    "sms 500 but sent": lambda stage: stage.provider("sms", status=500, effect=True),
    "sms is refused": lambda stage: stage.provider("sms", status=400),
    "mail later": lambda stage: stage.mail_server("RCPT", reply="451 later"),
    "mail breaks off": lambda stage: stage.mail_server("DATA", drop=True),
    "mail is refused": lambda stage: stage.mail_server("RCPT", reply="550 no such person"),
}


@pytest.fixture(scope="module")
async def stories(feed: Caller, people: People, ledger: Ledger, mailbox: Mailbox) -> dict[str, Story]:
    """Every trouble, at its end."""
    stage = Stage(feed, people, ledger, mailbox)
    told = await asyncio.gather(*(play(stage) for play in TROUBLES.values()))
    return dict(zip(TROUBLES, told, strict=True))


def seconds_between(first: Item, second: Item) -> float:
    moments = [datetime.fromisoformat(call["time"]) for call in (first, second)]
    return (moments[1] - moments[0]).total_seconds()


def test_a_failure_is_retried(stories: dict[str, Story]) -> None:
    story = stories["push 503"]
    assert story.states == ["RETRYING", "DELIVERED_TO_PROVIDER"]
    waiting = story.seen[-2]
    assert (waiting["attempts"], waiting["reason"]) == (1, "UNAVAILABLE")
    assert waiting["due_time"] > waiting["update_time"]
    assert story.end["attempts"] == 2
    assert "due_time" not in story.end
    assert [call["status"] for call in story.calls] == [503, 200]


def test_a_wish_to_wait_is_honoured(stories: dict[str, Story]) -> None:
    story = stories["sms asks to wait"]
    assert story.states == ["RETRYING", "DELIVERED_TO_PROVIDER"]
    assert [call["status"] for call in story.calls] == [429, 201]
    assert RETRY_AFTER_S <= seconds_between(*story.calls) < RETRY_AFTER_S + 4
    # The provider's wish is no failure of ours.
    assert story.end["attempts"] == 1


def test_a_push_without_answer_is_sent_again(stories: dict[str, Story]) -> None:
    story = stories["push hangs"]
    assert story.states == ["RETRYING", "DELIVERED_TO_PROVIDER"]
    assert len(story.calls) == 2


def test_a_push_that_broke_off_is_sent_again(stories: dict[str, Story]) -> None:
    story = stories["push breaks off"]
    assert story.end["state"] == "DELIVERED_TO_PROVIDER"
    # Twice at the provider, which shows one message: both carry the same ids.
    assert [call["kind"] for call in story.calls] == ["effect", "effect"]
    assert len({call["delivery_id"] for call in story.calls}) == 1


@pytest.mark.parametrize("trouble", ["push is refused", "sms is refused"])
def test_a_final_no_is_final(stories: dict[str, Story], trouble: str) -> None:
    story = stories[trouble]
    assert story.states == ["FAILED"]
    assert story.end["attempts"] == 1
    assert story.end["reason"]
    assert len(story.calls) == 1


def test_a_text_that_was_not_sent_is_sent_again(stories: dict[str, Story]) -> None:
    story = stories["sms 500"]
    assert story.states == ["RETRYING", "DELIVERED_TO_PROVIDER"]
    assert [call["status"] for call in story.calls] == [500, 201]
    assert story.end["attempts"] == 2


def test_a_text_that_was_sent_is_not_repeated(stories: dict[str, Story]) -> None:
    story = stories["sms 500 but sent"]
    assert story.states == ["DELIVERED_TO_PROVIDER"]
    (call,) = story.calls
    assert (call["kind"], call["status"]) == ("effect", 500)
    assert story.end["provider_message_id"] == call["message_id"]


def test_a_mail_goes_by_the_other_provider(stories: dict[str, Story]) -> None:
    story = stories["mail later"]
    assert story.states == ["RETRYING", "DELIVERED_TO_PROVIDER"]
    assert story.end["provider"] == "sendgrid"
    assert [call["recipient"] for call in story.calls] == [story.person.email]
    assert story.mail == []


def test_a_mail_that_broke_off_is_sent_again(stories: dict[str, Story]) -> None:
    story = stories["mail breaks off"]
    assert story.end["state"] == "DELIVERED_TO_PROVIDER"
    assert (len(story.mail), len(story.calls)) == (1, 1)
    assert story.mail[0]["delivery_id"] == story.calls[0]["delivery_id"]


def test_a_mailbox_that_does_not_exist(stories: dict[str, Story]) -> None:
    story = stories["mail is refused"]
    assert story.states == ["FAILED"]
    assert (story.mail, story.calls) == ([], [])
