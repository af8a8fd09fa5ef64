"""PersonService: erases people, and exports what is held about them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from google.api.httpbody_pb2 import HttpBody

from crown import logs
from crown.auth import caller
from crown.clock import timestamp
from crown.notification.v1 import person_service_pb2 as pb
from services.ingest.people.export import Exporter
from services.ingest.people.finisher import Finisher

log = logs.get(__name__)

# Seconds that an answer waits for the first pass; what is left of it then is done later.
_LIMIT_S = 8.0


class PersonService:
    """The servicer."""

    def __init__(self, finisher: Finisher, exporter: Exporter) -> None:
        self._finisher = finisher
        self._exporter = exporter

    async def ErasePerson(self, request: pb.ErasePersonRequest, _context: Any) -> pb.ErasePersonResponse:
        """Destroys the key, and does of the rest what there is time for."""
        who = caller()
        mark = await self._finisher.begin(request.user_id)
        log.info(
            "erasure_begun", erasure=mark.id, by="self" if who.use == "user" else f"{who.use}:{who.subject}"
        )
        try:
            async with asyncio.timeout(_LIMIT_S):
                await self._finisher.go_on(mark)
        except TimeoutError:
            log.info("erasure_goes_on", erasure=mark.id)
        return pb.ErasePersonResponse(erase_time=timestamp(mark.time))

    async def ExportPerson(
        self, request: pb.ExportPersonRequest, _context: Any
    ) -> AsyncGenerator[HttpBody, None]:
        """One document, in parts."""
        who = caller()
        log.info("person_exported", by="self" if who.use == "user" else f"{who.use}:{who.subject}")
        async with aclosing(self._exporter.written(request.user_id)) as parts:
            async for part in parts:
                yield HttpBody(content_type="application/json", data=part)
