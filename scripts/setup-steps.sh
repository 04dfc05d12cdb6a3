# Sourced by the scripts beside it: step lines with elapsed seconds, one sentence on failure, packages when root.
# shellcheck shell=bash

set -Eeuo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

# One clock for a script and those it calls.
export SETUP_CLOCK=${SETUP_CLOCK:-$(date +%s)}

# Exit code that means: no engine can run here, everything else is fine.
NO_ENGINE=3

trap 'fail 1 "$(basename "$0") stopped at line $LINENO ($BASH_COMMAND): run \"bash -x scripts/$(basename "$0")\" to see why."' ERR

step() {
    printf '[%4ds] %s\n' "$(($(date +%s) - SETUP_CLOCK))" "$*"
}

# fail CODE SENTENCE: the sentence names the remedy.
fail() {
    trap - ERR
    printf '\nerror: %s\n' "$2" >&2
    exit "$1"
}

# watched COMMAND...: runs it, shows its latest line every 8 seconds; after a failure shows its last 15 lines.
watched() {
    local output ticker status=0
    output=$(mktemp)
    (
        while sleep 8 >/dev/null 2>&1; do
            step "  … $(tail -n 1 "$output" | tr -d '\r' | cut -c 1-100)"
        done
    ) &
    ticker=$!
    "$@" >"$output" 2>&1 </dev/null || status=$?
    kill "$ticker" 2>/dev/null || true
    wait "$ticker" 2>/dev/null || true
    if [ "$status" -ne 0 ]; then
        tail -n 15 "$output" | sed 's/^/    /' >&2
    fi
    rm -f "$output"
    return "$status"
}

# True where packages can be installed: Debian or Ubuntu, as root.
can_install() {
    command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ]
}

lists_are_fresh() {
    [ -n "$(find /var/lib/apt/lists -maxdepth 1 -name '*_Packages*' -mtime -1 -print -quit 2>/dev/null)" ]
}

# install_packages PACKAGE...: as root, without questions. Package lists are fetched when missing, old or wrong.
install_packages() {
    local apt=(apt-get -q -y -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0)
    export DEBIAN_FRONTEND=noninteractive
    if ! lists_are_fresh; then
        step "Fetching package lists"
        watched "${apt[@]}" update || return
    fi
    step "Installing $*"
    if ! watched "${apt[@]}" install --no-install-recommends "$@"; then
        step "Fetching package lists again, then installing $*"
        watched "${apt[@]}" update && watched "${apt[@]}" install --no-install-recommends "$@"
    fi
}

# need_programs WHY PROGRAM:PACKAGE...: installs what is missing, or says what to install.
need_programs() {
    local why=$1 pair missing=()
    shift
    for pair in "$@"; do
        command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    can_install || fail 1 "$why needs ${missing[*]}: install them, then run this again."
    install_packages "${missing[@]}" || fail 1 "Installing ${missing[*]} failed: check the machine's package mirror."
}
