//! Reads scenario files and says, with file, line and key, what is wrong with them.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Backend, Scenario};
use crate::error::Error;

/// Reads the scenario at `path`.
///
/// # Errors
/// `File` when it cannot be read, `Scenario` when it says something that cannot be.
pub fn load(path: &Path) -> Result<Scenario, Error> {
    let text = std::fs::read_to_string(path).map_err(|error| Error::file("read scenario", path, error))?;
    parse(&text, path)
}

/// Reads a file, or every `*.toml` of a folder in the order of their names.
///
/// # Errors
/// Those of [`load`]; `Argument` when the folder holds none or two bear one name.
pub fn load_all(path: &Path) -> Result<Vec<Scenario>, Error> {
    if !path.exists() {
        let place = path.display();
        return Err(Error::Argument(format!(
            "{place} is not here: run in the repository, or give --scenario FILE or DIR"
        )));
    }
    if !path.is_dir() {
        return Ok(vec![load(path)?]);
    }
    let listed = |error| Error::file("list scenarios in", path, error);
    let entries: Vec<PathBuf> = std::fs::read_dir(path)
        .map_err(listed)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(listed)?;
    let mut files: Vec<PathBuf> =
        entries.into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "toml")).collect();
    files.sort();
    let scenarios: Vec<Scenario> = files.iter().map(|file| load(file)).collect::<Result<_, _>>()?;
    if scenarios.is_empty() {
        return Err(Error::Argument(format!("no *.toml in {}", path.display())));
    }
    for (index, scenario) in scenarios.iter().enumerate() {
        if scenarios[..index].iter().any(|earlier| earlier.name == scenario.name) {
            return Err(Error::Argument(format!("two scenarios in {} are named {}", path.display(), scenario.name)));
        }
    }
    Ok(scenarios)
}

/// Reads `text`; `file` is named in errors only.
///
/// # Errors
/// `Scenario`, with the line and key that are wrong.
pub fn parse(text: &str, file: &Path) -> Result<Scenario, Error> {
    let at = |span: Range<usize>, key: String, message: &str| Error::Scenario {
        file: file.to_path_buf(),
        line: line_of(text, span.start),
        key,
        message: message.to_string(),
    };
    let scenario: Scenario = toml::from_str(text).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        at(span.clone(), key_at(text, span.start), error.message())
    })?;
    match contradiction(&scenario) {
        None => Ok(scenario),
        Some((key, message)) => Err(at(find(text, &key).unwrap_or(0..0), key, &message)),
    }
}

fn line_of(text: &str, position: usize) -> usize {
    text[..position.min(text.len())].matches('\n').count() + 1
}

/// What no single key shows to be wrong: the key to blame and why.
fn contradiction(scenario: &Scenario) -> Option<(String, String)> {
    let blame = |key: &str, message: &str| Some((key.to_string(), message.to_string()));
    for (index, phase) in scenario.phases.iter().enumerate() {
        let key = |name: &str| format!("phases[{index}].{name}");
        if index > 0 && phase.at <= scenario.phases[index - 1].at {
            return Some((key("at"), "a phase must begin after the one before it".into()));
        }
        if phase.at >= scenario.length {
            return Some((key("at"), "the run is over before this phase begins".into()));
        }
        if phase.rate_limit.is_some() && scenario.gateway.is_none() {
            return Some((key("rate_limit"), "there is no [gateway] that could limit a rate".into()));
        }
        let replicas = match &scenario.backend {
            Backend::Slots(slots) => slots.replicas,
            _ => 0,
        };
        if phase.replicas.iter().any(|own| own.replica > replicas) {
            return Some((key("replicas"), format!("the backend has {replicas} replicas")));
        }
    }
    for (index, client) in scenario.clients.iter().enumerate() {
        if client.stop.is_some_and(|stop| stop <= client.start) {
            return Some((format!("clients[{index}].stop"), "it leaves before it begins".into()));
        }
    }
    if scenario.rows_per_call_max > 1 && !scenario.backend.takes_client_batches() {
        return blame("rows_per_call_max", "this backend takes one row a call");
    }
    if scenario.hedge.is_some() && scenario.backend.visible_replicas() < 2 {
        return blame("hedge", "hedging needs two visible replicas");
    }
    if scenario.timeout_seconds() <= scenario.round_trip.0 {
        return blame("timeout", "the link alone takes longer");
    }
    None
}

/// The dotted name of the innermost key whose value holds `position`; empty when the text is not TOML.
fn key_at(text: &str, position: usize) -> String {
    let mut key = String::new();
    if let Ok(table) = DeTable::parse(text) {
        deepen(table.get_ref(), position, &mut key);
    }
    key
}

fn deepen(table: &DeTable<'_>, position: usize, key: &mut String) {
    let holds = |span: Range<usize>| span.start <= position && position < span.end.max(span.start + 1);
    for (name, value) in table {
        let own = holds(name.span()) || holds(value.span());
        let inner = inside(value, position);
        if !own && inner.is_none() {
            continue;
        }
        if !key.is_empty() {
            key.push('.');
        }
        key.push_str(name.get_ref());
        if let Some((index, table)) = inner {
            if let Some(index) = index {
                key.push_str(&format!("[{index}]"));
            }
            deepen(table, position, key);
        }
        return;
    }
}

/// The table in `value` that holds `position` anywhere below it, with its place when `value` is a list.
fn inside<'a>(value: &'a Spanned<DeValue<'_>>, position: usize) -> Option<(Option<usize>, &'a DeTable<'a>)> {
    match value.get_ref() {
        DeValue::Table(table) if mentions(table, position) => Some((None, table)),
        DeValue::Array(items) => items.iter().enumerate().find_map(|(index, item)| match item.get_ref() {
            DeValue::Table(table) if mentions(table, position) => Some((Some(index), table)),
            _ => None,
        }),
        _ => None,
    }
}

fn mentions(table: &DeTable<'_>, position: usize) -> bool {
    table.iter().any(|(name, value)| {
        let (name, own) = (name.span(), value.span());
        (name.start <= position && position < name.end)
            || (own.start <= position && position < own.end)
            || inside(value, position).is_some()
    })
}

/// Where the value of a dotted key stands.
fn find(text: &str, key: &str) -> Option<Range<usize>> {
    let table = DeTable::parse(text).ok()?;
    let mut current = table.get_ref();
    let mut span = None;
    for part in key.split('.') {
        let (name, index) = match part.split_once('[') {
            Some((name, rest)) => (name, rest.trim_end_matches(']').parse::<usize>().ok()),
            None => (part, None),
        };
        let mut value = current.get(name)?;
        if let (Some(index), DeValue::Array(items)) = (index, value.get_ref()) {
            value = items.get(index)?;
        }
        span = Some(value.span());
        if let DeValue::Table(table) = value.get_ref() {
            current = table;
        }
    }
    span
}
