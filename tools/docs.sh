#!/usr/bin/env bash
# Checks the documents: links, the pages that are made from the code, and the site that they make together.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PWD/.venv/bin:$PATH

tools/check_packages.sh
python tools/links.py
python -m tools.calls_page --check
python -m tools.access_page --check
python -m tools.errors_page --check
python -m tools.openapi --check
python -m tools.metrics_page --check
python -m tools.limits_page --check
python -m tools.dashboards --check
python -m tools.reliability_page --check
python -m tools.licences --check
python -m tools.retention_page --check
python -m tools.claims
python -m tools.floors

# Its warnings are errors, and all that is shown; with --quiet it would count none. What MkDocs says of its own next
# version is no warning about the pages.
NO_MKDOCS_2_WARNING=1 mkdocs build --strict 2>&1 | { grep -v '^INFO' || true; }
