"""What e-mails look like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import grpc

from crown.client.calls import Calls
from crown.notification.v1 import template_service_pb2 as pb
from crown.notification.v1.notification_pb2 import NotificationData
from crown.notification.v1.template_service_pb2_grpc import TemplateServiceStub


class Templates:
    """E-mail templates in versions; version 0 is the built-in one."""

    def __init__(self, channel: grpc.aio.Channel, calls: Calls) -> None:
        self._stub = TemplateServiceStub(channel)
        self._calls = calls

    async def put(
        self,
        template_id: str,
        locales: Mapping[str, pb.TemplateText],
        *,
        default_locale: str = "",
        description: str = "",
        if_version: int | None = None,
    ) -> pb.Template:
        """Stores a new version, which is used from then on. Not tried again where it may have happened: that
        would store another one. Raises Stale where another version than `if_version` is in use."""
        request = pb.PutTemplateRequest(
            template_id=template_id,
            description=description,
            default_locale=default_locale,
            locales=locales,
            if_version=if_version,
        )
        return (await self._calls.unary(self._stub.PutTemplate, request, repeatable=False)).template

    async def get(self, template_id: str, version: int | None = None) -> pb.Template:
        """A version, or the one in use. Raises NotFound."""
        request = pb.GetTemplateRequest(template_id=template_id, version=version)
        return (await self._calls.unary(self._stub.GetTemplate, request)).template

    async def all(self) -> Sequence[pb.Template]:
        """All by name, without their texts."""
        return (await self._calls.unary(self._stub.ListTemplates, pb.ListTemplatesRequest())).templates

    async def versions(self, template_id: str) -> Sequence[pb.Template]:
        """The versions, the newest first, without their texts. Raises NotFound."""
        request = pb.ListTemplateVersionsRequest(template_id=template_id)
        return (await self._calls.unary(self._stub.ListTemplateVersions, request)).templates

    async def activate(self, template_id: str, version: int) -> pb.Template:
        """Uses an earlier version again. Raises NotFound."""
        request = pb.ActivateTemplateVersionRequest(template_id=template_id, version=version)
        return (await self._calls.unary(self._stub.ActivateTemplateVersion, request)).template

    async def delete(self, template_id: str) -> None:
        """Removes all versions; what is not there is removed already."""
        await self._calls.unary(self._stub.DeleteTemplate, pb.DeleteTemplateRequest(template_id=template_id))

    async def preview(
        self,
        template_id: str = "",
        *,
        version: int | None = None,
        draft: pb.TemplateText | None = None,
        data: NotificationData | None = None,
        locale: str = "",
        kind: str = "",
    ) -> pb.PreviewTemplateResponse:
        """What would be sent: of a template, or of a draft that is not stored yet."""
        request = pb.PreviewTemplateRequest(
            template_id=template_id, version=version, draft=draft, data=data, locale=locale, kind=kind
        )
        return await self._calls.unary(self._stub.PreviewTemplate, request)
