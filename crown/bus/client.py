"""NATS's client, which goes on reading whatever it is sent. By itself it ends its reading for good, and says nothing,
where a message has a header or a subject that it cannot take apart; and the same message comes again after the
reconnect."""

from __future__ import annotations

from nats.aio.client import Client
from nats.aio.msg import Msg


class SturdyClient(Client):
    """Hands out a message without the headers that it cannot read; of a subject that is no UTF-8 what can be read."""

    async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
        try:
            return await super()._process_headers(headers)
        except (IndexError, ValueError):
            return None

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Msg:
        try:
            made: Msg = super()._build_message(sid, subject, reply, data, headers)
        except UnicodeDecodeError:
            words, back = (part.decode(errors="replace").encode() for part in (subject, reply))
            made = super()._build_message(sid, words, back, data, headers)
        return made
