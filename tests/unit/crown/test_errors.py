"""Classes, reasons and their facts say the same: what a program raises is in error_reason.proto, and the reverse."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from crown import errors, problem
from crown.errors import CrownError, Unavailable
from crown.notification.v1 import error_reason_pb2
from crown.notification.v1.error_reason_pb2 import ErrorReason, ErrorRetry

ROOT = Path(__file__).parents[3]
VALUES = {value.name.removeprefix("ERROR_REASON_"): value for value in ErrorReason.DESCRIPTOR.values}
FACTS = {
    name: value.GetOptions().Extensions[error_reason_pb2.error]
    for name, value in VALUES.items()
    if value.GetOptions().HasExtension(error_reason_pb2.error)
}
CLASSES = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, CrownError)
}
# What the transcoder makes of a gRPC code.
HTTP = {3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409, 12: 501, 13: 500, 14: 503, 16: 401}


def made() -> Iterator[str]:
    """The reason of each error that the code makes, and of each that the gateway has."""
    for folder in ("crown", "services"):
        for path in (ROOT / folder).rglob("*.py"):
            if path.parts[-2] != "v1" and "client" not in path.parts:
                yield from made_in(ast.parse(path.read_text()))
    rows = yaml.safe_load((ROOT / "gateway" / "envoy.yaml").read_text())["x-tables"]["errors"]
    for row in rows:
        yield row["reason"]
        yield row.get("grpc_reason", row["reason"])


def made_in(tree: ast.AST) -> Iterator[str]:
    """The reason of each error that is made in `tree`."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        # StoreUnavailable(…), errors.StoreUnavailable(…), InvalidRequest.of(…)
        names = [part.id for part in ast.walk(node.func) if isinstance(part, ast.Name)]
        names += [part.attr for part in ast.walk(node.func) if isinstance(part, ast.Attribute)]
        for name in CLASSES.keys() & set(names):
            given = [word.value for word in node.keywords if word.arg == "reason"]
            yield from (
                word.value for word in given if isinstance(word, ast.Constant) and isinstance(word.value, str)
            )
            if not given:
                yield CLASSES[name].reason


@pytest.mark.parametrize("kind", CLASSES.values(), ids=CLASSES)
def test_a_class_has_the_code_of_its_reason(kind: type[CrownError]) -> None:
    assert kind.code.value[0] == problem.code(kind.reason)


@pytest.mark.parametrize("name", FACTS)
def test_http_says_what_the_code_becomes(name: str) -> None:
    facts = FACTS[name]
    assert HTTP[facts.code] in facts.http_statuses
    assert facts.retry != ErrorRetry.ERROR_RETRY_UNSPECIFIED
    assert facts.action.endswith(".")


@pytest.mark.parametrize("kind", [k for k in CLASSES.values() if issubclass(k, Unavailable)], ids=str)
def test_what_says_when_to_come_back_may_be_called_again(kind: type[CrownError]) -> None:
    assert FACTS[kind.reason].retry == ErrorRetry.ERROR_RETRY_LATER


def test_every_reason_is_said_by_somebody_and_nothing_else_is() -> None:
    assert set(made()) == set(FACTS)


def test_what_has_no_facts_is_not_sent_any_more() -> None:
    old = {name for name, value in VALUES.items() if value.GetOptions().deprecated}
    assert VALUES.keys() - FACTS.keys() == old | {"UNSPECIFIED"}


def test_a_reason_that_is_not_there_has_no_code() -> None:
    for name in ("NOTHING", "UNSPECIFIED", "NO_ADDRESS"):
        with pytest.raises(ValueError, match=name):
            problem.code(name)
