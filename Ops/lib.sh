# What the scripts here share: where the repository is, what a fresh Debian 12 with Swift lacks,
# and how progress is told. Sourced, never run; everything here leaves a machine that has it all alone.

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

# What building needs, and what testing needs besides. PostgreSQL joins the second list with the
# first test that speaks to it.
packages_to_build=(
    git ca-certificates pkg-config
    liburing-dev libhiredis-dev libssl-dev zlib1g-dev libsqlite3-dev
)
packages_to_test=(
    redis-server python3 python3-venv openssl
    nodejs node-ws libwebsockets-dev # others' clients, for test_interoperability.py
    valgrind # counts, for Benchmarks/micro
    iproute2 # a peer that is cut off, for test_faults.py
    haproxy nginx-light systemd procps # what reads the files in Ops, for Ops/validate and test_haproxy.py
)

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "$*"
    exit 1
}

elapsed() { printf '%02d:%02d' $((SECONDS / 60)) $((SECONDS % 60)); }

section() { printf '\n=== [%s] %s\n' "$(elapsed)" "$*" >&2; }

is_installed() {
    [[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" == installed ]]
}

# Installs those of the named Debian packages that are missing; asks for root only when one is.
install_missing() {
    local missing=() name
    if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
        say "No apt-get here: please see to it that these are installed: $*"
        return 0
    fi
    for name in "$@"; do
        is_installed "$name" || missing+=("$name")
    done
    ((${#missing[@]})) || return 0

    local as_root=(env DEBIAN_FRONTEND=noninteractive)
    if ((EUID != 0)); then
        command -v sudo >/dev/null || fail "Missing: ${missing[*]}. Neither root nor sudo here:" \
            "run 'apt-get install ${missing[*]}' as root, then try again."
        as_root=(sudo "${as_root[@]}")
    fi
    section "Installing ${missing[*]}"
    # Packages that bring a daemon must not start it: the tests start their own.
    local policy=/usr/sbin/policy-rc.d own_policy=
    if [[ ! -e $policy ]]; then
        own_policy=1
        printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" install -m 755 /dev/stdin "$policy"
    fi
    local status=0
    {
        "${as_root[@]}" apt-get update -qq &&
            "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}"
    } >&2 || status=$?
    [[ -z $own_policy ]] || "${as_root[@]}" rm -f "$policy"
    ((status == 0)) || fail "apt-get could not install ${missing[*]}. Install them by hand," \
        "then try again."
}

require_swift() {
    command -v swift >/dev/null ||
        fail "No 'swift' on the PATH. Skein needs Swift 6.3 or newer: https://www.swift.org/install/linux/"
    local version major minor
    version="$(swift --version 2>/dev/null | sed -nE 's/.*Swift version ([0-9]+\.[0-9]+).*/\1/p' | head -n 1)"
    major="${version%%.*}" minor="${version##*.}"
    [[ -n $version ]] && ((major > 6 || (major == 6 && minor >= 3))) ||
        fail "Swift ${version:-of an unknown version} is too old: Skein needs 6.3 or newer."
}

contract="$root/Tests/ContractTests"
venv="$contract/.venv"

# The contract tests' Python packages, in an environment of their own.
prepare_python() {
    local wanted
    wanted="$(python3 --version; cat "$contract/requirements.txt")"
    [[ -x "$venv/bin/python" && "$(cat "$venv/.made-for" 2>/dev/null)" == "$wanted" ]] && return 0
    rm -rf "$venv"
    python3 -m venv "$venv" &&
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
            -r "$contract/requirements.txt" &&
        printf '%s\n' "$wanted" >"$venv/.made-for"
}

# contract_files ARGUMENT…: all contract tests, with these arguments of pytest. Mostly they wait, so some files
# go at once, the long ones first; what one prints is shown whole when it failed, else its last line.
contract_files() {
    export contract venv
    export -f contract_file
    (cd "$contract" && ls -S test_*.py) |
        xargs -P $(($(nproc) + 1)) -I FILE bash -c 'contract_file "$@"' - FILE "$@"
}

contract_file() {
    local log status=0
    log="$(mktemp)"
    (cd "$contract" && "$venv/bin/python" -m pytest "$@") >"$log" 2>&1 </dev/null || status=$?
    # 5: nothing selected, which is an answer when a pattern was asked for.
    ((status != 5)) || status=0
    if ((status)); then
        printf '\n--- %s\n%s\n' "$1" "$(<"$log")"
    else
        printf '%-32s %s\n' "$1" "$(tail -n 1 "$log")"
    fi
    rm -f "$log"
    return "$status"
}
