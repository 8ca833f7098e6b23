#!/usr/bin/env bash
# The positive gates, on any machine: null gate, ladder, perf gate, storm, sustained mix. Packs, summary and junit.xml are
# left in results/ci. Options go to `rig ci` (`--quick` for a short one). The exit code is the verdict's (README).
#
# PostgreSQL: the server of RIG_PG_DSN where that is set, else one that the rig brings along and starts itself.
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${RIG:-.venv/bin/rig}" ci --out results/ci "$@"
