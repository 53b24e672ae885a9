#!/usr/bin/env bash
# Installs what Crossdock needs from Debian's packages, and only what is missing. Safe to run again.
#
# usage: scripts/bootstrap.sh [bench|fuzz]
#
#   (nothing)   what building, the demo and the tests need
#   bench       also the switches that `make bench` compares with
#   fuzz        also the C++ compiler that libFuzzer is built with
#
# Works as root, or as a user who may use sudo.
set -euo pipefail

packages=(
    # building
    ca-certificates gcc libc6-dev make pkg-config
    # building libxdp, which xsk-rs brings (feature xdp)
    clang libelf-dev m4
    # tests and demo: namespaces, real traffic, captures
    iproute2 iputils-ping ethtool iperf3 tcpdump
    # the VLAN tests compare with it, the benches too
    openvswitch-switch
)
# for the benches to compare with: DPDK's testpmd, Docker's rules; the tests have Open vSwitch already
bench_packages=(dpdk-dev iptables)

policy=/usr/sbin/policy-rc.d
root=$(dirname "${BASH_SOURCE[0]}")/..

say() { echo "bootstrap: $*" >&2; }
die() { say "$@"; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Those of the packages named that are not installed, one a line.
missing() {
    local package
    for package; do
        dpkg-query -W -f='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || echo "$package"
    done
}

# Debian starts a daemon as soon as it is installed, unless this file forbids it (invoke-rc.d(8)).
forbid_daemons() {
    trap restore_policy EXIT
    [ ! -e "$policy" ] || as_root mv "$policy" "$policy.crossdock"
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
}

restore_policy() {
    as_root rm -f "$policy"
    [ ! -e "$policy.crossdock" ] || as_root mv "$policy.crossdock" "$policy"
}

install() {
    [ "$(id -u)" = 0 ] || command -v sudo >/dev/null || die "need root to install: $*. Run as root, or install sudo"
    say "installing $*"
    forbid_daemons
    as_root apt-get update -qq || say "apt-get update failed; going on with the package lists at hand"
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq -y -o DPkg::Lock::Timeout=120 install --no-install-recommends "$@"
    # Nor at the next boot: the benches start their own, inside a namespace.
    if [[ " $* " == *" openvswitch-switch "* ]]; then as_root update-rc.d openvswitch-switch disable; fi
}

ensure_packages() {
    if ! command -v dpkg-query >/dev/null; then
        say "not a Debian system: install the equivalents of these yourself: $*"
        return
    fi
    local absent
    mapfile -t absent < <(missing "$@")
    [ ${#absent[@]} = 0 ] || install "${absent[@]}"
}

# The toolchain is the user's own: checked here, never installed.
check_rust() {
    local wanted found
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml")
    if ! command -v cargo >/dev/null || ! found=$(rustc --version | cut -d' ' -f2); then
        rust_help "no Rust toolchain on the PATH (Rust $wanted or newer is needed)"
    fi
    [ "$(printf '%s\n' "$wanted" "$found" | sort -V | head -n1)" = "$wanted" ] ||
        rust_help "rustc is $found, and Rust $wanted or newer is needed"
}

rust_help() {
    say "$1. One way to get it:"
    cat >&2 <<'HELP'
    Debian 13 or newer:   apt-get install rustup && rustup default stable
    Debian 12:            apt-get install curl, then the line that https://rustup.rs shows
  Debian's own packages rustc and cargo are too old. If rustup is installed already: `rustup update stable`,
  and `. ~/.cargo/env` puts it on the PATH. Under sudo the PATH is another one: run this script as yourself.
HELP
    exit 1
}

case "${1-}" in
    "") ;;
    bench) packages+=("${bench_packages[@]}") ;;
    fuzz) packages+=(g++) ;;
    *) say "usage: scripts/bootstrap.sh [bench|fuzz]"; exit 2 ;;
esac
ensure_packages "${packages[@]}"
check_rust
