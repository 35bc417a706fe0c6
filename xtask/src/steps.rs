//! Runs the steps of a chore one after another and prints what each cost.
//!
//! The first step that fails ends the run: later steps would mostly repeat its complaint. The closing table names every
//! step, also those that were not reached, so that nothing looks done that was not.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// One step of a chore.
pub struct Step {
    /// What the table calls it.
    pub name: String,
    /// What is done.
    pub action: Action,
}

/// What a step does.
pub enum Action {
    /// Runs a program in the repository's root; exit codes in `accepted` count as success, beside 0.
    Run { program: PathBuf, arguments: Vec<String>, variables: Vec<(String, String)>, accepted: Vec<i32> },
    /// Calls a function with the repository's root.
    Call(fn(&Path) -> bool),
    /// Does nothing, and says why.
    Skip(String),
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    Skipped(String),
    NotReached,
}

// === impl Step ===

impl Step {
    /// A step that runs `program` with arguments split at spaces.
    pub fn run(name: &str, program: impl Into<PathBuf>, arguments: &str) -> Step {
        let arguments = arguments.split_whitespace().map(str::to_string).collect();
        let action = Action::Run { program: program.into(), arguments, variables: Vec::new(), accepted: Vec::new() };
        Step { name: name.to_string(), action }
    }

    /// A step that calls a function.
    pub fn call(name: &str, function: fn(&Path) -> bool) -> Step {
        Step { name: name.to_string(), action: Action::Call(function) }
    }

    /// A step that is left out, with the reason that the table shows.
    pub fn skip(name: &str, reason: &str) -> Step {
        Step { name: name.to_string(), action: Action::Skip(reason.to_string()) }
    }

    /// Sets an environment variable for the program.
    pub fn with_variable(mut self, name: &str, value: &str) -> Step {
        if let Action::Run { variables, .. } = &mut self.action {
            variables.push((name.to_string(), value.to_string()));
        }
        self
    }
}

/// Runs `steps` in order until one fails; prints the table; `true` if none failed.
pub fn run(root: &Path, steps: Vec<Step>) -> bool {
    let mut rows = Vec::new();
    let mut failed = false;
    for step in steps {
        let (outcome, took) =
            if failed { (Outcome::NotReached, Duration::ZERO) } else { timed(|| perform(root, &step)) };
        failed |= outcome == Outcome::Failed;
        rows.push((step.name, outcome, took));
    }
    print!("\n{}", table(&rows));
    !failed
}

#[expect(
    clippy::disallowed_methods,
    reason = "a chore reports the wall time a person waited; no engine code runs here"
)]
fn timed(action: impl FnOnce() -> Outcome) -> (Outcome, Duration) {
    let begin = std::time::Instant::now();
    let outcome = action();
    (outcome, begin.elapsed())
}

fn perform(root: &Path, step: &Step) -> Outcome {
    let good = match &step.action {
        Action::Skip(reason) => return Outcome::Skipped(reason.clone()),
        Action::Call(function) => {
            println!("--- {}", step.name);
            function(root)
        }
        Action::Run { program, arguments, variables, accepted } => {
            println!("--- {}: {} {}", step.name, program.display(), arguments.join(" "));
            let mut command = Command::new(program);
            command.args(arguments).envs(variables.iter().cloned()).current_dir(root);
            forget_cargo(&mut command);
            match command.status() {
                Ok(status) => status.success() || status.code().is_some_and(|code| accepted.contains(&code)),
                Err(error) => {
                    eprintln!("{}: {error}; run scripts/setup.sh", program.display());
                    false
                }
            }
        }
    };
    if good { Outcome::Passed } else { Outcome::Failed }
}

/// Takes away what `cargo run` set for this program: a build script that watches one of these variables would run again.
fn forget_cargo(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let Some(name) = name.to_str() else { continue };
        if name == "CARGO" || name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
}

fn table(rows: &[(String, Outcome, Duration)]) -> String {
    let width = rows.iter().map(|(name, ..)| name.len()).max().unwrap_or(0).max("total".len());
    let mut text = format!("{:<width$}  {:>8}  outcome\n", "step", "seconds");
    for (name, outcome, took) in rows {
        let said = match outcome {
            Outcome::Passed => "ok".to_string(),
            Outcome::Failed => "FAILED".to_string(),
            Outcome::Skipped(reason) => format!("skipped: {reason}"),
            Outcome::NotReached => "not reached".to_string(),
        };
        text.push_str(&format!("{name:<width$}  {:>8.1}  {said}\n", took.as_secs_f64()));
    }
    let total: Duration = rows.iter().map(|(_, _, took)| *took).sum();
    text.push_str(&format!("{:<width$}  {:>8.1}\n", "total", total.as_secs_f64()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_program_fails_its_step() {
        let here = Path::new(".");
        assert_eq!(perform(here, &Step::run("false", "false", "")), Outcome::Failed);
        assert_eq!(perform(here, &Step::run("none", "no-such-program", "")), Outcome::Failed);
        assert!(run(here, vec![Step::run("true", "true", "")]));
        assert!(!run(here, vec![Step::run("false", "false", ""), Step::run("true", "true", "")]));
    }

    #[test]
    fn an_accepted_exit_code_passes() {
        let mut step = Step::run("five", "bash", "");
        if let Action::Run { arguments, accepted, .. } = &mut step.action {
            *arguments = vec!["-c".to_string(), "exit 5".to_string()];
            *accepted = vec![5];
        }
        assert_eq!(perform(Path::new("."), &step), Outcome::Passed);
    }

    #[test]
    fn the_table_names_steps_that_were_not_reached() {
        let rows = vec![
            ("format".to_string(), Outcome::Passed, Duration::from_millis(1250)),
            ("build".to_string(), Outcome::Failed, Duration::from_secs(3)),
            ("test".to_string(), Outcome::NotReached, Duration::ZERO),
            ("pytest".to_string(), Outcome::Skipped("no tests/".to_string()), Duration::ZERO),
        ];
        let expected = "\
step     seconds  outcome
format       1.2  ok
build        3.0  FAILED
test         0.0  not reached
pytest       0.0  skipped: no tests/
total        4.2
";
        assert_eq!(table(&rows), expected);
    }
}
