#!/usr/bin/env bash
# Makes the pack in results/example anew: a short run of everything, about a minute. Use a quiet machine.
# It writes the pack's digest into results/README.md. tests/evidence/test_example.py checks that the two agree, and that the
# pack names no path of this machine.
set -euo pipefail
cd "$(dirname "$0")/.."
rig=$(realpath "${RIG:-.venv/bin/rig}")
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT

# Run in a directory of its own: the command line is kept in the pack, and should be one that anybody can type.
(cd "$made" && "$rig" run --steps 50 -n 1500 --out results)
digest=$(sha256sum "$made"/results/*/SHA256SUMS | cut -d ' ' -f 1)
"$rig" check "$made"/results/* --digest "$digest" > /dev/null
rm -rf results/example
mv "$made"/results/* results/example
sed -i "s/--digest [0-9a-f]\{64\}/--digest $digest/" results/README.md
echo "results/example: $(du -sk --apparent-size results/example | cut -f 1) KiB, sha256 $digest"
