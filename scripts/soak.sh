#!/usr/bin/env bash
# soak.sh [SECONDS]: a tunnel with strongSwan under new keys every two seconds, traffic, and a link that loses 5 % in the middle third; 1800
# seconds unless told otherwise. Prints a table with a row a minute, and fails when we lose a packet, keep an SA too many, or grow.
# Runs under the test kernel (see kernel.sh), so it needs root.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/packages.sh gcc make zstd iproute2 iputils-ping procps nftables strongswan-charon strongswan-swanctl strongswan-libcharon \
    libcharon-extra-plugins libstrongswan-extra-plugins libstrongswan-standard-plugins
scripts/kernel.sh find >/dev/null
export HANDFAST_SOAK_SECONDS=${1:-1800}
exec cargo test --quiet --locked --package handfast --test peers -- --show-output soak::
