//! Tables and checks of models that are Python functions.
//!
//! Whether the function exists is its worker's to say, when the job is planned; here only the settings are looked at.

use std::fmt;
use std::ops::Range;

use schemars::JsonSchema;
use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use toml::Spanned;

use super::JobFileError;
use super::check::Checker;
use super::tables::{HostName, ModelTable};
use crate::spec::{PythonCode, PythonSpec};

type Result<T> = std::result::Result<T, JobFileError>;

/// One path or several.
#[derive(Debug, Clone, JsonSchema)]
#[serde(untagged)]
pub enum PathText {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

struct PathVisitor;

// === impl PathText ===

impl<'de> Deserialize<'de> for PathText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(PathVisitor)
    }
}

impl<'de> Visitor<'de> for PathVisitor {
    type Value = PathText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a path or a list of paths")
    }

    fn visit_str<E: Error>(self, path: &str) -> std::result::Result<PathText, E> {
        Ok(PathText::One(path.to_string()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> std::result::Result<PathText, A::Error> {
        let mut paths = Vec::new();
        while let Some(path) = items.next_element()? {
            paths.push(path);
        }
        Ok(PathText::Many(paths))
    }
}

/// The function that `table` declares as the model `name`, whose section is at `span`.
pub(super) fn python(checker: &Checker, name: &str, span: Range<usize>, table: ModelTable) -> Result<PythonSpec> {
    refuse_process_keys(checker, &table)?;
    let text = |what: &str, text: Option<Spanned<String>>| text.map(|text| checker.filled(what, text)).transpose();
    let code = match (table.function, table.pickled) {
        (Some(function), None) => PythonCode::Function(named(checker, function)?),
        (None, Some(file)) => PythonCode::Pickled(checker.filled("pickled", file)?),
        (Some(_), Some(file)) => {
            return Err(checker.error(file.span(), "a model has function or pickled, not both"));
        }
        (None, None) => {
            let error = checker.error(span, format!("model \"{name}\" has no function"));
            return Err(error.with_help("function = \"MODULE:NAME\""));
        }
    };
    Ok(PythonSpec {
        code,
        path: folders(checker, table.path)?,
        version: text("version", table.version)?,
        interpreter: text("python", table.python)?,
        use_process: table.use_process.is_none_or(Spanned::into_inner),
        memory_bytes: table.memory.map(|size| memory(checker, &size)).transpose()?,
        gpu_thousandths: table.gpu.map(|gpu| thousandths(checker, &gpu)).transpose()?,
        gpu_memory_bytes: table.gpu_memory.map(|size| gpu_memory(checker, &size)).transpose()?,
        signature: table.signature.map(|signature| signature.get_ref().to_string()),
    })
}

/// Refuses what only a Python function has.
pub(super) fn refuse_python_keys(checker: &Checker, table: &ModelTable) -> Result<()> {
    let given = [
        ("function", table.function.as_ref().map(Spanned::span)),
        ("pickled", table.pickled.as_ref().map(Spanned::span)),
        ("version", table.version.as_ref().map(Spanned::span)),
        ("python", table.python.as_ref().map(Spanned::span)),
        ("use_process", table.use_process.as_ref().map(Spanned::span)),
        ("memory", table.memory.as_ref().map(Spanned::span)),
        ("gpu", table.gpu.as_ref().map(Spanned::span)),
        ("gpu_memory", table.gpu_memory.as_ref().map(Spanned::span)),
        ("signature", table.signature.as_ref().map(Spanned::span)),
    ];
    match given.into_iter().find_map(|(key, span)| Some((key, span?))) {
        Some((key, span)) if table.host != HostName::Python => Err(checker
            .error(span, format!("{key} is for host = \"python\""))
            .with_help("remove it, or change the host")),
        _ => Ok(()),
    }
}

/// Refuses what only a process of its own can keep to, where the function is not to have one.
fn refuse_process_keys(checker: &Checker, table: &ModelTable) -> Result<()> {
    if table.use_process.as_ref().is_none_or(|use_process| *use_process.get_ref()) {
        return Ok(());
    }
    let given = [
        ("python", table.python.as_ref().map(Spanned::span)),
        ("memory", table.memory.as_ref().map(Spanned::span)),
        ("gpu", table.gpu.as_ref().map(Spanned::span)),
        ("gpu_memory", table.gpu_memory.as_ref().map(Spanned::span)),
    ];
    match given.into_iter().find_map(|(key, span)| Some((key, span?))) {
        Some((key, span)) => Err(checker
            .error(span, format!("{key} is for functions with a process of their own"))
            .with_help("remove it, or use_process")),
        None => Ok(()),
    }
}

/// `MODULE:NAME`, each a dotted name.
fn named(checker: &Checker, function: Spanned<String>) -> Result<String> {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let dotted = |name: &str| name.split('.').all(|word| !word.is_empty() && word.chars().all(part));
    match function.get_ref().split_once(':') {
        Some((module, name)) if dotted(module) && dotted(name) => Ok(function.into_inner()),
        _ => Err(checker
            .error(function.span(), format!("\"{}\" names no function", function.get_ref()))
            .with_help("MODULE:NAME, for example \"shop.models:Classifier\"")),
    }
}

fn folders(checker: &Checker, path: Option<Spanned<PathText>>) -> Result<Vec<String>> {
    let Some(path) = path else { return Ok(Vec::new()) };
    let span = path.span();
    let paths = match path.into_inner() {
        PathText::One(path) => vec![path],
        PathText::Many(paths) => paths,
    };
    paths.into_iter().map(|path| checker.filled("path", Spanned::new(span.clone(), path))).collect()
}

/// A part of a GPU or whole ones.
fn thousandths(checker: &Checker, gpu: &Spanned<f64>) -> Result<u32> {
    const GPUS_MAX: f64 = 64.0;
    let count = *gpu.get_ref();
    if (0.001..1.0).contains(&count) || (count.fract() == 0.0 && (1.0..=GPUS_MAX).contains(&count)) {
        return Ok((count * 1000.0).round() as u32);
    }
    let error = checker.error(gpu.span(), format!("gpu = {count} is neither a part of a GPU nor whole ones"));
    Err(error.with_help("a part from 0.001 to 0.999, or 1, 2, ... up to 64"))
}

fn gpu_memory(checker: &Checker, size: &Spanned<super::units::SizeText>) -> Result<u64> {
    match size.get_ref().0 {
        0 => Err(checker.error(size.span(), "gpu_memory is at least one byte")),
        bytes => Ok(bytes),
    }
}

fn memory(checker: &Checker, size: &Spanned<super::units::SizeText>) -> Result<u64> {
    /// Less than this, and the interpreter itself does not start.
    const MEMORY_BYTES_MIN: u64 = 64 << 20;
    match size.get_ref().0 {
        bytes if bytes >= MEMORY_BYTES_MIN => Ok(bytes),
        _ => Err(checker.error(size.span(), "memory is at least 64MiB, which the interpreter itself needs")),
    }
}
