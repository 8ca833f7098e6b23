#!/usr/bin/env bash
# The negative controls: every gate against seeded defects of service, instrument, evidence, diagnosis, crowd and storms. A gate
# that cannot turn red proves nothing: without the extra `locust`, which the crowd's defects need, this ends in 3.
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${RIG:-.venv/bin/rig}" prove --out results/prove "$@"
