#!/bin/sh
# Provides the container images of the example. It pulls them if it can reach an image registry. Otherwise it builds
# them from Debian's packages. It keeps the results in a cache.
#
#   images.sh [--docker-host URL]   for that Docker engine
#   images.sh --prepared            in a separate Docker data folder, and prints the folder's path. Each engine
#                                   of a test gets a copy of that folder
set -eu

scripts=$(cd "$(dirname "$0")" && pwd)
example=$scripts/../examples/moby-counter
cache=${XDG_CACHE_HOME:-$HOME/.cache}/dotmesh/images
official='debian:bookworm-slim redis:7 postgres:15'
own='dotmesh-example/moby-counter-web dotmesh-example/moby-counter-users'
# The databases of the tests, in addition to those of the example.
of_tests='mariadb:10.11'

say() { echo "images: $*" >&2; }

# shellcheck source=scripts/minimal-debian.sh
. "$scripts/minimal-debian.sh"

# The hash of all inputs of the images. Cached files with another key are never used.
key() {
    (cd "$scripts/.." && find scripts/images scripts/images.sh scripts/minimal-debian.sh examples/moby-counter/web examples/moby-counter/users \
        -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum) | sha256sum | cut -c1-16
}

has_images() {
    # shellcheck disable=SC2086 # a list of words
    docker image inspect $official $own >/dev/null 2>&1
}

registry_answers() {
    curl -s -m 4 -o /dev/null https://registry-1.docker.io/v2/
}

pull() {
    for image in "$@"; do
        say "pulling $image"
        docker pull -q "$image" >/dev/null || return 1
    done
}

make_base() {
    if ! command -v mmdebstrap >/dev/null; then
        say "no image registry can be reached, and mmdebstrap, which makes the images instead, is missing"
        say "next: scripts/setup.sh demo"
        exit 1
    fi
    say 'making debian:bookworm-slim'
    minimal_debian "$work/base.tar" --include=ca-certificates >&2
    docker import -c 'CMD ["bash"]' "$work/base.tar" debian:bookworm-slim >/dev/null
    rm "$work/base.tar"
}

build() {
    say "making $1"
    docker build -q --network host -t "$1" "$2" >"$work/build.log" 2>&1 || {
        cat "$work/build.log" >&2
        exit 1
    }
}

make_images() {
    # shellcheck disable=SC2086 # a list of words
    if ! { registry_answers && pull $official; }; then
        make_base
        build redis:7 "$scripts/images/redis"
        build postgres:15 "$scripts/images/postgres"
    fi
    build dotmesh-example/moby-counter-web "$example/web"
    build dotmesh-example/moby-counter-users "$example/users"
}

# One of several processes makes the images. The others wait for it.
lock() {
    mkdir -p "$cache"
    exec 9>"$cache/lock"
    flock 9
    work=$(mktemp -d "$cache/work.XXXXXX")
    trap cleanup EXIT
    trap 'exit 1' INT TERM
}

engine=
bridge=dm-images
stop_engine() {
    [ -n "$engine" ] || return 0
    kill "$engine" 2>/dev/null || true
    wait "$engine" 2>/dev/null || true
    engine=
    ip link delete "$bridge" 2>/dev/null || true
}
cleanup() {
    stop_engine
    rm -rf "$work"
}

fill_engine() {
    archive=$cache/$(key).tar
    if [ -e "$archive" ]; then
        docker load -q -i "$archive" >/dev/null
        return
    fi
    make_images
    # shellcheck disable=SC2086 # a list of words
    docker save -o "$work/images.tar" $official $own
    rm -f "$cache"/*.tar
    mv "$work/images.tar" "$archive"
}

make_images_of_tests() {
    # shellcheck disable=SC2086 # a list of words
    if ! { registry_answers && pull $of_tests; }; then
        build mariadb:10.11 "$scripts/images/mariadb"
    fi
}

prepare() {
    prepared=$cache/$(key).engine
    [ -e "$prepared" ] && return
    lock
    [ -e "$prepared" ] && return
    # Remove the files of an interrupted run.
    find "$cache" -maxdepth 1 -name 'work.*' ! -path "$work" -exec rm -rf '{}' +
    # Another Docker engine may run here. So this one has its own mounts and its own bridge, and does not change the
    # firewall. Without any bridge, Docker would delete that of the other engine.
    ip link add "$bridge" type bridge 2>/dev/null || true
    unshare --mount dockerd --data-root "$work/engine" --exec-root "$work/exec" --pidfile "$work/pid" \
        --host "unix://$work/socket" --bridge "$bridge" --iptables=false --ip6tables=false --ip-forward=false \
        --storage-driver overlay2 >"$work/log" 2>&1 9>&- &
    engine=$!
    export DOCKER_HOST="unix://$work/socket"
    until docker version >/dev/null 2>&1; do
        kill -0 "$engine" 2>/dev/null || {
            cat "$work/log" >&2
            say 'the Docker engine that makes the images did not start'
            exit 1
        }
        sleep 0.1
    done
    fill_engine
    make_images_of_tests
    docker image prune -f >/dev/null
    stop_engine
    rm -rf "$cache"/*.engine
    mv "$work/engine" "$prepared"
}

case ${1:-} in
--prepared)
    prepare
    echo "$prepared"
    ;;
--docker-host | '')
    [ $# = 0 ] || export DOCKER_HOST="${2:?--docker-host needs a URL}"
    has_images && exit
    lock
    fill_engine
    ;;
*)
    echo "usage: $0 [--docker-host URL | --prepared]" >&2
    exit 2
    ;;
esac
