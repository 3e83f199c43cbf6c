#!/usr/bin/env bash
# lossy.sh LOSS N: N handshakes, hybrid with a PSK, between two Handfasts over a link of MTU 1280 that loses LOSS per cent of IKE's datagrams,
# each with an IKE SA of its own; prints how many stand, and the median and the ninth decile of their seconds. Needs root and a release build.
set -euo pipefail
cd "$(dirname "$0")/.."
loss=${1:?loss in per cent} count=${2:-20}
# All seven transmissions of a request and the wait after the last of them are over by then.
limit=160
binary=$PWD/target/release/handfast
tag=hfl$$
dir=$(mktemp -d)
pids=()
finish() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait || true
    for ns in l m r; do ip netns del "$tag$ns" 2>/dev/null || true; done
    rm -rf "$dir"
}
trap finish EXIT
for ns in l m r; do ip netns add "$tag$ns"; ip -n "$tag$ns" link set lo up; done
link() { # namespace, network
    ip -n "$tag$1" link add outer type veth peer name "m$1" netns "${tag}m"
    ip -n "$tag$1" address add "$2.2/24" dev outer
    ip -n "${tag}m" address add "$2.1/24" dev "m$1"
    # Several datagrams that one system call sent would be lost as one.
    ip -n "$tag$1" link set outer mtu 1280 gso_max_segs 1 up
    ip -n "${tag}m" link set "m$1" mtu 1280 up
    ip -n "$tag$1" route add default via "$2.1"
}
link l 10.0.1
link r 10.0.2
ip netns exec "${tag}m" sysctl -qw net.ipv4.ip_forward=1
if [ "$loss" -gt 0 ]; then
    ip netns exec "${tag}m" nft "table inet link { chain forward { type filter hook forward priority 0; udp dport { 500, 4500 } numgen random mod 100 < $loss drop; }; }"
fi

connection() { # name, side, remote side, local address, remote address, our selector, theirs
    cat <<EOF
[connections.$1]
local_addrs = "$4"
remote_addrs = "$5"
proposals = "aes256gcm16-prfsha384-x25519-ke1_mlkem768"
unique = "never"
mobike = false
local = { auth = "psk", id = "$2.example" }
remote = { auth = "psk", id = "$3.example" }
[connections.$1.children.net]
local_ts = "$6"
remote_ts = "$7"
esp_proposals = "aes256gcm16"
EOF
}
start() { # namespace
    { printf '[daemon]\ndataplane = "none"\ncontrol = "%s"\n' "$dir/$1.sock"; cat; } >"$dir/$1.toml"
    chmod 600 "$dir/$1.toml"
    ip netns exec "$tag$1" "$binary" run --config "$dir/$1.toml" >"$dir/$1.log" 2>&1 &
    pids+=($!)
    for _ in $(seq 100); do
        "$binary" --socket "$dir/$1.sock" status >/dev/null 2>&1 && return
        sleep 0.1
    done
    cat "$dir/$1.log" >&2
    exit 1
}
secret() { printf '[secrets.ike.%s]\nsecret = "lossy lossy lossy"\n' "$1"; }
# Not in pipes: what `start` notes of its process would be lost.
start r < <(connection net right left 10.0.2.2 %any 192.168.2.0/24 10.64.0.0/10; secret net)
start l < <(
    for n in $(seq "$count"); do connection "c$n" left right 10.0.1.2 10.0.2.2 "10.64.0.$n" 192.168.2.0/24; done
    secret any
)

ups=()
for n in $(seq "$count"); do
    (
        begin=$(date +%s.%N)
        if timeout "$limit" "$binary" --socket "$dir/l.sock" up "c$n" >"$dir/up.$n" 2>&1; then
            echo "$(date +%s.%N) $begin" >"$dir/took.$n"
        fi
    ) &
    ups+=($!)
    # Not all at once: what a full socket loses is not the link's.
    sleep 0.2
done
for pid in "${ups[@]}"; do wait "$pid" || true; done
[ -z "${VERBOSE:-}" ] || tail -n 3 "$dir"/up.*
cat "$dir"/took.* 2>/dev/null | awk '{ printf "%.3f\n", $1 - $2 }' | sort -n | awk -v loss="$loss" -v all="$count" '
    { took[NR] = $1 }
    END { printf "loss %d %%: %d of %d stand, median %s s, nine in ten within %s s\n", loss, NR, all,
          NR ? took[int((NR + 1) / 2)] : "-", NR ? took[int((9 * NR + 9) / 10)] : "-" }'
