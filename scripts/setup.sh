#!/usr/bin/env bash
# setup.sh [tests]: installs what a build and the demo need on Debian 12 with Rust and Python 3.11. Idempotent; says nothing
# when nothing is missing. What it installs: Debian packages for the C libraries that are built from source (libjpeg-turbo
# needs cmake and nasm), and a virtual environment with the pinned tools of python/requirements-tools.txt. With `tests` also
# what only tests ask for, 2.5 GB: environments with the model servers of python/requirements-servers.txt and
# python/requirements-kserve.txt, and with the torch of python/requirements-torch.txt.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh

# --- Debian packages: package name and a program that proves it ---
missing=()
for pair in nasm:nasm cmake:cmake g++:g++ make:make pkg-config:pkg-config; do
    command -v "${pair#*:}" >/dev/null || missing+=("${pair%%:*}")
done
# Debian's Python comes without the module that makes virtual environments.
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
if [ ${#missing[@]} -gt 0 ]; then
    command -v apt-get >/dev/null || {
        echo "setup: no apt-get here; install by hand what these hold, then run again: ${missing[*]}" >&2
        exit 1
    }
    echo "setup: installing ${missing[*]}"
    as_root=()
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# --- Python, one environment a list, made anew when the list, the Python or the place changes ---
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "setup: Python 3.11 or later is needed, found $(python3 --version)" >&2
    exit 1
}
environment() { # LIST PLACE [OPTION_OF_PIP]
    local list="$1" venv="$2" mark="$2/.made-from" made_from
    made_from="$(cat "$list" <(python3 --version) <(echo "$venv") | sha256sum | cut -d' ' -f1)"
    [ "$(cat "$mark" 2>/dev/null)" != "$made_from" ] || return 0
    echo "setup: making $venv from $list"
    rm -f "$mark"
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: "${@:3}" --requirement "$list"
    echo "$made_from" >"$mark"
}
environment python/requirements-tools.txt "$FOREBAY_CACHE/venv"
[ "${1:-}" = tests ] || exit 0
environment python/requirements-servers.txt "$FOREBAY_CACHE/venv-servers"
environment python/requirements-kserve.txt "$FOREBAY_CACHE/venv-kserve"
environment python/requirements-torch.txt "$FOREBAY_CACHE/venv-torch" --no-deps
"$FOREBAY_CACHE/venv-torch/bin/python" scripts/torch_without_cuda.py
