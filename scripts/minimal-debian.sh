# shellcheck shell=sh
# A function for scripts that make a minimal Debian.

# minimal_debian TARGET [OPTION…]: runs mmdebstrap. On a Debian bookworm machine it uses the machine's package sources.
minimal_debian() {
    minimal_target=$1
    shift
    apt_options=$(mktemp)
    apt-config dump | grep -E '^Acquire::(https?::Proxy|Check-)' >"$apt_options" || true
    set -- --quiet --variant=minbase --aptopt="$apt_options" --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' "$@" bookworm "$minimal_target"
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
        if grep -qs bookworm "$file" && grep -qs debian "$file" && grep -qsw main "$file"; then
            set -- "$@" "$file"
        fi
    done
    mmdebstrap "$@"
    rm -f "$apt_options"
}
