"""People's phones, as one provider of text messages reaches them: what they text goes to the gateway, and what that
answers comes back to them."""

from __future__ import annotations

import re
from typing import Protocol
from xml.sax.saxutils import unescape

from stack.sandbox.callback import Request
from stack.sandbox.ledger import Draft, Kind, Ledger, Query
from stack.sandbox.opt_outs import OptOuts
from stack.sandbox.postman import Postman

_REPLY = re.compile(r"<Message>(.*?)</Message>", re.DOTALL)
_NUMBER = "+15005550006"


class Line(Protocol):
    """What writes the provider's call about a text."""

    def inbound(self, number: str, to: str, text: str) -> Request:
        """The call that brings `text`."""


class Phone:
    """The phones of everybody. Without a line texts go no further than to the provider."""

    def __init__(
        self, provider: str, stopped: OptOuts, line: Line | None, ledger: Ledger, postman: Postman
    ) -> None:
        self.stopped = stopped
        self._provider = provider
        self._line = line
        self._ledger = ledger
        self._postman = postman

    async def text(self, number: str, to: str, text: str) -> tuple[int, list[str]]:
        """A person texts. The gateway's status, 0 where it is not there, and the texts that it answers with."""
        self.stopped.hear(number, text)
        if self._line is None:
            return 0, []
        called = to or self._called_last(number)
        status, body = await self._postman.post(self._line.inbound(number, called, text))
        replies = [unescape(found) for found in _REPLY.findall(body)] if status == 200 else []
        for reply in replies:
            draft = Draft(recipient=number, sender=called, text=reply)
            self._ledger.record(Kind.EFFECT, self._provider, draft, status, b"null")
        return status, replies

    def _called_last(self, number: str) -> str:
        found, _ = self._ledger.page(Query(provider=self._provider, recipient=number))
        return next((entry.sender for entry in reversed(found) if entry.sender.startswith("+")), _NUMBER)
