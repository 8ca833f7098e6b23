#!/usr/bin/env bash
# The negative controls: `rig prove` seeds defects, and each must turn its own gates red. A gate that cannot turn red proves nothing.
# Install the extra `locust` first: without it the defects of locust runs cannot be tried, and this ends in 3.
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${RIG:-.venv/bin/rig}" prove --out results/prove "$@"
