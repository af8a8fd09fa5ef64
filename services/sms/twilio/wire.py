"""The HTTP client that Twilio's SDK calls: the SDK's own has no time limit at all."""

from __future__ import annotations

import base64
import logging
from typing import Any
from urllib.parse import urlencode

from twilio.http import AsyncHttpClient
from twilio.http.response import Response

from crown.http import Http


class TwilioWire(AsyncHttpClient):  # type: ignore[misc]
    """Sends what the SDK has built through `http`."""

    def __init__(self, http: Http) -> None:
        super().__init__(logging.getLogger("twilio"), True)
        self._http = http

    async def request(
        self,
        method: str,
        uri: str,
        params: dict[str, object] | None = None,
        data: dict[str, object] | None = None,
        headers: dict[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,
        allow_redirects: bool = False,
    ) -> Response:
        """As the SDK calls it; time limit and redirects are the session's. Raises CallBroken."""
        del timeout, allow_redirects
        together = {**(headers or {}), **_basic(auth)}
        if method == "POST":
            answer = await self._http.post(uri, together, urlencode(data or {}, doseq=True).encode())
        else:
            answer = await self._http.get(uri, together, {k: str(v) for k, v in (params or {}).items()})
        return Response(answer.status, answer.body.decode(errors="replace"), answer.headers)


def _basic(auth: tuple[str, str] | None) -> dict[str, Any]:
    if auth is None:
        return {}
    return {"Authorization": f"Basic {base64.b64encode(':'.join(auth).encode()).decode()}"}
