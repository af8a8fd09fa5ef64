"""Every call of the OpenAPI document under inputs that are made from it, good ones and bad ones: each answer has a
status, a content type and a shape that the document names, and none is a fault of ours.

A few inputs a call, the same each time; `make openapi` tries many, others each time, and publishes how many."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from gateway.render import HERE
from tests.e2e.rest import Rest
from tests.figures import publish

# Inputs a call.
EXAMPLES = int(os.environ.get("OPENAPI_EXAMPLES", "2"))
DEEP = "OPENAPI_EXAMPLES" in os.environ
LIMIT_S = 20.0
# A person whom the user's token names, so that some calls get past the rule.
ME = "openapi-user"
# It lasts as long as both sides want: see test_event_source.py.
_ENDLESS = "RealtimeService_Stream"
_DOCUMENT = yaml.load((HERE / "web" / "openapi.yaml").read_text(), yaml.CSafeLoader)
_SCHEMA = schemathesis.openapi.from_dict(_DOCUMENT)
_FOUND = [result.ok() for result in _SCHEMA.get_all_operations() if isinstance(result, Ok)]
_CALLS = {one.definition.raw["operationId"]: one for one in _FOUND}
del _CALLS[_ENDLESS]
_LEAK = re.compile(r"Traceback|File \"|pymongo|nats\.|mongodb://|redis://|site-packages|0x[0-9a-f]{8}")


class Tried:
    """What was tried, and how it went."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.undocumented = 0
        self.dropped = 0


@pytest.fixture(scope="module")
def tried() -> Iterator[Tried]:
    found = Tried()
    yield found
    if DEEP:
        faults = sum(count for status, count in found.statuses.items() if status >= 500)
        row = (
            "REST from OpenAPI",
            f"{sum(found.statuses.values()):,}",
            str(faults),
            str(found.undocumented),
            str(found.dropped),
        )
        columns = ("surface", "inputs tried", "5xx", "undocumented answers", "hang or dropped")
        publish("inputs", columns, [row], command="make openapi")


@pytest.fixture
def tokens(rest: Rest) -> list[str | None]:
    """Of a service, a user, an operator, and none. New ones for each call: some end all that were issued before."""
    callers = (rest.service("openapi"), rest.user(ME), rest.operator, rest.nobody)
    return [caller.token for caller in callers]


@pytest.mark.timeout(120 if not DEEP else 1_800)
@pytest.mark.parametrize("name", _CALLS)
def test_every_answer_is_documented(rest: Rest, tokens: list[str | None], tried: Tried, name: str) -> None:
    call = _CALLS[name]
    modes = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    made = st.one_of([call.as_strategy(mode) for mode in modes])
    quiet = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
    phases = [Phase.generate] if not DEEP else [Phase.generate, Phase.shrink]
    with requests.Session() as session:

        @settings(
            max_examples=EXAMPLES * len(tokens),
            deadline=None,
            derandomize=not DEEP,
            database=None,
            suppress_health_check=quiet,
            phases=phases,
        )
        @given(case=made, token=st.sampled_from(tokens), me=st.booleans())
        def attempt(case: Case[Any], token: str | None, me: bool) -> None:
            if me and "user_id" in case.path_parameters:
                case.path_parameters["user_id"] = ME
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            answer(case, session, f"http://{rest.address}", headers, tried)

        attempt()


def answer(
    case: Case[Any], session: requests.Session, address: str, headers: dict[str, str], tried: Tried
) -> None:
    """Sends one request, and holds its answer against the document."""
    try:
        found = case.call(base_url=address, session=session, headers=headers, timeout=LIMIT_S)
    except requests.RequestException:
        tried.dropped += 1
        raise
    tried.statuses[found.status_code] += 1
    assert found.status_code < 500, (case.as_curl_command(), found.text)
    assert not _LEAK.search(found.text)
    checks: Any = [status_code_conformance, content_type_conformance, response_schema_conformance]
    try:
        case.validate_response(found, checks=checks)
    except (Failure, FailureGroup):
        tried.undocumented += 1
        raise
