//! What can go wrong before and after a benchmark: wrong files, unknown names, ranges not met.
//!
//! The runs themselves cannot fail: they are arithmetic.

use std::fmt;
use std::path::{Path, PathBuf};

/// Why a benchmark did not run or did not pass.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A scenario file says something that cannot be.
    Scenario {
        /// The file, or a name for text that has none.
        file: PathBuf,
        /// Line, from 1; 0 when the whole file is meant.
        line: usize,
        /// The key, such as `phases[1].at`; empty when the text is not TOML at all.
        key: String,
        /// What is wrong with it.
        message: String,
    },
    /// An argument names nothing or contradicts another.
    Argument(String),
    /// A file could not be read or written.
    File {
        /// What was attempted.
        attempted: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Accepted ranges were not met; a line for each.
    NotMet(Vec<String>),
    /// Plots or the real-time bench failed.
    Other(String),
}

// === impl Error ===

impl Error {
    /// An error about the file at `path`.
    pub fn file(attempted: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::File { attempted, path: path.to_path_buf(), source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scenario { file, line, key, message } => {
                write!(out, "{}", file.display())?;
                if *line > 0 {
                    write!(out, ":{line}")?;
                }
                if !key.is_empty() {
                    write!(out, ": {key}")?;
                }
                write!(out, ": {message}")
            }
            Self::Argument(message) | Self::Other(message) => out.write_str(message),
            Self::File { attempted, path, .. } => write!(out, "{attempted} {}", path.display()),
            Self::NotMet(lines) => write!(out, "accepted ranges not met:\n  {}", lines.join("\n  ")),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { source, .. } => Some(source),
            _ => None,
        }
    }
}
