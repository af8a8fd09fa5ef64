"""The token that our own calls carry. One that stands in a file is read again: who renews it need not restart us."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from crown import logs

log = logs.get(__name__)

# Seconds between two looks at the file, while there are calls.
LOOK_S = 1.0


class Token:
    """`value` for ever, or what `file` holds at the time; the last good one where it cannot be read."""

    def __init__(self, value: str, file: Path | None, now: Callable[[], float] = time.monotonic) -> None:
        self._value = value
        self._file = file
        self._now = now
        self._looked = now()
        self._readable = True

    async def current(self) -> str:
        """The token to send now; asked before every attempt."""
        if self._file is not None and self._now() - self._looked >= LOOK_S:
            # Before the reading: the others go on with the old one meanwhile.
            self._looked = self._now()
            await self._read(self._file)
        return self._value

    async def _read(self, file: Path) -> None:
        try:
            found = (await asyncio.to_thread(file.read_text, encoding="ascii")).strip()
        except (OSError, UnicodeDecodeError):
            found = ""
        if bool(found) != self._readable:
            self._readable = bool(found)
            log.warning("token_readable" if found else "token_unreadable")
        self._value = found or self._value
