"""A mail server and a browser's push service that hang or fail in the middle of the load: the providers that
test_providers.py does not try. SNS is in neither: it takes no id of ours, so that no checker can tell what it did."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.fault.outage import outage
from tests.fault.site import Site
from tests.fault.suite import Suite
from tests.fault.table import Result

pytestmark = pytest.mark.timeout(240)

TIMEOUT_S = 2.0
# Each browser has a push service of its own, and one that is out stops no other push: so there is no breaker that
# leaves it alone, and each push waits for its own next attempt, longer each time.
CALLS_MOST = 4.0

MAIL: Mapping[str, dict[str, Any]] = {
    "SMTP hangs": {"command": "MAIL", "delay_s": 300},
    "SMTP answers 421": {"command": "MAIL", "reply": "421 4.3.2 Closing for a while"},
}
BROWSERS: Mapping[str, dict[str, Any]] = {
    "Web Push hangs": {"hang": True},
    "Web Push answers 503": {"status": 503, "effect": False},
}


@pytest.fixture(scope="module")
def suite() -> Suite:
    given = {"CROWN_PROVIDER_TIMEOUT_S": f"{TIMEOUT_S:g}", "CROWN_EMAIL_PROVIDERS": "smtp"}
    return Suite(28_800, people=40, browsers=True, given=given)


@pytest.mark.parametrize("name", MAIL)
async def test_a_mail_server_that_is_out_is_waited_for(
    name: str, scene: Site, tmp_path: Path, results: list[Result]
) -> None:
    breaks = partial(scene.script_mailbox, **MAIL[name])
    heals = partial(scene.script_mailbox, clear=True)
    await outage(name, "email", breaks, heals, scene, tmp_path, results)


@pytest.mark.parametrize("name", BROWSERS)
async def test_a_push_service_of_browsers_that_is_out_is_waited_for(
    name: str, scene: Site, tmp_path: Path, results: list[Result]
) -> None:
    breaks = partial(scene.script, "web_push", BROWSERS[name])
    await outage(name, "push", breaks, partial(scene.heal, "web_push"), scene, tmp_path, results, CALLS_MOST)
