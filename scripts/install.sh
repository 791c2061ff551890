#!/bin/sh
# Installs the release programs, and their debug information in separate files.
#
#   install.sh /usr/local
#
# A program's section .gnu_debuglink has the name and checksum of its debug information. Backtraces find it by these
# in /usr/lib/debug.
set -eu

prefix=$1
release=$(cd "${CARGO_TARGET_DIR:-$(dirname "$0")/../target}/release" && pwd)
debug=/usr/lib/debug$prefix/bin
sudo=
[ -w "$prefix/bin" ] || sudo=sudo
staged=$(mktemp -d)
trap 'rm -rf "$staged"' EXIT

for program in dm dotmeshd dothub; do
    objcopy --only-keep-debug "$release/$program" "$staged/$program.debug"
    (cd "$staged" && objcopy --strip-debug --add-gnu-debuglink="$program.debug" "$release/$program" "$program")
done
set -x
$sudo install -d "$debug"
$sudo install -m 644 "$staged"/*.debug "$debug"
$sudo install -m 755 "$staged/dm" "$staged/dotmeshd" "$staged/dothub" "$prefix/bin"
