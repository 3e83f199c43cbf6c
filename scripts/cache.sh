# Sourced: where kernels and peers are kept between runs, outside the repository.
cache=${HANDFAST_CACHE:-${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/handfast}
# This machine's own Debian mirror.
mirror() {
    grep -hoE 'https?://[^ ]+/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
        head -n 1 | tr -d ' '
}
# A source line of that mirror for a suite. Signatures count, not the date: Release files of newer suites may be past theirs.
source_line() {
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg check-valid-until=no] $(mirror) $1 main"
}
fail() { echo "$*" >&2; exit 1; }
