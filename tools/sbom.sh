#!/usr/bin/env bash
# Writes what the image is made of, from the lock that it is installed from: build/sbom.cdx.json, the same bytes for the
# same lock. The program checks it by CycloneDX's schema.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PWD/.venv/bin:$PATH

tools/check_packages.sh
mkdir -p build
# Its warning is that a lock says nothing of who needs whom.
PYTHONWARNINGS=ignore cyclonedx-py requirements requirements/runtime.txt --pyproject pyproject.toml \
  --mc-type application --output-reproducible --output-file build/sbom.cdx.json
echo "sbom: build/sbom.cdx.json"
