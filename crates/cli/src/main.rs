//! The `forebay` binary: the command line with nothing added.

use std::process::ExitCode;

use forebay::Components;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    forebay::main(Components::new())
}
