//! What the user is told when something does not work, and the exit code that goes with it.
//!
//! 1 the job failed · 2 job file, settings or arguments are wrong · 3 stopped on request after a drain · 130 ended at once.

use std::fmt::Display;
use std::process::ExitCode;

use forebay_core::{Error, Kind};
use forebay_engine::prepare::PrepareError;
use forebay_plan::JobFileError;
use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Report};

/// A failure on its way to the user.
#[derive(Debug)]
pub enum Problem {
    /// The job file is wrong at a place.
    File(Box<JobFileError>),
    /// Anything else.
    Other(Box<Error>),
}

// === impl Problem ===

impl Problem {
    /// Something on this machine did not work.
    pub fn failed(attempted: &str, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Error::new(Kind::Unavailable, attempted).source(source).into()
    }

    /// The arguments are wrong.
    pub fn invalid(attempted: &str, why: impl Display) -> Self {
        Error::new(Kind::Invalid, attempted).source(why.to_string()).into()
    }

    /// The text for the standard error.
    pub fn render(&self) -> String {
        match self {
            Problem::File(error) => render_file(error),
            Problem::Other(error) => {
                let help = advice(error.kind()).map(|help| format!("\n  help: {help}")).unwrap_or_default();
                format!("error: {}{help}", error.chain())
            }
        }
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Problem::File(_) => ExitCode::from(2),
            Problem::Other(error) if error.kind() == Kind::Invalid => ExitCode::from(2),
            Problem::Other(_) => ExitCode::from(1),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::Other(Box::new(error))
    }
}

impl From<JobFileError> for Problem {
    fn from(error: JobFileError) -> Self {
        Self::File(Box::new(error))
    }
}

impl From<PrepareError> for Problem {
    fn from(error: PrepareError) -> Self {
        match error {
            PrepareError::File(error) => error.into(),
            PrepareError::Outside(error) => error.into(),
        }
    }
}

/// What the user can do about an error of this kind, where the error does not say it itself.
fn advice(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Exhausted => {
            Some("free space or memory, then run again with `--resume latest`; nothing committed is lost")
        }
        Kind::Unavailable | Kind::Timeout | Kind::Overload => {
            Some("once it is reachable again, run again with `--resume latest`; nothing committed is lost")
        }
        Kind::Internal => Some("this is a bug of Forebay; please report it with this message"),
        _ => None,
    }
}

fn render_file(error: &JobFileError) -> String {
    let place = format!("{}:{}:{}", error.source.file, error.line, error.column);
    let mut diagnostic = MietteDiagnostic::new(format!("{place}: {}", error.message))
        .with_label(LabeledSpan::at(error.span.clone(), "here"));
    if let Some(help) = &error.help {
        diagnostic = diagnostic.with_help(help);
    }
    let source = NamedSource::new(&error.source.file, error.source.text.clone());
    let report = Report::new(diagnostic).with_source_code(source);
    let mut text = String::new();
    let theme = if std::io::IsTerminal::is_terminal(&std::io::stderr()) {
        GraphicalTheme::unicode()
    } else {
        GraphicalTheme::unicode_nocolor()
    };
    match GraphicalReportHandler::new_themed(theme).with_width(200).render_report(&mut text, &*report) {
        Ok(()) => format!("error: {}", text.trim()),
        Err(_) => format!("error: {place}: {}", error.message),
    }
}
