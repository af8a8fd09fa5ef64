"""Which template a mail is made with, in which language, and what it says then. Stored templates go before
built-in ones, and are rendered elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from crown.notification.v1.template_service_pb2 import Template
from crown.rendering import Links
from services.email.templates import builtin, languages
from services.email.templates.compiled import Compiled
from services.email.templates.renderers import Renderers
from services.email.templates.stored import StoredTemplates, texts
from services.email.templates.text import NOT_FOUND, Rendered, TemplateError, Text

# Seconds for which a process uses what it has read: as long as a new version may take until every mail has it.
FRESH_S = 3.0
_KEPT_MOST = 500


@dataclass(frozen=True, slots=True)
class Chosen:
    """A template in one language. `version` is 0 for a built-in one."""

    template_id: str
    version: int
    locale: str
    text: Text
    # Written by others than us.
    foreign: bool


class Library:
    """All templates. Without `stored` there are the built-in ones."""

    def __init__(
        self,
        stored: StoredTemplates | None = None,
        renderers: Renderers | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stored = stored
        self._renderers = renderers
        self._clock = clock
        # By name, the least recently read first: until when it counts, and what is or will be read.
        self._kept: OrderedDict[str, tuple[float, asyncio.Task[Template | None]]] = OrderedDict()

    async def choose(self, template_id: str, kind: str, locale: str) -> Chosen:
        """The template that is asked for, else the one of the kind, else the plain one, in the language for
        `locale`. Raises TemplateError where the one that is asked for is not there, and PyMongoError."""
        for name in [template_id] if template_id else [kind, builtin.PLAIN]:
            if name and (found := await self._named(name, locale)):
                return found
        raise TemplateError(NOT_FOUND)

    async def render(self, chosen: Chosen, values: Mapping[str, Any], links: Links) -> Rendered:
        """What the template says. Raises TemplateError and RenderersBusy."""
        given = {**values, "locale": chosen.locale}
        if not chosen.foreign:
            return _compiled(chosen.template_id, chosen.locale).render(given, links)
        assert self._renderers is not None
        return await self._renderers.render(chosen.text, given, links)

    def forget(self, template_id: str) -> None:
        """What was read of a template counts no more."""
        self._kept.pop(template_id, None)

    async def _named(self, name: str, locale: str) -> Chosen | None:
        found = await self._active(name) if self._stored else None
        return of_stored(found, locale) if found else of_builtin(name, locale)

    async def _active(self, name: str) -> Template | None:
        until, task = self._kept.get(name, (0.0, None))
        if task is None or self._clock() >= until or _failed(task):
            assert self._stored is not None
            # One look for all who ask at the same moment, and none of them ends it by leaving.
            task = asyncio.create_task(self._stored.active(name), name=f"template {name}")
            self._kept[name] = (self._clock() + FRESH_S, task)
            if len(self._kept) > _KEPT_MOST:
                self._kept.popitem(last=False)
        return await asyncio.shield(task)


def of_stored(template: Template, locale: str) -> Chosen:
    """A stored template in the language for `locale`."""
    there = texts(template)
    best = languages.best(locale, there, template.default_locale)
    return Chosen(template.template_id, template.version, best, there[best], foreign=True)


def of_builtin(name: str, locale: str) -> Chosen | None:
    """The built-in template of this name; None where there is none."""
    found = builtin.all_builtin().get(name)
    if found is None:
        return None
    best = languages.best(locale, found.texts, builtin.DEFAULT_LANGUAGE)
    return Chosen(name, 0, best, found.texts[best], foreign=False)


def _failed(task: asyncio.Task[Template | None]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


@cache
def _compiled(name: str, language: str) -> Compiled:
    return Compiled(builtin.all_builtin()[name].texts[language])
