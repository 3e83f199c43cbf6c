#!/usr/bin/env bash
# peers.sh find NAME: the folder that holds the peer strongswan6, libreswan or openiked, ready to chroot into. Loads nothing.
# peers.sh get [NAME...]: unpacks those that are missing (all when none is named) from this machine's Debian mirror: 4 s and about 100 MB each.
# Each has a folder of its own since their packages conflict with each other, or are newer than this machine's suite.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/cache.sh"

suite_and_packages() {
    case $1 in
    strongswan6) echo forky strongswan-charon,strongswan-swanctl,strongswan-pki,libcharon-extra-plugins,libstrongswan-standard-plugins,libstrongswan-extra-plugins,dash,coreutils,sed,grep,iproute2 ;;
    libreswan) echo bookworm libreswan,dash,coreutils,sed,grep,mawk,iproute2 ;;
    openiked) echo bookworm openiked,dash,coreutils,sed,grep,iproute2 ;;
    *) fail "no peer is called $1: there are strongswan6, libreswan and openiked" ;;
    esac
}

folder() { echo "$cache/peers/$1-$(suite_and_packages "$1" | sha256sum | cut -c1-12)"; }

get() {
    local name=$1 out suite packages
    out=$(folder "$name")
    [ -d "$out" ] && return
    [ "$(id -u)" -eq 0 ] || fail "$name: unpacking a peer needs root"
    "$here/packages.sh" mmdebstrap debian-archive-keyring openssl
    read -r suite packages < <(suite_and_packages "$name")
    mkdir -p "$cache/peers"
    local new=$out.$$
    if ! mmdebstrap --variant=extract --mode=root --quiet --include="$packages" "$suite" "$new" "$(source_line "$suite")"; then
        rm -rf "$new"
        fail "$name: $packages of $suite could not be had from $(mirror)"
    fi
    mkdir -p "$new"/{proc,sys,run,tmp,root,dev,cfg}
    # What maintainer scripts would have done, none of which ran.
    local link
    for link in bin sbin lib lib64; do [ -e "$new/$link" ] || ln -s "usr/$link" "$new/$link"; done
    [ -e "$new/bin/sh" ] || ln -s dash "$new/bin/sh"
    [ -e "$new/var/run" ] || ln -s /run "$new/var/run"
    [ -e "$new/etc/passwd" ] || echo root:x:0:0:root:/root:/bin/sh >"$new/etc/passwd"
    [ -e "$new/etc/group" ] || echo root:x:0: >"$new/etc/group"
    grep -q '^_iked:' "$new/etc/passwd" || echo _iked:x:900:900::/var/empty:/bin/false >>"$new/etc/passwd"
    mkdir -p "$new/var/empty"
    if [ -d "$new/etc/iked" ]; then
        # Its own key, without which it does not start, even where nothing but PSKs are used.
        mkdir -p "$new/etc/iked/private"
        (umask 077 && openssl ecparam -genkey -name prime256v1 -noout -out "$new/etc/iked/private/local.key")
    fi
    chroot "$new" /sbin/ldconfig 2>/dev/null || true
    mv -T "$new" "$out" 2>/dev/null || rm -rf "$new"
}

case ${1:-} in
find)
    out=$(folder "${2:?which peer}")
    [ -d "$out" ] || fail "no $2 here: \`make peers\` unpacks it"
    echo "$out"
    ;;
get)
    shift
    [ $# -gt 0 ] || set -- strongswan6 libreswan openiked
    status=0
    for name in "$@"; do (get "$name") || status=1; done
    exit $status
    ;;
*) fail "usage: peers.sh find NAME | get [NAME...]" ;;
esac
