#!/usr/bin/env bash
# The negative controls: every gate against seeded defects of service, instrument, evidence, diagnosis, crowd and storms. A gate
# that cannot turn red proves nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${RIG:-.venv/bin/rig}" prove --out results/prove "$@"
