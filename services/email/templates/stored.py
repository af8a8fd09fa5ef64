"""Stored templates: every version a document that never changes, and one for each template that says which
version is in use."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from pymongo import DESCENDING
from pymongo.errors import DuplicateKeyError

from crown.clock import Clock, now
from crown.errors import NotFound, Stale
from crown.notification.v1.template_service_pb2 import Template, TemplateText
from crown.store import Database, Document
from services.email.templates.text import Text

PARTS = ("subject", "preheader", "mjml", "html", "text")
_WITHOUT_TEXTS = {"locales": False}
# How often a version number is tried that somebody else takes at the same moment.
_TRIES = 5


class StoredTemplates:
    """The templates in the store. Raises PyMongoError."""

    def __init__(self, db: Database, clock: Clock = now) -> None:
        self._templates = db.templates
        self._versions = db.template_versions
        self._clock = clock

    async def active_version(self, template_id: str) -> int:
        """The version in use; 0 where none is stored, or the built-in one is used again."""
        row = await self._templates.find_one({"_id": template_id}, {"active": True})
        return int(row["active"]) if row else 0

    async def active(self, template_id: str) -> Template | None:
        """The version in use; None where that is no stored one."""
        version = await self.active_version(template_id)
        return await self.version(template_id, version) if version else None

    async def version(self, template_id: str, version: int) -> Template | None:
        """One version; `active` is not told."""
        row = await self._versions.find_one({"_id": _key(template_id, version)})
        return _template(row) if row else None

    async def all_active(self) -> list[Template]:
        """Every template in the version in use, by name, without texts."""
        rows = self._templates.find({"active": {"$gt": 0}}, {"active": True}).sort("_id")
        keys = [_key(row["_id"], row["active"]) async for row in rows]
        found = self._versions.find({"_id": {"$in": keys}}, _WITHOUT_TEXTS).sort("template_id")
        return [_template(row, active=True) async for row in found]

    async def versions(self, template_id: str) -> list[Template]:
        """All versions, the newest first, without texts."""
        active = await self.active_version(template_id)
        rows = self._versions.find({"template_id": template_id}, _WITHOUT_TEXTS).sort("version", DESCENDING)
        return [_template(row, active=row["version"] == active) async for row in rows]

    async def put(self, template: Template, if_version: int | None) -> Template:
        """Stores a new version and uses it from now on. Raises Stale where another than `if_version` is in use."""
        if if_version is not None and await self.active_version(template.template_id) != if_version:
            raise _stale()
        row = await self._insert(template)
        try:
            await self._use(template.template_id, row["version"], if_version)
        except Stale:
            # Nobody is to use what was refused.
            await self._versions.delete_one({"_id": row["_id"]})
            raise
        return _template(row, active=True)

    async def activate(self, template_id: str, version: int) -> None:
        """Uses a version, which is there, or the built-in one."""
        await self._use(template_id, version, None)

    async def delete(self, template_id: str) -> None:
        """Removes a template with its versions."""
        # In this order: nothing is ever in use that is not there.
        await self._templates.delete_one({"_id": template_id})
        await self._versions.delete_many({"template_id": template_id})

    async def _insert(self, template: Template) -> Document:
        for attempt in range(_TRIES):
            newest = await self._versions.find_one(
                {"template_id": template.template_id}, {"version": True}, sort=[("version", DESCENDING)]
            )
            row = _row(template, (newest["version"] if newest else 0) + 1, self._clock())
            try:
                await self._versions.insert_one(row)
            except DuplicateKeyError:
                if attempt == _TRIES - 1:
                    raise _stale() from None
            else:
                return row
        raise AssertionError("the last try returns or raises")

    async def _use(self, template_id: str, version: int, if_version: int | None) -> None:
        use = {"$set": {"active": version, "update_time": self._clock()}}
        wanted: Document = {"_id": template_id}
        if if_version is not None:
            wanted["active"] = if_version
        try:
            # With 0 there may be no document yet; where there is one with another version, the insert fails.
            found = await self._templates.update_one(wanted, use, upsert=not if_version)
        except DuplicateKeyError:
            raise _stale() from None
        if if_version and not found.matched_count:
            raise _stale()


def texts(template: Template) -> dict[str, Text]:
    """The texts of a template, by language."""
    return {
        tag: Text(**{part: getattr(text, part) for part in PARTS}) for tag, text in template.locales.items()
    }


def as_proto(texts: Mapping[str, Text]) -> dict[str, TemplateText]:
    """The same for the API."""
    return {tag: TemplateText(**{part: getattr(text, part) for part in PARTS}) for tag, text in texts.items()}


def not_found(template_id: str) -> NotFound:
    """There is no such template, or no such version."""
    return NotFound(f"there is no template {template_id}, or no such version of it")


def _stale() -> Stale:
    return Stale("somebody else has stored or activated a version meanwhile; read it and put yours again")


def _key(template_id: str, version: int) -> str:
    return f"{template_id}:{version}"


def _row(template: Template, version: int, time: datetime) -> Document:
    return {
        "_id": _key(template.template_id, version),
        "template_id": template.template_id,
        "version": version,
        "description": template.description,
        "default_locale": template.default_locale,
        "locales": {
            tag: {part: getattr(text, part) for part in PARTS if getattr(text, part)}
            for tag, text in template.locales.items()
        },
        "create_time": time,
        "create_by": template.create_by,
    }


def _template(row: Document, *, active: bool = False) -> Template:
    found = Template(
        template_id=row["template_id"],
        version=row["version"],
        active=active,
        description=row["description"],
        default_locale=row["default_locale"],
        locales={tag: TemplateText(**text) for tag, text in row.get("locales", {}).items()},
        create_by=row["create_by"],
    )
    found.create_time.FromDatetime(row["create_time"])
    return found
