#!/bin/sh
# Makes the roots of test machines: minimal Debians, each with one Engine and one Compose. Prints the path of the root.
# A root is made once, and kept in the cache. Machines mount it read-only.
#
#   engines.sh docker-20|docker-26|docker-28|podman-5
#   engines.sh databases-13|databases-sid
#                          a root with the database servers of that Debian, for the tests of rows
#   engines.sh peers-sid   a root with the tools that 'make bench' compares with
#   engines.sh --storage   Podman's storage with the images of the tests. Prints its path
#   engines.sh --test      those of 'make test'
#   engines.sh --all       all of them
set -eu

scripts=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/dotmesh/engines
# The programs that the tests run in each machine.
tools='acl attr btrfs-progs ca-certificates curl e2fsprogs git iproute2 iptables kmod mount procps python3-minimal rsync'
# What an ordinary user needs to run an Engine.
rootless='passwd uidmap'

say() { echo "engines: $*" >&2; }

# Use the mirror from which this machine gets its own packages.
mirror() {
    # shellcheck disable=SC2016 # apt's own variable
    apt-get indextargets --format '$(REPO_URI)' | grep -m1 '/debian/*$' || {
        say 'no package source of this machine has a path that ends in /debian'
        exit 1
    }
}

make_root() {
    say "making a root of $suite for $name"
    mirror=$(mirror)
    rm -rf "$cache/$name.new"
    options=$(mktemp)
    trap 'rm -f "$options"' EXIT
    apt-config dump | grep -E '^Acquire::(https?::Proxy|Check-)' >"$options" || true
    # shellcheck disable=SC2086 # a list of words
    mmdebstrap --quiet --variant=minbase --include="$(echo "$packages" | tr ' ' ,)" \
        --aptopt="$options" --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt=force-unsafe-io $unneeded \
        --customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/lib/postgresql/*' \
        "$suite" "$cache/$name.new" "$mirror" 9>&- >&2
    rm -rf "$cache/$name"-*
    mv "$cache/$name.new" "$1"
}

# Podman has another storage than Docker, so it loads the images from their archive.
make_storage() {
    say "loading the images into Podman's storage"
    root=$("$scripts/engines.sh" podman-5)
    rm -rf "$cache/storage.new"
    mkdir -p "$cache/storage.new"
    # With its own namespaces, the kernel removes the mounts and the processes when the script ends in any way.
    # shellcheck disable=SC2016 # for the shell inside
    unshare --mount --pid --fork --kill-child --propagation=private sh -euc '
        mount -t tmpfs tmpfs /mnt
        mkdir /mnt/upper /mnt/work /mnt/root
        mount -t overlay overlay -o "lowerdir=$1,upperdir=/mnt/upper,workdir=/mnt/work" /mnt/root
        cd /mnt/root
        mkdir -p var/lib/containers/storage
        mount --bind "$2" var/lib/containers/storage
        mount -t proc proc proc
        mount --rbind /dev dev
        mount -t tmpfs tmpfs run
        touch images.tar
        mount --bind "$3" images.tar
        chroot . podman --cgroup-manager=cgroupfs load -q -i /images.tar
    ' sh "$root" "$cache/storage.new" "$archive" 9>&- >&2
    rm -rf "$cache/storage"-*
    mv "$cache/storage.new" "$1"
}

name=${1:-}
unneeded=
# PostgreSQL's compiler of queries is half of a root, and PostgreSQL works without it.
compiler='--dpkgopt=path-exclude=/usr/lib/*/libLLVM* --dpkgopt=path-exclude=/usr/lib/postgresql/*/lib/llvmjit.so
    --dpkgopt=path-exclude=/usr/lib/postgresql/*/lib/bitcode/*'
case $name in
docker-20) suite=bookworm packages="$tools docker.io docker-compose" ;;
docker-26) suite=trixie packages="$tools docker.io docker-cli docker-compose" ;;
docker-28) suite=sid packages="$tools docker.io docker-cli docker-compose $rootless rootlesskit slirp4netns" ;;
podman-5) suite=sid packages="$tools podman docker-cli docker-compose netavark aardvark-dns crun nftables catatonit $rootless passt" ;;
databases-13) suite=trixie packages='postgresql-17 mariadb-server-core mariadb-client-core' unneeded=$compiler ;;
databases-sid) suite=sid packages='postgresql mysql-server-core mysql-client-core' unneeded=$compiler ;;
peers-sid) suite=sid packages='restic restic-rest-server borgbackup openssh-client openssh-server rsync btrfs-progs zstd' ;;
--storage) name=storage ;;
--test)
    for one in docker-28 podman-5 --storage databases-13 databases-sid; do "$0" "$one"; done
    exit
    ;;
--all)
    for one in docker-20 docker-26 docker-28 podman-5 --storage databases-13 databases-sid; do "$0" "$one"; done
    exit
    ;;
*)
    echo "usage: $0 docker-20|docker-26|docker-28|podman-5|databases-13|databases-sid|peers-sid|--storage|--test|--all" >&2
    exit 2
    ;;
esac

if [ "$name" = storage ]; then
    prepared=$("$scripts/images.sh" --prepared)
    archive=${prepared%.engine}.tar
    made=$cache/storage-$(basename "$prepared" .engine)
else
    made=$cache/$name-$(echo "$suite $packages$unneeded" | sha256sum | cut -c1-8)
fi
if [ ! -e "$made" ]; then
    mkdir -p "$cache"
    exec 9>"$cache/$name.lock"
    flock 9
fi
if [ ! -e "$made" ]; then
    if [ "$name" = storage ]; then make_storage "$made"; else make_root "$made"; fi
fi
echo "$made"
