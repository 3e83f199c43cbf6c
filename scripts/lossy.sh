#!/usr/bin/env bash
# lossy.sh LOSS [N] [WHO] [PROOF]: N handshakes, each with an IKE SA of its own, between two daemons over a link of MTU 1280 that loses
# LOSS per cent of IKE's datagrams; prints how many stand, the median and the ninth decile of their seconds, and the datagrams sent for each.
#   WHO    handfast, or strongswan: that of `make peers`
#   PROOF  psk, or chains of three certificates: mldsa87, or ecdsa, which an extension makes as long as those (27,000 octets in all)
# lossy.sh all [N]: every WHO and PROOF that there is, at losses of 0, 5, 10, 20 and 30 per cent, all losses of one kind at once.
# Needs root, and release builds of `handfast` and of the example `chain`.
set -euo pipefail
cd "$(dirname "$0")/.."
here=$PWD
loss=${1:?loss in per cent, or all} count=${2:-50} who=${3:-handfast} proof=${4:-psk}
if [ "$loss" = all ]; then
    scripts/packages.sh gcc iproute2 nftables procps
    # strongSwan has no ML-DSA yet.
    for kind in "handfast psk" "strongswan psk" "handfast mldsa87" "handfast ecdsa" "strongswan ecdsa"; do
        echo "$kind"
        if [ "${kind%% *}" = strongswan ] && ! scripts/peers.sh find strongswan6 >/dev/null; then continue; fi
        runs=()
        # shellcheck disable=SC2086
        for loss in 0 5 10 20 30; do scripts/lossy.sh "$loss" "$count" $kind & runs+=($!); done
        for run in "${runs[@]}"; do wait "$run" || true; done
    done
    exit
fi
# All transmissions of a request and the wait after the last of them are over by then: seven of ours, six of strongSwan's.
limit=180
binary=$here/target/release/handfast
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
fail() { echo "not measured: $who $proof: $*"; exit 1; }

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
middle="ip netns exec ${tag}m"
$middle sysctl -qw net.ipv4.ip_forward=1
$middle nft "table inet link { counter sent { }; chain forward { type filter hook forward priority 0; udp dport { 500, 4500 } counter name sent; }; }"
[ "$loss" -eq 0 ] || $middle nft "add rule inet link forward udp dport { 500, 4500 } numgen random mod 100 < $loss drop"

case $proof in
psk) ;;
mldsa87) "$here/target/release/examples/chain" MlDsa87 "$dir" ;;
ecdsa) "$here/target/release/examples/chain" EcdsaP256 "$dir" 8600 ;;
*) fail "PROOF is psk, mldsa87 or ecdsa" ;;
esac
proposal=aes256gcm16-prfsha384-x25519-ke1_mlkem768

# start NAMESPACE SIDE: a daemon there, of which the left has the connections c1, c2, … and the right has one; up N: brings one up.
case $who in
handfast)
    connection() { # name, side, remote side, local address, remote address, our selector, theirs
        local ours='auth = "psk"' theirs='auth = "psk"'
        if [ "$proof" != psk ]; then
            ours="auth = \"pubkey\", certs = \"$dir/$2.pem\"" theirs="auth = \"pubkey\", cacerts = \"$dir/ca.pem\""
        fi
        cat <<EOT
[connections.$1]
local_addrs = "$4"
remote_addrs = "$5"
proposals = "$proposal"
unique = "never"
mobike = false
dpd_delay = "0s"
local = { $ours, id = "$2.example" }
remote = { $theirs, id = "$3.example" }
[connections.$1.children.net]
local_ts = "$6"
remote_ts = "$7"
esp_proposals = "aes256gcm16"
EOT
    }
    unhurried=$(printf '%s = 10000\n' cookie_threshold{,_ip} puzzle_threshold{,_ip} block_threshold)$'\n'
    start() {
        {
            # Handshakes from one address are no attack here.
            printf '[daemon]\ndataplane = "none"\ncontrol = "%s"\n%s' "$dir/$1.sock" "$unhurried"
            if [ "$1" = r ]; then
                connection net right left 10.0.2.2 %any 192.168.2.0/24 10.64.0.0/10
            else
                for n in $(seq "$count"); do connection "c$n" left right 10.0.1.2 10.0.2.2 "10.64.0.$n" 192.168.2.0/24; done
            fi
            if [ "$proof" = psk ]; then
                [ "$1" = l ] && echo '[secrets.ike.any]' || echo '[secrets.ike.net]'
                echo 'secret = "lossy lossy lossy"'
            else
                printf '[secrets.private.own]\nfile = "%s"\n' "$dir/$2.key"
            fi
        } >"$dir/$1.toml"
        chmod 600 "$dir/$1.toml"
        ip netns exec "$tag$1" "$binary" run --config "$dir/$1.toml" >"$dir/$1.log" 2>&1 &
        pids+=($!)
        ready "$1" "$binary" --socket "$dir/$1.sock" status
    }
    up() { timeout "$limit" "$binary" --socket "$dir/l.sock" up "c$1"; }
    ;;
strongswan)
    root=$(scripts/peers.sh find strongswan6) || fail "no strongSwan 6 here: \`make peers\` unpacks it"
    cc -O2 -shared -fPIC -o "$dir/xfrm-answers.so" crates/bench/peer/xfrm-answers.c -ldl
    connection() { # name, side, remote side, local address, remote address, our selector, theirs
        local auth="auth = psk" ours="" theirs=""
        [ "$proof" = psk ] || auth="auth = pubkey" ours="certs = own.pem" theirs="cacerts = ca.pem"
        cat <<EOT
$1 { version = 2
 local_addrs = $4
 remote_addrs = $5
 proposals = $proposal
 unique = never
 mobike = no
 local { $auth
 $ours
 id = $2.example }
 remote { $auth
 $theirs
 id = $3.example }
 children { $1 { local_ts = $6
 remote_ts = $7
 esp_proposals = aes256gcm16 } } }
EOT
    }
    start() {
        local cfg=$dir/$1 side=$2
        mkdir -p "$cfg"/{x509,x509ca,private}
        cp "$dir/xfrm-answers.so" "$cfg"
        if [ "$proof" != psk ]; then
            cp "$dir/ca.pem" "$dir/$side".[12].pem "$cfg/x509ca"
            cp "$dir/$side.0.pem" "$cfg/x509/own.pem"
            cp "$dir/$side.key" "$cfg/private/own.key"
        fi
        {
            echo "connections {"
            if [ "$1" = r ]; then
                connection net right left 10.0.2.2 %any 192.168.2.0/24 10.64.0.0/10
            else
                for n in $(seq "$count"); do connection "c$n" left right 10.0.1.2 10.0.2.2 "10.64.0.$n/32" 192.168.2.0/24; done
            fi
            echo "}"
            [ "$proof" != psk ] || echo 'secrets { ike-1 { secret = "lossy lossy lossy" } }'
        } >"$cfg/swanctl.conf"
        # Each order waits in a thread of its own, for an IKE SA of its own; and with its usual limit of 10,000 octets it would not
        # put the long messages together.
        cat >"$cfg/strongswan.conf" <<EOT
charon { load_modular = yes
 install_routes = no
 threads = $((count + 32))
 reuse_ikesa = no
 dos_protection = no
 max_packet = 65535
 plugins { include /etc/strongswan.d/charon/*.conf
  tpm { load = no }
  kernel-libipsec { load = no }
  vici { socket = unix:///cfg/vici } }
 filelog { l { path = /cfg/log
  default = ${VERBOSE:--1} } } }
EOT
        ip netns exec "$tag$1" sh -c 'echo 3600 >/proc/sys/net/core/xfrm_acq_expires'
        ip netns exec "$tag$1" unshare -m sh -c "set -e
mount --bind $root $root
mount -t proc proc $root/proc
mount --rbind /dev $root/dev
mount --rbind /sys $root/sys
mount -t tmpfs -o mode=755 run $root/run
mount --bind $cfg $root/cfg
exec chroot $root /bin/sh -c 'STRONGSWAN_CONF=/cfg/strongswan.conf LD_PRELOAD=/cfg/xfrm-answers.so exec /usr/lib/ipsec/charon'" >"$cfg/out" 2>&1 &
        pids+=($!)
        ready "$1" test -S "$cfg/vici"
        swanctl "${pids[-1]}" env SWANCTL_DIR=/cfg swanctl --load-all --noprompt --uri unix:///cfg/vici --file /cfg/swanctl.conf >"$cfg/out" 2>&1 ||
            { cat "$cfg/out" >&2; exit 1; }
    }
    swanctl() { local pid=$1; shift; nsenter -t "$pid" -m -n timeout "$limit" chroot "$root" "$@"; }
    up() { swanctl "${pids[-1]}" swanctl --initiate --child "c$1" --timeout "$limit" --uri unix:///cfg/vici; }
    ;;
*) fail "WHO is handfast or strongswan" ;;
esac
ready() { # namespace, command
    for _ in $(seq 100); do
        "${@:2}" >/dev/null 2>&1 && return
        sleep 0.1
    done
    cat "$dir/$1".log "$dir/$1"/out 2>/dev/null >&2 || true
    exit 1
}
start r right
start l left

ups=()
for n in $(seq "$count"); do
    (
        while :; do
            begin=$(date +%s.%N)
            if up "$n" >"$dir/up.$n" 2>&1; then echo "$(date +%s.%N) $begin" >"$dir/took.$n"; fi
            # So many may wait at Handfast's control socket: this one has not begun yet.
            grep -q "clients are connected already" "$dir/up.$n" || break
            sleep 1
        done
    ) &
    ups+=($!)
    # Not all at once: what a full socket loses is not the link's.
    sleep 0.2
done
for pid in "${ups[@]}"; do wait "$pid" || true; done
[ -z "${VERBOSE:-}" ] || tail -n 3 "$dir"/up.* "$dir"/*.log "$dir"/?/log 2>/dev/null || true
sent=$($middle nft -j list counter inet link sent | grep -o '"packets": [0-9]*' | grep -o '[0-9]*')
cat "$dir"/took.* 2>/dev/null | awk '{ printf "%.3f\n", $1 - $2 }' | sort -n | awk -v loss="$loss" -v all="$count" -v sent="$sent" '
    { took[NR] = $1 }
    END { printf "loss %d %%: %d of %d stand, median %s s, nine in ten within %s s, %d datagrams each\n", loss, NR, all,
          NR ? took[int((NR + 1) / 2)] : "-", NR ? took[int((9 * NR + 9) / 10)] : "-", sent / all }'
