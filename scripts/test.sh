#!/usr/bin/env bash
# Everything that must pass: unit tests, known answers, simulation, and interop with strongSwan, Libreswan and OpenIKED.
# It ends with what was run and, by name, what could not be.
set -uo pipefail
cd "$(dirname "$0")/.."

# Without root nothing can be installed: the tests that miss something say so, and are listed at the end.
scripts/packages.sh gcc make openssl unzip xz-utils zstd mmdebstrap iproute2 iputils-ping procps nftables tcpdump tshark \
    strongswan-charon strongswan-swanctl strongswan-pki strongswan-libcharon \
    libcharon-extra-plugins libstrongswan-extra-plugins libstrongswan-standard-plugins || [ "$(id -u)" -ne 0 ] || exit 1

# Peers that have folders of their own. Where the mirror does not have them, their tests say so.
[ "$(id -u)" -ne 0 ] || scripts/peers.sh get || true

log=$(mktemp)
trap 'rm -f "$log"' EXIT
# A hundred thousand simulated worlds; `cargo test` alone tells ten thousand.
export HANDFAST_SEEDS=${HANDFAST_SEEDS:-100000}
cargo test --workspace --locked --no-fail-fast -- --show-output 2>&1 | tee "$log" |
    grep --line-buffered -E '^(   Compiling handfast|     Running|   Doc-tests|test result|error)'
status=${PIPESTATUS[0]}

if [ "$status" -ne 0 ]; then
    echo "--- what failed ---"
    sed -n '/^failures:/,/^test result/p; /^error/,/^$/p' "$log"
fi
count() { grep -E '^test result' "$log" | awk -v field="$1" '{n += $field} END {print n + 0}'; }
echo
grep -hE '^(SUMMARY|SEEDS): ' "$log" | sort -u
if grep -q 'NOT RUN: ' "$log"; then
    echo "not run on this machine:"
    grep -hoE 'NOT RUN: .*' "$log" | sort | uniq -c
fi
if grep -qE '^test .* \.\.\. ignored' "$log"; then
    echo "not run, as too long for every time:"
    grep -hE '^test .* \.\.\. ignored' "$log" | sort
fi
# Each row of the corpus' tables has a test that ran and passed, or a reason in proof.toml.
for table in scenarios vulns; do
    cargo xtask "$table" --brief --log "$log" || status=1
done
echo "$(count 4) passed, $(count 6) failed, $(count 8) skipped"
exit "$status"
