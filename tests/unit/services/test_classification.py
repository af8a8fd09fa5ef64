"""Every provider's table, case by case on the wire: expected against observed. `pytest -s` shows the matrix.

An owner of another provider adds a list of cases, and who to send them through."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from crown import lease
from crown.egress import Egress
from crown.outcome import Delivered, Discard, Retry, Snooze, Unknown
from crown.provider import Attempt, Provider
from crown.rendering import Links
from services.email.message import Composer, Letterhead
from services.email.smtp.pool import SmtpPool
from services.email.smtp.provider import Smtp
from services.email.smtp.server import SmtpServer
from tests.unit.services import wire
from tests.unit.services.cases import LATE, SMTP, SMTP_LATE, Kind
from tests.unit.services.certificate import made
from tests.unit.services.matrix import Matrix
from tests.unit.services.speakers import Speaker, port_of, speakers
from tests.unit.services.wire import Wire

Make = Callable[..., Attempt]
# More than any answer takes, and less than what comes too late.
PATIENT_S, HASTY_S = 4.0, 1.0
# Where there is nobody: surely not sent.
NOWHERE = {"nobody listens": "http://127.0.0.1:1", "no such host": "https://nowhere.invalid"}


@pytest.fixture
def links() -> Links:
    return Links("https://crown.example", ("crown.example",))


@pytest.fixture
async def everybody(sandbox: Any, links: Links) -> list[Speaker]:
    return speakers(sandbox.account, sandbox.sns_key, await sandbox.subscription(), links)


@asynccontextmanager
async def closing(provider: Provider) -> AsyncIterator[Provider]:
    yield provider
    await provider.close()


class Trial:
    """Sends through one of them, and enters what comes of it."""

    def __init__(self, matrix: Matrix, speaker: Speaker, attempt: Make) -> None:
        self._matrix = matrix
        self._speaker = speaker
        self._attempt = attempt

    async def answers(self, sandbox: Any, raw: Wire) -> None:
        """All that its provider may answer, in time."""
        origin = sandbox.url if self._speaker.played else raw.url
        async with closing(self._speaker.make(origin, PATIENT_S, port_of(origin))) as provider:
            for case, answer, expected in self._speaker.cases:
                await self._order(answer, sandbox, raw)
                await self._send(provider, origin, case, expected)

    async def late(self, sandbox: Any, raw: Wire) -> None:
        """Answers that are not waited for."""
        origin = sandbox.url if self._speaker.played else raw.url
        async with closing(self._speaker.make(origin, HASTY_S, port_of(origin))) as provider:
            for case, answer, expected in LATE:
                await self._order(answer, sandbox, raw)
                await self._send(provider, origin, case, expected)

    async def breaks(self, raw: Wire) -> None:
        """Answers that are none, or that break off."""
        async with closing(self._speaker.make(raw.url, PATIENT_S, port_of(raw.url))) as provider:
            for case, reply, expected in self._speaker.breaks:
                raw.reply = reply
                await self._send(provider, raw.url, case, expected)

    async def too_late(self, raw: Wire) -> None:
        """A claim that others may have taken over by now."""
        raw.reply = wire.Reply()
        before = raw.calls
        with lease.until(lease.clock() - 0.001):
            await self.at(raw.url, "the lease is over", Snooze, port_of(raw.url))
        assert raw.calls == before

    async def at(self, origin: str, case: str, expected: Kind, egress: Egress | None = None) -> None:
        """One call of `origin`, which may be called unless `egress` says otherwise."""
        may = port_of(origin) if egress is None else egress
        async with closing(self._speaker.make(origin, PATIENT_S, may)) as provider:
            await self._send(provider, origin, case, expected)

    async def _order(self, answer: Any, sandbox: Any, raw: Wire) -> None:
        if not self._speaker.played:
            raw.reply = wire.reply(answer)
            return
        await sandbox.script(provider=self._speaker.name, clear=True)
        await sandbox.script(provider=self._speaker.name, answer=dict(answer), times=1)

    async def _send(self, provider: Provider, origin: str, case: str, expected: Kind) -> None:
        found = await provider.send(self._attempt(self._speaker.to(origin)))
        self._matrix.add(self._speaker.name, case, expected, found)


async def http(matrix: Matrix, everybody: Sequence[Speaker], sandbox: Any, attempt: Make) -> None:
    """Whoever speaks HTTP."""
    trials = [Trial(matrix, speaker, attempt) for speaker in everybody]
    async with wire.opened() as raw:
        for trial in trials:
            await trial.answers(sandbox, raw)
            await trial.breaks(raw)
            await trial.too_late(raw)
            for case, origin in NOWHERE.items():
                await trial.at(origin, case, Retry)
        # All wait at the same time.
        await asyncio.gather(*(trial.late(sandbox, raw) for trial in trials))


async def smtp(matrix: Matrix, mailbox: Any, letters: Composer, attempt: Make) -> None:
    """A mail server."""

    async def send(host: str, port: int, case: str, expected: Kind, limit_s: float = PATIENT_S) -> None:
        pool = SmtpPool(SmtpServer(host, port), "crown.example", 2)
        async with closing(Smtp(pool, letters, limit_s)) as provider:
            matrix.add("smtp", case, expected, await provider.send(attempt("ann@example.org")))

    for cases, limit_s in ((SMTP, PATIENT_S), (SMTP_LATE, HASTY_S)):
        for case, order, expected in cases:
            if order:
                await mailbox.script(**order, times=1)
            await send("127.0.0.1", mailbox.smtp_port, case, expected, limit_s)
    await send("127.0.0.1", 1, "nobody listens", Retry)
    await send("nowhere.invalid", 25, "no such host", Retry)


async def certificates(
    matrix: Matrix, everybody: Sequence[Speaker], folder: Path, attempt: Make, patch: pytest.MonkeyPatch
) -> None:
    """Servers whose certificate is good, or has expired. Whoever vouches for it is trusted, so that nothing but its
    time speaks against it."""
    for case, days, expected in (("a good certificate", 1, Delivered), ("an expired certificate", -1, Retry)):
        file = made(folder, days)
        patch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", ssl.create_default_context(cafile=file))
        async with wire.opened(file) as raw:
            for speaker in everybody:
                raw.reply = next(reply for name, reply, _ in speaker.breaks if name == "taken, then reset")
                await Trial(matrix, speaker, attempt).at(raw.url, case, expected)
            assert raw.calls == (len(everybody) if expected is Delivered else 0)


async def smtp_certificates(
    matrix: Matrix, letters: Composer, folder: Path, attempt: Make, patch: pytest.MonkeyPatch
) -> None:
    """The same for a mail server; that a good one is taken stands in test_smtp_tls.py."""
    file = made(folder, -1)
    patch.setenv("SSL_CERT_FILE", str(file))
    async with wire.opened(file) as raw:
        pool = SmtpPool(SmtpServer("127.0.0.1", raw.port, tls=True), "crown.example")
        async with closing(Smtp(pool, letters, PATIENT_S)) as provider:
            found = await provider.send(attempt("ann@example.org"))
        matrix.add("smtp", "an expired certificate", Retry, found)
        assert raw.calls == 0


async def addresses(matrix: Matrix, everybody: Sequence[Speaker], attempt: Make) -> None:
    """Addresses that come from outside, and may not be called."""
    for speaker in everybody:
        if speaker.name in {"web_push", "webhook"}:
            trial = Trial(matrix, speaker, attempt)
            await trial.at("https://push.example.org", "not on the list", Discard, Egress.of(["example.com"]))
            # A name that leads to this machine. The webhook's table has a row for it, the other takes it for nobody.
            private = Discard if speaker.name == "webhook" else Retry
            await trial.at("https://localhost", "a private address", private, Egress.of(["localhost"]))


async def test_what_is_made_of_each_answer(
    everybody: list[Speaker],
    sandbox: Any,
    mailbox: Any,
    links: Links,
    attempt: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    matrix, letters = Matrix(), Composer(Letterhead("Crown", "notifications@crown.example", links))
    await asyncio.gather(http(matrix, everybody, sandbox, attempt), smtp(matrix, mailbox, letters, attempt))
    await addresses(matrix, everybody, attempt)
    await certificates(matrix, everybody, tmp_path, attempt, monkeypatch)
    await smtp_certificates(matrix, letters, tmp_path, attempt, monkeypatch)
    matrix.check()


def test_a_matrix_that_is_not_diagonal_fails() -> None:
    matrix = Matrix()
    matrix.add("acme", "fine", Delivered, Delivered("m"))
    matrix.check()
    matrix.add("acme", "lost", Unknown, Retry("E"))
    with pytest.raises(AssertionError, match="acme, lost: Unknown was taken for Retry"):
        matrix.check()
