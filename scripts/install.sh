#!/bin/sh
# Installs the release programs, their debug information in separate files, the man pages, and completions for shells.
#
#   install.sh /usr/local
#
# A program's section .gnu_debuglink has the name and checksum of its debug information. Backtraces find it by these
# in /usr/lib/debug.
set -eu

prefix=$1
release=$(cd "${CARGO_TARGET_DIR:-$(dirname "$0")/../target}/release" && pwd)
debug=/usr/lib/debug$prefix/bin
share=$prefix/share
sudo=
[ -w "$prefix/bin" ] || sudo=sudo
staged=$(mktemp -d)
trap 'rm -rf "$staged"' EXIT

for program in dm dotmeshd dothub; do
    objcopy --only-keep-debug "$release/$program" "$staged/$program.debug"
    (cd "$staged" && objcopy --strip-debug --add-gnu-debuglink="$program.debug" "$release/$program" "$program")
done
mkdir "$staged/man"
"$staged/dm" man "$staged/man"
# These scripts ask the installed program for what fits.
DOTMESH_COMPLETE=bash "$staged/dm" >"$staged/dm.bash"
DOTMESH_COMPLETE=zsh "$staged/dm" >"$staged/_dm"
# zsh loads the file at the first completion, which has to be answered, too.
echo '_clap_dynamic_completer_dm "$@"' >>"$staged/_dm"
DOTMESH_COMPLETE=fish "$staged/dm" >"$staged/dm.fish"
set -x
$sudo install -d "$debug"
$sudo install -m 644 "$staged"/*.debug "$debug"
$sudo install -m 755 "$staged/dm" "$staged/dotmeshd" "$staged/dothub" "$prefix/bin"
$sudo install -d "$share/man/man1"
$sudo install -m 644 "$staged"/man/* "$share/man/man1"
$sudo install -D -m 644 "$staged/dm.bash" "$share/bash-completion/completions/dm"
$sudo install -D -m 644 "$staged/_dm" "$share/zsh/site-functions/_dm"
# Without XDG_DATA_DIRS, fish looks for completions of programs in /usr/local here only.
fish=$share/fish/vendor_completions.d
[ "$prefix" != /usr/local ] || fish=/etc/fish/completions
$sudo install -D -m 644 "$staged/dm.fish" "$fish/dm.fish"
