"""The token endpoint, asked by google-auth itself and with assertions that it would never make."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
import requests
from google.auth.exceptions import RefreshError
from google.auth.transport.requests import Request
from google.oauth2.service_account import Credentials

from stack.sandbox import oauth
from stack.sandbox.oauth import Account, Tokens

if TYPE_CHECKING:
    from tests.unit.stack.sandbox.conftest import Sandbox

SCOPES = ["https://www.googleapis.com/auth/firebase.messaging"]


async def refreshed(sandbox: Sandbox, **changes: str) -> Any:
    info = {**sandbox.account, "token_uri": sandbox.url + "/token", **changes}
    read: Any = Credentials.from_service_account_info
    credentials = read(info, scopes=SCOPES)
    with requests.Session() as session:
        await asyncio.to_thread(credentials.refresh, Request(session))
    return credentials


async def test_google_auth_gets_a_token_that_sends(sandbox: Sandbox) -> None:
    credentials = await refreshed(sandbox)
    assert credentials.valid
    status, _ = await sandbox.push({"token": "device-1"}, token=credentials.token)
    assert status == 200


async def test_a_token_is_no_entry_in_the_ledger(sandbox: Sandbox) -> None:
    await sandbox.token()
    assert await sandbox.entries(kind="all") == []


async def test_google_auth_with_another_key_is_refused(sandbox: Sandbox, other_key: str) -> None:
    with pytest.raises(RefreshError, match="invalid_grant"):
        await refreshed(sandbox, private_key=other_key)


BAD_CLAIMS: dict[str, dict[str, Any]] = {
    "unknown key id": {"kid": "other"},
    "no key id": {"kid": ""},
    "another issuer": {"iss": "eve@example.org"},
    "another audience": {"aud": "https://example.org/token"},
    "no audience": {"aud": None},
    "expired": {"iat": 1_000_000_000},
    "from the future": {"iat": 4_000_000_000},
    "too long": {"exp": 5_000_000_000},
    "times that are no numbers": {"exp": "soon"},
}


@pytest.mark.parametrize("claims", BAD_CLAIMS.values(), ids=BAD_CLAIMS.keys())
async def test_a_bad_assertion_is_refused(sandbox: Sandbox, claims: dict[str, Any]) -> None:
    status, body = await sandbox.token(**claims)
    assert (status, body["error"]) == (401, "invalid_grant")
    assert body["error_description"]
    assert [e["status"] for e in await sandbox.entries(kind="refusal", provider="oauth")] == [401]


async def test_another_key_is_refused(sandbox: Sandbox, other_key: str) -> None:
    assert (await sandbox.token(key=other_key))[0] == 401


@pytest.mark.parametrize("scope", ["", "https://www.googleapis.com/auth/calendar"])
async def test_a_scope_that_may_not_send_is_refused(sandbox: Sandbox, scope: str) -> None:
    status, body = await sandbox.token(scope=scope)
    assert (status, body["error"]) == (400, "invalid_scope")


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"grant_type": oauth.GRANT}, 400, "invalid_request"),
        ({"grant_type": oauth.GRANT, "assertion": "a.b.c"}, 401, "invalid_grant"),
        ({"grant_type": oauth.GRANT, "assertion": "nonsense"}, 401, "invalid_grant"),
    ],
)
async def test_a_bad_form_is_refused(sandbox: Sandbox, form: dict[str, str], status: int, error: str) -> None:
    answer, body = await sandbox.call("POST", "/token", data=form)
    assert (answer, body["error"]) == (status, error)


def test_tokens_outlive_a_restart_but_not_their_hour(sandbox: Sandbox) -> None:
    assert sandbox.settings.service_account is not None
    account = Account.read(sandbox.settings.service_account)
    now = time.time()
    token = Tokens(account, lambda: now).issue()
    again = Account.read(sandbox.settings.service_account)
    assert Tokens(again, lambda: now + 3_598).reason_against(token) is None
    assert Tokens(again, lambda: now + 3_600).reason_against(token) == "ACCESS_TOKEN_EXPIRED"


@pytest.mark.parametrize("token", ["", "ya29.", "ya29.9999999999.x.y", "x", "ya29..", "ya29.é.ü"])
def test_made_up_tokens_are_no_good(token: str) -> None:
    assert Tokens(None).reason_against(token) == "ACCESS_TOKEN_TYPE_UNSUPPORTED"
