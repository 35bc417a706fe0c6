#!/usr/bin/env bash
# Installs the two cargo tools that only `make lint` and `make test` use. Idempotent; says nothing when both are there.
# Debug builds: they run for seconds, and a release build of cargo-deny would cost several times what it saves.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/env.sh

root="$FOREBAY_CACHE/tools"
products="$FOREBAY_CACHE/target-tools" # about 1 GiB, of no use once the programs are installed
for pin in cargo-machete@0.9.2 cargo-deny@0.20.2; do
    name="${pin%@*}"
    if [ "$("$root/bin/$name" --version 2>/dev/null | awk '{print $NF}')" != "${pin#*@}" ]; then
        echo "tools: building $pin"
        CARGO_TARGET_DIR="$products" cargo install --quiet --locked --debug --force --root "$root" "$pin"
    fi
done
rm -rf "$products"
