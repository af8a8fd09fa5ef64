#!/usr/bin/env bash
# Checks the documents: links, and the pages that are made from the code.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PWD/.venv/bin:$PATH

python tools/links.py
python tools/calls_page.py --check
python -m tools.metrics_page --check
python -m tools.dashboards --check
