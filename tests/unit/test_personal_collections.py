"""A second line behind the access rules: what is kept of people is reached through few modules, and what those offer
to the rest names the person. Somebody who forgets a rule still has to say whose data they want."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Erasing and exporting one person goes through all there is of them.
EVERYTHING_OF_ONE = "services/ingest/people/"
# Each collection of addresses, choices, keys and marks of people, and the modules that may touch it.
MODULES = {
    "contacts": {
        "crown/recipients.py",
        # These read time zones, of whom they have in hand, and nothing else: see below.
        "services/ingest/clock/clock.py",
        "services/ingest/dispatch/facts.py",
        "services/ingest/preferences/service.py",
    },
    "devices": {"crown/recipients.py"},
    "people": {"crown/people.py", "services/ingest/dispatch/history.py"},
    "preferences": {"crown/preferences.py"},
    "broadcast_marks": {"crown/broadcasts.py", "services/ingest/inbox/broadcast_marks.py"},
    "members": {"crown/groups.py"},
    "suppressions": {"crown/suppressions.py"},
    "erasures": {"crown/erasures.py"},
}
ZONES_ONLY = MODULES["contacts"] - {"crown/recipients.py"}
# Who may name a collection by a variable: stores of several channels, indexes, and dead letters, which say theirs.
BY_VARIABLE = {
    "crown/ledger.py",
    "crown/store.py",
    "services/ingest/books/books.py",
    "services/ingest/books/sweep.py",
    "services/ingest/dead/replay.py",
    "services/ingest/dead/undertaker.py",
    "services/ingest/webhook/desk.py",
}
# What answers people and what is asked for them: each method names the person, but for these.
REPOSITORIES = {
    "crown/recipients.py": {
        "put_device": "the device has its person",
        "forget_devices": "providers say that tokens are no more, and know no person",
    },
    "crown/preferences.py": {},
    "crown/people.py": {},
    "services/ingest/inbox/marking.py": {},
    "services/ingest/inbox/broadcast_marks.py": {},
    "services/ingest/inbox/entries.py": {},
    "services/ingest/inbox/listing.py": {"page": "the request that the rule was applied to"},
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for folder in ("crown", "services"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "_pb2" not in path.name:
                yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))


def is_database(node: ast.expr) -> bool:
    """Whether this is a database, as all of this code calls it: `db`, `self._db`, `store.db`."""
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name in {"db", "_db"}


def reached(tree: ast.Module) -> Iterator[str]:
    """The collections that a module reaches for; `*` where it is a variable."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_database(node.value):
            yield node.attr
        elif isinstance(node, ast.Subscript) and is_database(node.value):
            yield str(node.slice.value) if isinstance(node.slice, ast.Constant) else "*"
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr" and is_database(node.args[0]):
            yield "*"


def test_collections_of_people_are_reached_in_few_places() -> None:
    found: dict[str, set[str]] = defaultdict(set)
    for name, tree in modules():
        if not name.startswith(EVERYTHING_OF_ONE):
            for collection in reached(tree):
                found[collection].add(name)
    assert {collection: found[collection] for collection in MODULES} == MODULES
    assert found["*"] == BY_VARIABLE
    assert "get_collection" not in found


def test_whoever_needs_a_time_zone_reads_no_address() -> None:
    """They look up people whom they have in hand, and only this one field."""
    for name, tree in modules():
        if name not in ZONES_ONLY:
            continue
        calls = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Attribute)
            and node.func.value.attr == "_contacts"
        ]
        assert calls, name
        for call in calls:
            where, fields = call.args[0], ast.literal_eval(call.args[1])
            assert isinstance(where, ast.Dict), name
            assert [key.value for key in where.keys if isinstance(key, ast.Constant)] == ["_id"], name
            assert fields == {"time_zone": 1}, name


@pytest.mark.parametrize("name", REPOSITORIES)
def test_what_they_offer_names_the_person(name: str) -> None:
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
    methods = [
        method
        for kind in tree.body
        if isinstance(kind, ast.ClassDef)
        for method in kind.body
        if isinstance(method, ast.AsyncFunctionDef) and not method.name.startswith("_")
    ]
    nameless = {
        method.name
        for method in methods
        if not {"user_id", "user_ids"} & {one.arg for one in (*method.args.args, *method.args.kwonlyargs)}
    }
    assert methods
    assert nameless == set(REPOSITORIES[name])


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("db.contacts.find({})", ["contacts"]),
        ("self._db.devices", ["devices"]),
        ("store.db['people']", ["people"]),
        ("self._store.db[name]", ["*"]),
        ("store.db.get_collection('people')", ["get_collection"]),
        ("getattr(db, name)", ["*"]),
        ("self._rows.find({})", []),
    ],
)
def test_what_reaches_is_noticed(code: str, found: list[str]) -> None:
    assert list(reached(ast.parse(code))) == found
