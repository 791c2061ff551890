#!/bin/sh
# Builds what runs Dotmesh in containers: the managed plugin, and the container images.
#
#   plugin.sh plugin FOLDER [BUILD]   makes FOLDER with config.json and rootfs, for `docker plugin create`
#   plugin.sh enable FOLDER           gives the plugin to the Docker Engine, as dm, and enables it
#   plugin.sh images [BUILD] [NAME…]  makes the images dotmesh/node, dotmesh/hub and dotmesh/dm, or only these, in the
#                                     Docker Engine
#
# BUILD is the folder of the programs in target: release, or debug. The root filesystems are minimal Debian systems
# with a few packages. They are kept in a cache.
set -eu

scripts=$(cd "$(dirname "$0")" && pwd)
project=$scripts/..
cache=${XDG_CACHE_HOME:-$HOME/.cache}/dotmesh/roots
# mkfs.btrfs for the pool. losetup and blkid are in `mount` and in an essential package.
of_node='ca-certificates,btrfs-progs,mount'
# dm asks git for the version of the code.
of_cli='ca-certificates,git'

say() { echo "plugin: $*" >&2; }

# shellcheck source=scripts/minimal-debian.sh
. "$scripts/minimal-debian.sh"

# Prints the path of an archive with a root filesystem of these packages.
root_with() {
    key=$(printf '%s\n' "$1" | cat - "$scripts/minimal-debian.sh" | sha256sum | cut -c1-16)
    archive=$cache/$key.tar
    if [ ! -e "$archive" ]; then
        mkdir -p "$cache"
        # One of several processes makes it. The others wait.
        exec 9>"$cache/lock"
        flock 9
        if [ ! -e "$archive" ]; then
            command -v mmdebstrap >/dev/null || {
                say "mmdebstrap is missing. Install it with 'scripts/setup.sh plugin'"
                exit 1
            }
            say "making a Debian with $1"
            minimal_debian "$cache/new.tar" --include="$1" >&2 9>&-
            mv "$cache/new.tar" "$archive"
        fi
        exec 9>&-
    fi
    echo "$archive"
}

# Copies programs without their debug information.
programs() {
    to=$1
    shift
    for program in "$@"; do
        objcopy --strip-debug "$built/$program" "$to/$program"
    done
}

# Fails if the programs need a newer C library than the Debian has.
check_runs() {
    chroot "$1" "/usr/local/bin/$2" --version >/dev/null || {
        say "$2 does not run on Debian 12. Build it on Debian 12, as its C library is older than this machine's"
        exit 1
    }
}

find_built() {
    built=${CARGO_TARGET_DIR:-$project/target}/${1:-release}
    [ -x "$built/dotmeshd" ] || {
        say "there is no $built/dotmeshd. Build it with 'make build'"
        exit 1
    }
}

make_plugin() {
    root=$(root_with "$of_node")
    rm -rf "$1"
    mkdir -p "$1/rootfs"
    # Docker makes the devices, which only root could unpack.
    tar -xf "$root" -C "$1/rootfs" --exclude='./dev/*'
    mkdir -p "$1/rootfs/mounts"
    programs "$1/rootfs/usr/local/bin" dotmeshd dm
    [ "$(id -u)" != 0 ] || check_runs "$1/rootfs" dotmeshd
    cp "$project/docker/plugin.json" "$1/config.json"
}

# make_image NAME PACKAGES PROGRAM…
make_image() {
    name=$1 packages=$2
    shift 2
    say "making the image dotmesh/$name"
    context=$work/$name
    mkdir -p "$context/bin"
    cp "$(root_with "$packages")" "$context/root.tar"
    programs "$context/bin" "$@"
    docker build -q --network none --target "$name" -t "dotmesh/$name" -f "$project/docker/Dockerfile" "$context" \
        >"$work/log" 2>&1 || {
        cat "$work/log" >&2
        exit 1
    }
    rm -rf "$context"
}

make_images() {
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    for image in "$@"; do
        case $image in
        node) make_image node "$of_node" dotmeshd dm ;;
        hub) make_image hub "$of_node" dothub ;;
        dm) make_image dm "$of_cli" dm ;;
        *)
            say "there is no image '$image'"
            exit 2
            ;;
        esac
    done
}

case ${1:-} in
plugin)
    find_built "${3:-}"
    make_plugin "${2:?the folder of the plugin}"
    ;;
enable)
    docker plugin create dm "${2:?the folder of the plugin}"
    docker plugin enable dm
    ;;
images)
    find_built "${2:-}"
    shift
    [ $# = 0 ] || shift
    [ $# != 0 ] || set -- node hub dm
    make_images "$@"
    ;;
*)
    echo "usage: $0 plugin FOLDER [BUILD] | enable FOLDER | images [BUILD] [NAME…]" >&2
    exit 2
    ;;
esac
