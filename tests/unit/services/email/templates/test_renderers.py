"""What others wrote is rendered in processes that are killed for what they take, and replaced."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import psutil
import pytest

from services.email.templates import renderers as pool
from services.email.templates.renderer import Done
from services.email.templates.renderers import Renderers
from services.email.templates.text import FAILED, TIMEOUT, TOO_LARGE, Rendered, TemplateError, Text
from tests.unit.services.email.templates.cases import LINKS, SPIN, values

GOOD = "<p>{{ title }}</p>"
# Each join is ten times as long as what it joins.
HUGE = '{% set a = "x" * 10000 %}' + "{{ a|length }}"
for one, next_one in (("a", "b"), ("b", "c"), ("c", "d"), ("d", "e"), ("e", "f")):
    HUGE += f"{{% set {next_one} = [{','.join([one] * 10)}]|join %}}{{{{ {next_one}|length }}}}"


@pytest.fixture(scope="module")
async def renderers() -> AsyncIterator[Renderers]:
    found = Renderers(most=1)
    yield found
    await found.close()


async def render(renderers: Renderers, html: str) -> Rendered:
    return await renderers.render(Text(subject="{{ title }}", html=html), values(title="<b>"), LINKS)


async def gone(process: psutil.Process) -> None:
    """Waits until it runs no more. That it was killed is known at once, that it ended a moment later."""
    with suppress(psutil.NoSuchProcess):
        async with asyncio.timeout(5):
            while process.status() != psutil.STATUS_ZOMBIE:  # noqa: ASYNC110 -- another process
                await asyncio.sleep(0.01)


def process_of(renderers: Renderers) -> psutil.Process:
    (one,) = renderers._running
    return psutil.Process(one.pid)


async def reason(renderers: Renderers, html: str) -> str:
    with pytest.raises(TemplateError) as error:
        await render(renderers, html)
    return error.value.reason


async def test_it_renders(renderers: Renderers) -> None:
    said = await render(renderers, GOOD)
    assert (said.subject, said.html, said.text) == ("<b>", "<p>&lt;b&gt;</p>", "<b>\n")


async def test_a_flaw_is_told_and_costs_nothing(renderers: Renderers) -> None:
    await render(renderers, GOOD)
    before = process_of(renderers).pid
    with pytest.raises(TemplateError) as error:
        await render(renderers, "\n{{ extra.nothing }}")
    assert (error.value.flaws[0].line, error.value.flaws[0].missing) == (2, "nothing")
    assert process_of(renderers).pid == before


async def test_what_never_ends_is_ended_and_the_next_mail_is_fine(renderers: Renderers) -> None:
    await render(renderers, GOOD)
    before = process_of(renderers)
    began = time.process_time(), time.monotonic()
    assert await reason(renderers, SPIN) == TIMEOUT
    ended = time.monotonic()
    assert (await render(renderers, GOOD)).html == "<p>&lt;b&gt;</p>"
    # On a machine that others use as well; alone it takes a second, and then a third of one.
    assert ended - began[1] < 5
    assert time.monotonic() - ended < 5
    await gone(before)


async def test_what_takes_too_much_memory(renderers: Renderers) -> None:
    assert await reason(renderers, HUGE) == TOO_LARGE
    assert (await render(renderers, GOOD)).subject == "<b>"
    assert process_of(renderers).memory_info().rss < 400 << 20


async def test_one_that_gets_no_time_is_replaced(
    renderers: Renderers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that stands still uses no time of the processor, by which it would end itself."""
    await render(renderers, GOOD)
    before = process_of(renderers)
    with monkeypatch.context() as patch:
        patch.setattr(pool, "WALL_MOST_S", 0.5)
        before.suspend()
        assert await reason(renderers, GOOD) == TIMEOUT
    await gone(before)
    assert (await render(renderers, GOOD)).subject == "<b>"


async def test_one_that_was_killed_meanwhile_is_no_fault_of_the_template(renderers: Renderers) -> None:
    await render(renderers, GOOD)
    process_of(renderers).kill()
    assert (await render(renderers, GOOD)).subject == "<b>"


async def test_a_caller_who_leaves_takes_nothing_along(renderers: Renderers) -> None:
    task = asyncio.create_task(render(renderers, SPIN))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await render(renderers, GOOD)).subject == "<b>"


async def test_it_knows_nothing_and_may_nothing(
    renderers: Renderers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CROWN_DATA_KEY", "secret")
    await renderers.close()
    fresh = Renderers(most=1)
    try:
        await render(fresh, GOOD)
        process = process_of(fresh)
        assert set(process.environ()) <= {"PYTHONPATH", "LC_CTYPE"}
        assert process.rlimit(psutil.RLIMIT_NOFILE) == (3, 3)
        assert process.rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
        assert not process.net_connections()
        # A terminal's Ctrl-C is not for it: it ends when we do.
        os.kill(process.pid, signal.SIGINT)
        assert (await render(fresh, GOOD)).subject == "<b>"
    finally:
        await fresh.close()
    assert not psutil.pid_exists(process.pid)


async def test_what_ends_one_renderer_after_the_other_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = Renderers(most=1)
    ask = pool._Renderer.ask

    async def ended(renderer: pool._Renderer, raw: bytes) -> Done:
        # As an os._exit in it would, if there were a way to one.
        os.kill(renderer.pid, signal.SIGKILL)
        return await ask(renderer, raw)

    try:
        with monkeypatch.context() as patch:
            patch.setattr(pool._Renderer, "ask", ended)
            assert await reason(fresh, GOOD) == FAILED
        assert (await render(fresh, GOOD)).subject == "<b>"
    finally:
        await fresh.close()
