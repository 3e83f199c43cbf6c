#!/usr/bin/env bash
# kernel.sh find|build: the User-Mode Linux kernel under which tests meet the real IPsec stack, packet loss, and a clock that jumps.
# find prints the path of one that is there: HANDFAST_KERNEL, the newest built with this configuration, or
# ../shared/rig/linux-uml.zst beside the repository. It downloads and builds nothing.
# build makes one from Debian's linux-source package: about 165 MB to load, 2 GB of disk while it builds, 4 minutes on 2 cores.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/cache.sh"
suite=${HANDFAST_KERNEL_SUITE:-trixie-backports} package=${HANDFAST_KERNEL_PACKAGE:-linux-source-7.2}
config=$here/kernel.config
mark=$(sha256sum <"$config" | cut -c1-12)
packed=$here/../../shared/rig/linux-uml.zst

find_kernel() {
    if [ -n "${HANDFAST_KERNEL:-}" ]; then
        [ -x "$HANDFAST_KERNEL" ] || fail "HANDFAST_KERNEL=$HANDFAST_KERNEL cannot be run"
        echo "$HANDFAST_KERNEL"
        return
    fi
    local built
    built=$(ls -td "$cache"/kernel/*-"$mark" 2>/dev/null | head -n 1) || true
    if [ -n "$built" ]; then
        echo "$built"
        return
    fi
    [ -f "$packed" ] || fail "no test kernel: \`make kernel\` builds one"
    local unpacked
    unpacked=$cache/kernel/packed-$(sha256sum <"$packed" | cut -c1-12)
    if [ ! -x "$unpacked" ]; then
        command -v zstd >/dev/null || fail "no zstd to unpack the test kernel with"
        mkdir -p "$cache/kernel"
        # Tests look for it side by side: it appears whole or not at all.
        zstd -qdf "$packed" -o "$unpacked.$$"
        chmod +x "$unpacked.$$"
        mv "$unpacked.$$" "$unpacked"
    fi
    echo "$unpacked"
}

build_kernel() {
    "$here/packages.sh" build-essential flex bison bc xz-utils debian-archive-keyring >&2
    local apt version out
    work=$(mktemp -d /var/tmp/handfast-kernel.XXXXXX)
    trap 'rm -rf "$work"' EXIT
    mkdir -p "$work"/apt/{state/lists/partial,cache/archives/partial,etc/apt.conf.d,etc/preferences.d,etc/sources.list.d}
    : >"$work/apt/state/status"
    source_line "$suite" >"$work/apt/etc/sources.list"
    apt=(-o "Dir::State=$work/apt/state" -o "Dir::State::status=$work/apt/state/status" -o "Dir::Cache=$work/apt/cache"
        -o "Dir::Etc=$work/apt/etc" -o APT::Sandbox::User=root -qq)
    apt-get "${apt[@]}" update || fail "$(mirror) has no $suite that can be read"
    version=$(apt-cache "${apt[@]}" show "$package" | sed -n 's/^Version: //p' | head -n 1)
    [ -n "$version" ] || fail "$suite has no $package"
    out=$cache/kernel/$package-$version-$mark
    if [ -x "$out" ]; then
        echo "$out"
        return
    fi
    (cd "$work" && apt-get "${apt[@]}" download "$package")
    dpkg -x "$work/$package"*.deb "$work/s"
    rm "$work/$package"*.deb
    tar -C "$work/s" -xf "$work/s/usr/src/$package.tar.xz"
    rm "$work/s/usr/src/$package.tar.xz"
    cd "$work/s/$package"
    make -s ARCH=um O="$work/o" allnoconfig >/dev/null
    cat "$config" >>"$work/o/.config"
    make -s ARCH=um O="$work/o" olddefconfig >/dev/null 2>&1
    for key in XFRM_USER INET_ESP INET6_ESP INET_AH XFRM_INTERFACE XFRM_MIGRATE NET_KEY VETH TUN NET_SCH_NETEM NF_TABLES_IPV4 \
        NFT_MASQ HOSTFS UML_TIME_TRAVEL_SUPPORT; do
        grep -q "^CONFIG_$key=y" "$work/o/.config" || fail "kernel.config: $key did not come through in $package $version"
    done
    make -s -j"$(nproc)" ARCH=um O="$work/o" >"$work/log" 2>&1 || { tail -n 30 "$work/log" >&2; fail "the kernel did not build"; }
    mkdir -p "$cache/kernel"
    strip -o "$out.$$" "$work/o/linux"
    mv "$out.$$" "$out"
    echo "$out"
}

case ${1:-} in
find) find_kernel ;;
build) build_kernel ;;
*) fail "usage: kernel.sh find|build" ;;
esac
