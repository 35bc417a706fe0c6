#!/usr/bin/env bash
# The simulation at length, on all cores: SEEDS seeds of the whole engine (default 100,000), from FIRST_SEED on, then every
# planted bug from three first seeds. `cargo test` runs 2,000 seeds, and looks for each bug once. Shows progress.
set -euo pipefail
cd "$(dirname "$0")/.."

SEEDS="${SEEDS:-100000}" cargo test --workspace --test seeds -- --nocapture
MUTANT_STARTS="${MUTANT_STARTS:-3}" cargo test --workspace --test mutants -- --nocapture
