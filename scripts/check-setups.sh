#!/bin/sh
# Runs each set-up of setup.sh on its own minimal Debian, and checks that every program that scripts/programs declares
# for it is there. So no set-up depends on programs that another set-up, or the machine's owner, has installed.
# A successful check is repeated only after a script or the list has changed.
set -eu

[ "${1:-}" = inside ] || {
    scripts=$(cd "$(dirname "$0")" && pwd)
    cache=${XDG_CACHE_HOME:-$HOME/.cache}/dotmesh/setups
    key=$(cat "$scripts/setup.sh" "$scripts/programs" "$scripts/check-setups.sh" "$scripts/minimal-debian.sh" | sha256sum | cut -c1-16)
    mkdir -p "$cache"
    exec 9>"$cache/lock"
    flock 9
    [ ! -e "$cache/$key" ] || exit 0
    # With its own mount namespace, the kernel removes the mounts when the process ends in any way.
    unshare --mount --propagation private "$0" inside "$scripts"
    rm -f "$cache"/*
    : >"$cache/$key"
    exit 0
}

scripts=$2
# shellcheck source=scripts/minimal-debian.sh
. "$scripts/minimal-debian.sh"

work=/mnt
mount -t tmpfs -o size=80%,mode=755 tmpfs $work
mkdir $work/packages $work/project $work/certificates
# The owner's CA bundle may be needed to reach PyPI.
cp "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" $work/certificates/ca.crt
cp -r "$scripts" $work/project/
echo 'check-setups: making a minimal Debian' >&2
minimal_debian $work/base --dpkgopt=force-unsafe-io --customize-hook='rm -f "$1/etc/apt/apt.conf.d/docker-clean"'
cp /etc/resolv.conf $work/base/etc/

for setup in build demo plugin fuzz soak test bench; do
    echo "check-setups: $setup" >&2
    root=$work/$setup
    mkdir -p "$root" "$work/layers/$setup/upper" "$work/layers/$setup/work"
    mount -t overlay overlay "$root" \
        -o "lowerdir=$work/base,upperdir=$work/layers/$setup/upper,workdir=$work/layers/$setup/work"
    mkdir -p "$root/project" "$root/rust/cargo" "$root/rust/rustup" "$root/certificates"
    mount --rbind /proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount --bind $work/packages "$root/var/cache/apt/archives"
    mount --bind $work/project "$root/project"
    mount --bind $work/certificates "$root/certificates"
    # Rust comes from rustup, which not every machine can reach, so use the Rust of this machine.
    mount --bind "${CARGO_HOME:-$HOME/.cargo}" "$root/rust/cargo"
    mount --bind "${RUSTUP_HOME:-$HOME/.rustup}" "$root/rust/rustup"
    if ! chroot "$root" /usr/bin/env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin CARGO_HOME=/rust/cargo RUSTUP_HOME=/rust/rustup \
        CARGO_TARGET_DIR=/root/target PIP_CERT=/certificates/ca.crt SSL_CERT_FILE=/certificates/ca.crt \
        sh /project/scripts/setup.sh "$setup" >"$work/log" 2>&1 9>&-; then
        tail -n 40 "$work/log" >&2
        echo "check-setups: 'setup.sh $setup' fails on a minimal Debian, see above" >&2
        exit 1
    fi
    umount --lazy "$root"
    rm -rf "${work:?}/layers/$setup"
done
