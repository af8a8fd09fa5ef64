"""ContactService: where a person can be reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from crown import addresses, zones
from crown.clock import timestamp
from crown.errors import Violation
from crown.notification.v1 import contact_service_pb2 as pb
from crown.recipients import Contact, Recipients


class ContactService:
    """The servicer."""

    def __init__(self, recipients: Recipients) -> None:
        self._recipients = recipients

    def checks(self) -> Mapping[str, Callable[[Any], Sequence[Violation]]]:
        """What the door checks beside the rules in the protos, by method."""
        return {"UpdateContact": _problems}

    async def GetContact(self, request: pb.GetContactRequest, _context: Any) -> pb.GetContactResponse:
        """What is known."""
        found = await self._recipients.contact(request.user_id)
        return pb.GetContactResponse(user_id=request.user_id, **_fields(found))

    async def UpdateContact(
        self, request: pb.UpdateContactRequest, _context: Any
    ) -> pb.UpdateContactResponse:
        """Replaces what is known. Raises Stale where it has changed since the etag."""
        given = request.contact
        contact = Contact(
            email=_normal(addresses.email, given.email),
            phone=_normal(addresses.phone, given.phone),
            locale=given.locale,
            time_zone=given.time_zone,
            etag=given.etag,
        )
        made = await self._recipients.replace_contact(request.user_id, contact)
        return pb.UpdateContactResponse(user_id=request.user_id, **_fields(made))


def _fields(contact: Contact) -> dict[str, Any]:
    return {
        "email": contact.email,
        "phone": contact.phone,
        "locale": contact.locale,
        "time_zone": contact.time_zone,
        "update_time": timestamp(contact.update_time),
        "etag": contact.etag,
    }


def _normal(check: Callable[[str, str], str | Violation], value: str) -> str:
    """The normal form of an address that the door has let in; empty stays empty."""
    found = check(value, "") if value else ""
    assert isinstance(found, str)
    return found


def _problems(request: pb.UpdateContactRequest) -> list[Violation]:
    contact = request.contact
    found: list[Violation] = []
    for check, value, field in (
        (addresses.email, contact.email, "contact.email"),
        (addresses.phone, contact.phone, "contact.phone"),
    ):
        problem = check(value, field) if value else ""
        if isinstance(problem, Violation):
            found.append(problem)
    if zone := zones.problem(contact.time_zone, "contact.time_zone"):
        found.append(zone)
    return found
