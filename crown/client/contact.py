"""Where and how to reach a person."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from crown.notification.v1 import contact_service_pb2 as pb


@dataclass(frozen=True, slots=True)
class Contact:
    """Where and how to reach a person; what is not known is empty."""

    email: str = ""
    phone: str = ""
    locale: str = ""
    time_zone: str = ""

    @classmethod
    def of(cls, answer: pb.GetContactResponse | pb.UpdateContactResponse) -> Contact:
        """The contact of an answer."""
        return cls(answer.email, answer.phone, answer.locale, answer.time_zone)

    def message(self) -> pb.Contact:
        """The contact as the contract has it."""
        return pb.Contact(**asdict(self))
