#!/usr/bin/env bash
# Everything that must pass: unit tests, known answers, simulation, and interop with strongSwan.
# It ends with what was run and, by name, what could not be.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/packages.sh gcc make iproute2 iputils-ping procps nftables tcpdump tshark \
    strongswan-charon strongswan-swanctl strongswan-pki strongswan-libcharon \
    libcharon-extra-plugins libstrongswan-extra-plugins libstrongswan-standard-plugins

log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
cargo test --workspace --locked --no-fail-fast -- --nocapture >"$log" 2>&1 || status=$?

# The whole log only when something failed; else one line a test program.
if [ $status -ne 0 ]; then cat "$log"; else grep -E '^(test result|     Running|   Doc-tests)' "$log" || true; fi

passed=$(grep -E '^test result' "$log" | awk '{n += $4} END {print n + 0}')
failed=$(grep -E '^test result' "$log" | awk '{n += $6} END {print n + 0}')
ignored=$(grep -E '^test result' "$log" | awk '{n += $8} END {print n + 0}')
echo
grep -hoE '^(SUMMARY|SEEDS): .*' "$log" | sort -u || true
if grep -q 'NOT RUN: ' "$log"; then
    echo "not run on this machine:"
    grep -hoE 'NOT RUN: .*' "$log" | sort | uniq -c
fi
echo "$passed passed, $failed failed, $ignored skipped"
exit $status
