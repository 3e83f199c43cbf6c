#!/usr/bin/env bash
# What is too long for every push: whole days with each strongSwan, in some minutes. Needs root and the test kernel (see kernel.sh).
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/kernel.sh find >/dev/null
scripts/peers.sh get
exec cargo test --quiet --locked --package handfast --test peers -- --show-output --ignored --test-threads 2
