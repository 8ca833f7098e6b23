#!/usr/bin/env bash
# The curated pack in results/example, made anew: a short run of everything, about a minute, on a quiet machine. The digest
# in results/README.md follows; tests/evidence/test_example.py holds the two together and finds a path of this machine.
set -euo pipefail
cd "$(dirname "$0")/.."
rig=$(realpath "${RIG:-.venv/bin/rig}")
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT

# From a directory of its own: the command line stands in the pack, and is one that anybody can type.
(cd "$made" && "$rig" run --steps 50 -n 1000 --out results)
digest=$(sha256sum "$made"/results/*/SHA256SUMS | cut -d ' ' -f 1)
"$rig" check "$made"/results/* --digest "$digest" > /dev/null
rm -rf results/example
mv "$made"/results/* results/example
sed -i "s/--digest [0-9a-f]\{64\}/--digest $digest/" results/README.md
echo "results/example: $(du -sk --apparent-size results/example | cut -f 1) KiB, sha256 $digest"
