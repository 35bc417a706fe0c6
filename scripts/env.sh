# Sourced by the Makefile and by the other scripts: where everything that is not source lives, and which Rust is used.
#
#   FOREBAY_CACHE      downloads and build products; default ~/.cache/forebay. Removing it costs a cold build, nothing else.
#   CARGO_TARGET_DIR   default $FOREBAY_CACHE/target, outside the clone, so that a second clone builds incrementally.
#   RUSTUP_HOME        used as exported. Without it rustup looks in the home folder; when that one holds no toolchain (an
#                      empty home folder), the one installed beside the `cargo` on the PATH is taken.

export FOREBAY_CACHE="${FOREBAY_CACHE:-$HOME/.cache/forebay}"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$FOREBAY_CACHE/target}"

if ! command -v cargo >/dev/null; then
    echo "forebay: no cargo on the PATH; install Rust from https://rustup.rs first" >&2
    exit 1
fi
if [ -z "${RUSTUP_HOME:-}" ] && [ ! -d "$HOME/.rustup/toolchains" ]; then
    beside="$(cd "$(dirname "$(command -v cargo)")/../.." && pwd)/.rustup"
    if [ -d "$beside/toolchains" ]; then
        export RUSTUP_HOME="$beside"
    fi
fi
