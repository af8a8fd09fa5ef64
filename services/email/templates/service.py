"""TemplateService: templates are stored, tried and looked at."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from google.protobuf.json_format import ParseDict

from crown.auth import caller
from crown.catalogue import KINDS
from crown.door import Check, Context
from crown.errors import InvalidRequest, NotReady, Violation
from crown.notification.v1 import template_service_pb2 as pb
from crown.notification.v1.notification_pb2 import NotificationData
from crown.notification.v1.types_pb2 import Category
from crown.outcome import Discard
from crown.provider import Attempt
from crown.recipients import Destination
from services.email.message import Composer
from services.email.templates import builtin
from services.email.templates.library import Chosen, Library, of_builtin, of_stored
from services.email.templates.renderers import Renderers, RenderersBusy
from services.email.templates.stored import StoredTemplates, as_proto, not_found, texts
from services.email.templates.text import TOO_LARGE, Flaw, TemplateError, Text
from services.email.templates.values import values

# In previews, in place of what differs from one mail to the next.
EXAMPLE = "example"
_TO = "somebody@example.com"


class TemplateService:
    """The servicer. What it previews is made by the composer that makes every mail."""

    def __init__(
        self, stored: StoredTemplates, library: Library, renderers: Renderers, composer: Composer
    ) -> None:
        self._stored = stored
        self._library = library
        self._renderers = renderers
        self._composer = composer

    def checks(self) -> Mapping[str, Check]:
        """What the door checks beside the rules in the protos, by method."""
        return {"PutTemplate": _of_put, "PreviewTemplate": self._of_preview}

    async def PutTemplate(self, request: pb.PutTemplateRequest, _context: Context) -> pb.PutTemplateResponse:
        """Stores a template, once each of its texts compiles and says something."""
        template = pb.Template(
            template_id=request.template_id,
            description=request.description,
            default_locale=request.default_locale or builtin.DEFAULT_LANGUAGE,
            locales=request.locales,
            create_by=caller().subject,
        )
        violations: list[Violation] = []
        # One after the other, so that a renderer is left for the mails.
        for tag, text in texts(template).items():
            violations += await self._tried(request.template_id, tag, text)
        if violations:
            raise InvalidRequest.of(violations)
        if_version = request.if_version if request.HasField("if_version") else None
        put = await self._stored.put(template, if_version)
        self._library.forget(request.template_id)
        return pb.PutTemplateResponse(template=put)

    async def GetTemplate(self, request: pb.GetTemplateRequest, _context: Context) -> pb.GetTemplateResponse:
        """One version of a template."""
        wanted = request.version if request.HasField("version") else None
        return pb.GetTemplateResponse(template=await self._version(request.template_id, wanted))

    async def ListTemplates(
        self, _request: pb.ListTemplatesRequest, _context: Context
    ) -> pb.ListTemplatesResponse:
        """All templates in the version in use."""
        stored = {template.template_id: template for template in await self._stored.all_active()}
        built_in = {name: _builtin(name, active=True) for name in builtin.NAMES}
        found = [template for _, template in sorted((built_in | stored).items())]
        for template in found:
            template.ClearField("locales")
        return pb.ListTemplatesResponse(templates=found)

    async def ListTemplateVersions(
        self, request: pb.ListTemplateVersionsRequest, _context: Context
    ) -> pb.ListTemplateVersionsResponse:
        """The versions of one template; the built-in one is the oldest."""
        found = await self._stored.versions(request.template_id)
        if request.template_id in builtin.NAMES:
            active = not any(template.active for template in found)
            found.append(_builtin(request.template_id, active=active))
            found[-1].ClearField("locales")
        if not found:
            raise not_found(request.template_id)
        return pb.ListTemplateVersionsResponse(templates=found)

    async def ActivateTemplateVersion(
        self, request: pb.ActivateTemplateVersionRequest, _context: Context
    ) -> pb.ActivateTemplateVersionResponse:
        """Uses a version again."""
        template = await self._version(request.template_id, request.version)
        await self._stored.activate(request.template_id, request.version)
        self._library.forget(request.template_id)
        template.active = True
        return pb.ActivateTemplateVersionResponse(template=template)

    async def DeleteTemplate(
        self, request: pb.DeleteTemplateRequest, _context: Context
    ) -> pb.DeleteTemplateResponse:
        """Removes a stored template."""
        await self._stored.delete(request.template_id)
        self._library.forget(request.template_id)
        return pb.DeleteTemplateResponse()

    async def PreviewTemplate(
        self, request: pb.PreviewTemplateRequest, _context: Context
    ) -> pb.PreviewTemplateResponse:
        """What would be sent."""
        chosen = await self._chosen(request)
        attempt = self._attempt(request, chosen)
        part = "draft" if request.HasField("draft") else f"locales[{chosen.locale}]"
        links = self._composer.letterhead.unsubscribe
        url = links.url(EXAMPLE, attempt.category) if links else ""
        # Not a link that works: it would unsubscribe whoever has this id.
        url = f"{url.rpartition('/')[0]}/{EXAMPLE}" if url else ""
        try:
            mail = await self._composer.write(attempt, _TO, chosen, url)
        except TemplateError as error:
            raise InvalidRequest.of(_violations(part, error)) from None
        except RenderersBusy:
            raise _busy() from None
        if isinstance(mail, Discard):
            raise InvalidRequest.of([Violation(f"{part}.subject", "is not one line", "header.break")])
        return pb.PreviewTemplateResponse(
            subject=mail.subject,
            preheader=mail.preheader,
            html=mail.html,
            text=mail.text,
            headers=mail.headers,
            template_id=chosen.template_id,
            version=chosen.version,
            locale=chosen.locale,
        )

    async def _version(self, template_id: str, version: int | None) -> pb.Template:
        """A version; the one in use where none is named. Raises NotFound."""
        active = await self._stored.active_version(template_id)
        wanted = active if version is None else version
        if wanted == 0 and template_id in builtin.NAMES:
            return _builtin(template_id, active=active == 0)
        found = await self._stored.version(template_id, wanted) if wanted else None
        if found is None:
            raise not_found(template_id)
        found.active = wanted == active
        return found

    async def _chosen(self, request: pb.PreviewTemplateRequest) -> Chosen:
        if request.HasField("draft"):
            text = texts(pb.Template(locales={"draft": request.draft}))["draft"]
            locale = request.locale or builtin.DEFAULT_LANGUAGE
            return Chosen(request.template_id, 0, locale, text, foreign=True)
        name = request.template_id
        if not name:
            # As for a mail: the kind's, else the plain one; read anew, since somebody looks for what was just put.
            active = await self._stored.active_version(request.kind) if request.kind else 0
            name = request.kind if active or request.kind in builtin.NAMES else builtin.PLAIN
        template = await self._version(name, request.version if request.HasField("version") else None)
        if template.version:
            return of_stored(template, request.locale)
        found = of_builtin(name, request.locale)
        assert found is not None
        return found

    def _attempt(self, request: pb.PreviewTemplateRequest, chosen: Chosen) -> Attempt:
        """An attempt that says what is to be previewed."""
        kind = request.kind or (chosen.template_id if chosen.template_id in KINDS else "")
        data = request.data if request.HasField("data") else self._example(kind)
        return Attempt(
            delivery_id=EXAMPLE,
            notification_id=EXAMPLE,
            user_id=EXAMPLE,
            number=1,
            kind=kind,
            category=request.category or (KINDS[kind].category if kind in KINDS else Category.ACTIVITY),
            data=data,
            destinations=(Destination("email", _TO),),
            create_time=datetime.now(UTC),
            expire_time=None,
            template_id=request.template_id,
            locale=chosen.locale,
        )

    def _example(self, kind: str) -> NotificationData:
        found = dict(builtin.examples().get(kind) or builtin.examples()[builtin.PLAIN])
        if "image_url" in found:
            found["image_url"] = f"{self._composer.letterhead.links.public_url}{found['image_url']}"
        return ParseDict(found, NotificationData())

    async def _tried(self, template_id: str, tag: str, text: Text) -> list[Violation]:
        """What is wrong with one text of a template: found by compiling it, and by rendering an example. That the
        example lacks a variable of the template's own is no fault of its."""
        kind = template_id if template_id in KINDS else ""
        letterhead = self._composer.letterhead
        given = values(
            self._example(kind),
            letterhead.links,
            kind=kind,
            category=KINDS[kind].category if kind else Category.ACTIVITY,
            sender_name=letterhead.name,
            unsubscribe_url="",
        )
        try:
            await self._renderers.render(text, {**given, "locale": tag}, letterhead.links)
        except TemplateError as error:
            if error.flaws and error.flaws[0].missing:
                return []
            return _violations(f"locales[{tag}]", error)
        except RenderersBusy:
            raise _busy() from None
        return []

    def _of_preview(self, request: pb.PreviewTemplateRequest) -> list[Violation]:
        found = _of_text("draft", request.draft) if request.HasField("draft") else []
        return [*found, *self._composer.letterhead.links.problems(request.data)]


def _of_put(request: pb.PutTemplateRequest) -> list[Violation]:
    default = request.default_locale or builtin.DEFAULT_LANGUAGE
    found = []
    if request.locales and default not in request.locales:
        found.append(Violation("default_locale", f"is not one of the locales: {default}", "template.locale"))
    if len({tag.lower() for tag in request.locales}) < len(request.locales):
        found.append(Violation("locales", "names a language twice", "template.locale"))
    return found + [
        violation for tag, text in request.locales.items() for violation in _of_text(f"locales[{tag}]", text)
    ]


def _of_text(place: str, text: pb.TemplateText) -> list[Violation]:
    found = []
    if bool(text.mjml) == bool(text.html):
        found.append(Violation(f"{place}.mjml", "exactly one of mjml and html is wanted", "template.body"))
    if not text.subject.strip():
        found.append(Violation(f"{place}.subject", "is required", "template.subject"))
    return found


def _violations(place: str, error: TemplateError) -> list[Violation]:
    flaws = error.flaws or (Flaw("", _WITHOUT_FLAW.get(error.reason, "ended its renderer")),)
    return [
        Violation(f"{place}.{flaw.part}" if flaw.part else place, str(flaw), error.reason) for flaw in flaws
    ]


_WITHOUT_FLAW = {
    "TEMPLATE_TIMEOUT": "takes longer than a second",
    TOO_LARGE: "takes too much memory",
}


def _busy() -> NotReady:
    return NotReady("everything that renders templates is busy; retry")


def _builtin(name: str, *, active: bool) -> pb.Template:
    found = builtin.all_builtin()[name]
    return pb.Template(
        template_id=name,
        active=active,
        description=found.description,
        default_locale=builtin.DEFAULT_LANGUAGE,
        locales=as_proto(found.texts),
    )
