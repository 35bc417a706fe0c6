//! The `forebay` command line with one more function: `visits run job.toml --checkpoints DIR`.

mod sessions;

use std::process::ExitCode;

use forebay::Components;

fn main() -> ExitCode {
    forebay::main(Components::new().process::<sessions::Sessions>("sessions"))
}
