#!/usr/bin/env bash
# Handfast beside its peers, in one run: see crates/bench. Arguments: handshake, memory, stream (all when none), --json.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/packages.sh gcc make iproute2 iputils-ping procps nftables tcpdump strongswan-charon strongswan-swanctl \
    strongswan-pki strongswan-libcharon libcharon-extra-plugins libstrongswan-extra-plugins \
    libstrongswan-standard-plugins wireguard-go wireguard-tools
cargo build --release --locked --quiet --package handfast --package handfast-bench
cc -O2 -shared -fPIC -o target/xfrm-answers.so crates/bench/peer/xfrm-answers.c -ldl
exec target/release/handfast-bench "$@"
