#!/usr/bin/env bash
# Model checks of the pure cores at their large bound: every order of steps and crashes within it. `cargo test` runs the same
# checks at a small bound. Prints the states of each model; see docs/internals/regions.md for what each promises.
set -euo pipefail
cd "$(dirname "$0")/.."

export FOREBAY_VERIFY=large
cargo test --workspace --lib -- model_tests --nocapture --test-threads=1 | grep --line-buffered -E '^(test .* \.\.\. )?model |^(test .*)?(ok|FAILED)$|^test result: .* [1-9][0-9]* passed|panicked'
