#!/usr/bin/env bash
# Copy into the repository of your service, beside its rig.toml. Judges that service; the exit code is the verdict (README).
#
#   ci/your-service.sh              doctor, then the whole run
#   ci/your-service.sh --no-chaos   options go to `rig run`
#
# Needs: the service running, or [launch] in rig.toml; RIG_TRUTH_DSN, and the secrets that rig.toml names, in the environment.
# RIG_BASELINE names a pack of an earlier run: the job then fails too where the new run is worse.
# In results/rig afterwards: the pack with report.html, and junit.xml and pr.md for the CI.
set -euo pipefail
rig=${RIG:-rig}
out=results/rig
rm -rf "$out"
mkdir -p "$out"

"$rig" doctor
code=0
# Six trials of S8: with fewer pairs nothing can be claimed about its time.
"$rig" run --out "$out" ${RIG_BASELINE:+--trials 6} "$@" || code=$?
for pack in "$out"/*/; do
  cp "$pack"junit.xml "$pack"pr.md "$out"/ || true
  if [ -n "${RIG_BASELINE:-}" ] && [ "$code" -eq 0 ]; then
    "$rig" compare --fail-on worse "$RIG_BASELINE" "$pack" || code=$?
  fi
done
exit "$code"
