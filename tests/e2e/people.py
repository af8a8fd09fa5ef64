"""People to notify. Their addresses are made up here and appear nowhere else, so that one in a log is a leak."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.e2e.rest import Caller, Rest

MAIL_DOMAIN = "heron.example"
PHONE_PREFIX = "+1202556"
DEVICE_PREFIX = "heron-device-"
# Stands in every text that tests send.
WORD = "Fischreiher"
# As a person would write it, with what is often broken on the way.
TITLE = f"{WORD} wrote to you"
MESSAGE = f"You have a new message from {WORD}"


def data(**more: object) -> dict[str, object]:
    """What a notification says, for tests that do not care."""
    return {"title": TITLE, "message": MESSAGE, "action_url": "/messages/123", **more}


@dataclass(frozen=True)
class Person:
    """Somebody with an address on every channel."""

    user_id: str
    email: str
    phone: str
    device_token: str
    caller: Caller


@dataclass
class People:
    """Makes people whom no other test knows."""

    rest: Rest
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    async def new(self, device_token: str = "") -> Person:
        """Somebody with e-mail, phone and one device."""
        stranger = self.stranger()
        number = next(self._numbers)
        person = Person(
            stranger.user_id,
            f"{stranger.user_id}@{MAIL_DOMAIN}",
            f"{PHONE_PREFIX}{number:04d}",
            f"{device_token or DEVICE_PREFIX}{stranger.user_id}",
            stranger.caller,
        )
        path = f"/api/v1/users/{person.user_id}"
        contact = {"email": person.email, "phone": person.phone}
        assert (await person.caller.put(f"{path}/contact", contact)).status == 200
        await self.add_device(person, person.device_token)
        return person

    async def add_device(self, person: Person, token: str) -> None:
        """Registers another device."""
        answer = await person.caller.post(f"/api/v1/users/{person.user_id}/devices", {"token": token})
        assert answer.status == 200, answer

    def stranger(self) -> Person:
        """Somebody without any address."""
        user_id = f"u{secrets.token_hex(6)}"
        return Person(user_id, "", "", "", self.rest.user(user_id))

    async def prefer(self, person: Person, categories: Mapping[str, Mapping[str, bool]]) -> None:
        """Sets the person's preferences."""
        path = f"/api/v1/users/{person.user_id}/notification-preferences"
        assert (await person.caller.put(path, {"categories": categories})).status == 200
