"""Writes the OpenAPI document, which the gateway serves and docs/openapi.yaml leads to, and its page. With --check it
compares instead."""

from __future__ import annotations

import sys

from tools.calls_page import ROOT, compiled
from tools.made import keep
from tools.openapi.document import document, written
from tools.openapi.page import page

WEB = ROOT / "gateway" / "web"


def main(arguments: list[str]) -> int:
    """Writes both, or compares them."""
    found = document(compiled())
    files = {WEB / "openapi.yaml": written(found), WEB / "openapi.html": page(found)}
    return keep(files, "protos/", "tools.openapi", arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
