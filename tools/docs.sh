#!/usr/bin/env bash
# Checks the documents.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PWD/.venv/bin:$PATH

python tools/links.py
