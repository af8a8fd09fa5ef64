"""The HTTP session that the AWS SDK calls, and a client that knows what it is told and nothing of the AWS_* variables
and files around it. Imported only where SNS is configured: the SDK takes a while to load."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache, partial
from typing import Any
from xml.etree import ElementTree

from aiobotocore.awsrequest import AioAWSResponse  # type: ignore[import-untyped]
from aiobotocore.config import AioConfig  # type: ignore[import-untyped]
from aiobotocore.session import get_session  # type: ignore[import-untyped]
from botocore.awsrequest import AWSPreparedRequest  # type: ignore[import-untyped]
from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES, ConstantProvider  # type: ignore[import-untyped]

from crown.http import Answer, Http

# What SNS answers is one of these, and holds what it is worth; anything else comes from somebody between us and it.
_SPEAKS = {"PublishResponse": "PublishResult", "ErrorResponse": "Error"}


class Garbled(Exception):
    """The answer is none of SNS, or half of one: the SDK raises all sorts of errors for such, without the status."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(str(answer.status))
        self.answer = answer


class SnsWire:
    """Sends what the SDK has built and signed through `http`, once. What the SDK would have made of its own pool,
    proxies and time limits is left aside."""

    def __init__(self, http: Http, **_of_the_sdk: Any) -> None:
        self._http = http

    async def send(self, request: AWSPreparedRequest) -> AioAWSResponse:
        """As the SDK calls it. Raises CallBroken and Garbled."""
        headers = {name: _text(value) for name, value in request.headers.items()}
        answer = await self._http.post(request.url, headers, _bytes(request.body))
        if not _is_spoken(answer.body):
            raise Garbled(answer)
        return AioAWSResponse(request.url, answer.status, answer.headers, _Body(answer.body))

    async def __aenter__(self) -> SnsWire:
        return self

    async def __aexit__(self, *_error: object) -> None:
        """`http` is closed by who made it."""

    async def close(self) -> None:
        """As above."""


class _Body:
    """A body that has come whole already."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def read(self) -> bytes:
        return self._content


@cache
def _session() -> Any:
    """One for all, since it keeps the description of the service once it is read."""
    session = get_session()
    store = session.get_component("config_store")
    for name, (_, _, default, _) in BOTOCORE_DEFAUT_SESSION_VARIABLES.items():
        store.set_config_provider(name, ConstantProvider(default))
    for name in ("config_file", "credentials_file"):
        store.set_config_provider(name, ConstantProvider(os.devnull))
    return session


def client(http: Http, key: tuple[str, str], region: str, url: str) -> Any:
    """A context manager that opens a client of SNS at `url`."""
    return _session().create_client(
        "sns",
        region_name=region,
        endpoint_url=url,
        aws_access_key_id=key[0],
        aws_secret_access_key=key[1],
        config=AioConfig(
            http_session_cls=partial(SnsWire, http),
            retries={"mode": "standard", "total_max_attempts": 1},
            parameter_validation=False,
        ),
    )


def headers(metadata: Mapping[str, Any]) -> Mapping[str, str]:
    """The headers of an answer, their names in small letters."""
    found: Mapping[str, str] = metadata.get("HTTPHeaders", {})
    return found


def _is_spoken(body: bytes) -> bool:
    try:
        root = ElementTree.fromstring(body)  # noqa: S314 -- as the SDK does; expat bounds entities
    except ElementTree.ParseError:
        return False
    return _SPEAKS.get(_local(root)) in {_local(child) for child in root}


def _local(element: ElementTree.Element) -> str:
    """The element's name without its namespace."""
    return element.tag.rpartition("}")[2]


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _bytes(value: str | bytes | None) -> bytes:
    return value.encode() if isinstance(value, str) else value or b""
