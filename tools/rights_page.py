"""Writes what follows from the tables of stack/rights.py: docs/rights.md, and in k8s/dependencies the users of NATS
and the users and roles of MongoDB. With --check it compares instead, and fails where one is not what the tables
give."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from stack import rights
from tools.made import keep

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "rights.md"
NATS_VALUES = ROOT / "k8s" / "dependencies" / "nats-values.yaml"
MONGODB = ROOT / "k8s" / "dependencies" / "mongodb.yaml"
_DATABASE = "crown"
_BEGIN, _END = "# from stack/rights.py: ", "# until here"
_HEAD = """\
# Rights at the stores

Each service has a user of its own at NATS, MongoDB and Valkey, that may do what its code does and nothing else.
Who takes over one process does not get at the work, the words or the keys of another. The tables stand in
`stack/rights.py`; this page, the stack's servers, `k8s/dependencies/nats-values.yaml`,
`k8s/dependencies/mongodb.yaml` and the access list of `k8s/make_secrets.py` are made from them. After a change:
`python -m tools.rights_page`.

- **Only `prepare` makes streams, consumers and indexes.** `python -m services.ingest prepare` runs before the
  first service starts, and with each new version; the stack runs it by itself, also after NATS or MongoDB was
  started anew. A consumer's settings say which subjects it reads, so that who may make one reads what its
  stream holds. A service whose user may not make them looks whether its consumers are there, and does not begin
  where they are not. With a user who may, as with a server that asks nobody who they are, every process makes
  what it needs by itself.
- **Answers go to whom they are for.** At NATS a user hears answers below `_INBOX_<user>.` alone, and may not
  hear those of others. A server of your own has to allow that prefix.
- **What is refused is loud.** NATS says so on the connection: the process logs `bus_forbidden`, counts it in
  `crown_bus_forbidden_total`, and fails at once what waits for the answer. MongoDB and Valkey answer with an
  error.
- **`operator`** may do everything. It is for people and their commands, and no process of the suite has it.
- MongoDB runs no JavaScript (`--noscripting`; `security.javascriptEnabled: false` in a file). Valkey knows no
  user without a password.
- The relay and the filter reach neither NATS nor the stores.

`docker compose up` gives its servers the same users: `python -m stack.users` makes the passwords at the first start
and tells each server its own, in a volume that the others do not see. All processes of the suite are in one container
there, as one user of the machine, whose files hold every password: who takes over one process gets at those of
the others, other than in Kubernetes. After a new version, `docker compose down` and `up`, so that the servers
read their tables anew. Its network is its own, and only port 3005 is published.
"""


def page() -> str:
    """The text of docs/rights.md."""
    parts = [_HEAD, "\n## NATS\n\n| user | publishes | hears |\n| --- | --- | --- |\n"]
    for user, may in rights.NATS.items():
        parts.append(f"| `{user}` | {_codes(may.publish)} | {_codes(may.subscribe)} |\n")
    parts.append("\n## MongoDB\n\n| user | may | collections |\n| --- | --- | --- |\n")
    for user, collections in rights.MONGODB.items():
        for actions, names in _grouped(collections).items():
            parts.append(f"| `{user}` | {', '.join(actions)} | {_codes(names)} |\n")
    parts.append("\n## Valkey\n\n| user | keys | commands |\n| --- | --- | --- |\n")
    for user, keys in rights.VALKEY.items():
        commands = (one.replace("|", " ") for one in dict.fromkeys(keys.commands))
        parts.append(f"| `{user}` | {_codes(keys.patterns)} | {_codes(commands)} |\n")
    return "".join(parts)


def _codes(words: Iterable[str]) -> str:
    return " ".join(f"`{word}`" for word in words)


def _grouped(collections: Mapping[str, rights.Actions]) -> dict[rights.Actions, list[str]]:
    found: dict[rights.Actions, list[str]] = {}
    for name, actions in sorted(collections.items()):
        found.setdefault(actions, []).append(name)
    return found


# -- Kubernetes


def password_variable(user: str) -> str:
    """The variable by which NATS is told a password."""
    return f"{user.upper().replace('-', '_')}_PASSWORD"


def nats_users() -> Iterable[str]:
    """The users, as the chart's values have them."""
    for user, may in rights.NATS.items():
        yield f"- user: {user}"
        yield f"  password: << ${password_variable(user)} >>"
        yield "  permissions:"
        for verb, allowed in (("publish", may.publish), ("subscribe", may.subscribe)):
            yield f"    {verb}:"
            yield "      allow:"
            yield from (f"        - {json.dumps(subject)}" for subject in allowed)


def nats_passwords() -> Iterable[str]:
    """The variables that hold their passwords."""
    for user in rights.NATS:
        source = f"{{valueFrom: {{secretKeyRef: {{name: nats-users, key: {user}}}}}}}"
        yield f"{password_variable(user)}: {source}"


def mongodb_roles() -> Iterable[str]:
    """The roles, as the operator's resource has them."""
    for user in rights.MONGODB:
        yield f"- role: {rights.mongodb_role(user)}"
        yield f"  db: {_DATABASE}"
        yield "  roles: []"
        yield "  privileges:"
        for collection, actions in sorted(rights.MONGODB[user].items()):
            yield f"    - resource: {{db: {_DATABASE}, collection: {collection}}}"
            yield f"      actions: [{', '.join(actions)}]"


def mongodb_users() -> Iterable[str]:
    """The users, each with its role."""
    for user in rights.MONGODB:
        yield f"- name: {user}"
        yield f"  db: {_DATABASE}"
        yield f"  passwordSecretRef: {{name: mongodb-{user}}}"
        yield f"  scramCredentialsSecretName: mongodb-{user}"
        yield f"  roles: [{{name: {rights.mongodb_role(user)}, db: {_DATABASE}}}]"


_PARTS: dict[Path, dict[str, Callable[[], Iterable[str]]]] = {
    NATS_VALUES: {"users": nats_users, "passwords": nats_passwords},
    MONGODB: {"roles": mongodb_roles, "users": mongodb_users},
}


def filled(text: str, parts: Mapping[str, Callable[[], Iterable[str]]]) -> str:
    """`text` with each part between its two comments made anew."""
    for name, make in parts.items():
        found = re.search(rf"^( *){re.escape(_BEGIN + name)}\n.*?^ *{_END}\n", text, re.DOTALL | re.MULTILINE)
        if found is None:
            raise ValueError(f"there is no place for {name}")
        space = found[1]
        lines = "".join(f"{space}{line}\n" for line in make())
        text = text.replace(found[0], f"{space}{_BEGIN}{name}\n{lines}{space}{_END}\n")
    return text


def files() -> dict[Path, str]:
    """Each file with what it has to hold."""
    return {PAGE: page(), **{path: filled(path.read_text("utf-8"), parts) for path, parts in _PARTS.items()}}


def main(arguments: list[str]) -> int:
    """Writes the files, or compares them."""
    return keep(files(), "stack/rights.py", "tools.rights_page", arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
