//! Credentials by name: `secret://NAME` in settings, the value from outside, read once when a model's host is made.
//!
//! The value lives in a [`Secret`], which shows as `***` however it is printed, and leaves it only into a request's
//! header. It is in no plan, log, error or checkpoint.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use forebay_core::{Error, Kind, Result};
use http::HeaderValue;

/// How a setting names a credential.
pub const SCHEME: &str = "secret://";

/// The folder with one file a credential, named by this variable.
pub const FOLDER_VARIABLE: &str = "FOREBAY_SECRETS_DIR";

/// The value of a credential. Neither `Debug` nor `Display` shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

/// The value of a variable, by its name.
type Variable = dyn Fn(&str) -> Option<String> + Send + Sync;

/// Where credentials are looked up.
#[derive(Clone)]
pub struct Secrets {
    variable: Arc<Variable>,
}

// === impl Secret ===

impl Secret {
    /// Keeps `value`.
    pub fn new(value: &str) -> Self {
        Self(value.into())
    }

    /// As a header's value after `prefix`, marked so that no HTTP library prints or indexes it.
    ///
    /// # Errors
    /// `Invalid` if it has bytes that no header may have; the error does not repeat them.
    pub(super) fn header(&self, prefix: &str) -> Result<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("{prefix}{}", self.0)).map_err(|_| {
            Error::new(Kind::Invalid, "read credential")
                .source("it has a line end or another byte that no header may have")
        })?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// The value, to take it out of what a server said. Use for nothing else.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

// === impl Secrets ===

impl Secrets {
    /// Those of this process: environment variables, then files in `FOREBAY_SECRETS_DIR`.
    pub fn of_process() -> Self {
        Self::new(|name| std::env::var(name).ok())
    }

    /// Those that `variable` gives, by name, in place of environment variables.
    pub fn new(variable: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self { variable: Arc::new(variable) }
    }

    /// The credential that `reference`, `secret://NAME`, names: the variable NAME, else the file NAME without the
    /// line end it may close with.
    ///
    /// # Errors
    /// `Invalid` if the reference is a bare value (which is not repeated), the name could leave the folder, or
    /// nothing or nothing but white space is found.
    pub fn resolve(&self, reference: &str) -> Result<Secret> {
        let error = || Error::new(Kind::Invalid, "read credential");
        let Some(name) = reference.strip_prefix(SCHEME) else {
            return Err(error().source(format!("credentials are named, never written: use {SCHEME}NAME")));
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        if name.is_empty() || name.starts_with('.') || !name.bytes().all(plain) {
            return Err(error().with("length", name.len()).source("a name has letters, digits, `_`, `-` and `.`"));
        }
        let value = match (self.variable)(name) {
            Some(value) => Some(value),
            None => self.file(name)?,
        };
        match value.as_deref().map(str::trim) {
            Some("") => Err(error().with("name", name).source("it is empty")),
            Some(value) => Ok(Secret::new(value)),
            None => Err(error().with("name", name).source(format!(
                "set the variable {name}, or write the file {name} in the folder that {FOLDER_VARIABLE} names"
            ))),
        }
    }

    fn file(&self, name: &str) -> Result<Option<String>> {
        let Some(folder) = (self.variable)(FOLDER_VARIABLE) else { return Ok(None) };
        match std::fs::read_to_string(PathBuf::from(folder).join(name)) {
            Ok(value) => Ok(Some(value)),
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::new(Kind::Invalid, "read credential").with("name", name).source(source)),
        }
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(folder: &std::path::Path) -> Secrets {
        let folder = folder.display().to_string();
        Secrets::new(move |name| match name {
            FOLDER_VARIABLE => Some(folder.clone()),
            "FROM_VARIABLE" => Some("value-of-variable".to_string()),
            "BROKEN" => Some("two\nlines".to_string()),
            _ => None,
        })
    }

    #[test]
    fn a_variable_comes_first_and_a_file_second() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("FROM_VARIABLE"), "value-of-file").unwrap();
        std::fs::write(folder.path().join("FROM_FILE"), "value-of-file\n").unwrap();
        let secrets = secrets(folder.path());
        assert_eq!(secrets.resolve("secret://FROM_VARIABLE").unwrap().reveal(), "value-of-variable");
        assert_eq!(secrets.resolve("secret://FROM_FILE").unwrap().reveal(), "value-of-file");
    }

    #[test]
    fn what_cannot_be_resolved_is_said_without_the_value() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = secrets(folder.path());
        let chain = |reference: &str| secrets.resolve(reference).unwrap_err().chain();
        assert_eq!(chain("sk-written"), "read credential: credentials are named, never written: use secret://NAME");
        assert!(chain("secret://../etc/passwd").contains("letters, digits"));
        assert!(chain("secret://ABSENT").contains("set the variable ABSENT"));
        let broken = secrets.resolve("secret://BROKEN").unwrap().header("Bearer ").unwrap_err();
        assert!(!broken.chain().contains("two"), "{}", broken.chain());
    }

    #[test]
    fn no_way_of_printing_shows_the_value() {
        let secret = Secret::new("sk-hidden");
        let header = secret.header("Bearer ").unwrap();
        assert_eq!(format!("{secret} {secret:?} {header:?}"), "*** *** Sensitive");
    }
}
