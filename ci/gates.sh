#!/usr/bin/env bash
# The positive gates, on any machine: null benchmark, ladder, performance gate, storm, sustained mix. Packs, summary and junit.xml
# are in results/ci afterwards. Options go to `rig ci` (`--quick` makes it short). The exit code is the verdict (README).
#
# PostgreSQL: the server that RIG_PG_DSN names. Where it is not set, the rig starts its own.
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${RIG:-.venv/bin/rig}" ci --out results/ci "$@"
