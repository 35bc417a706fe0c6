//! `${NAME}` in the strings of a job file.
//!
//! Only string values are looked at, after TOML was parsed: a variable can never change the structure of a job. `$${` is a
//! plain `${`. Values come from a function passed in; nothing here reads the environment.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A variable that is not set or a reference that is not closed.
pub(super) struct Missing {
    pub span: Range<usize>,
    pub message: String,
    pub help: &'static str,
}

pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Replaces every reference in every string value of `table`.
pub(super) fn substitute(table: &mut Spanned<DeTable<'_>>, lookup: Lookup<'_>) -> Result<(), Missing> {
    table.get_mut().iter_mut().try_for_each(|(_, value)| in_value(value, lookup))
}

fn in_value(value: &mut Spanned<DeValue<'_>>, lookup: Lookup<'_>) -> Result<(), Missing> {
    let span = value.span();
    match value.get_mut() {
        DeValue::String(text) if text.contains("${") => {
            let full = expand(text, lookup).map_err(|(message, help)| Missing { span, message, help })?;
            *text = full.into();
            Ok(())
        }
        DeValue::Array(items) => items.iter_mut().try_for_each(|item| in_value(item, lookup)),
        DeValue::Table(table) => table.iter_mut().try_for_each(|(_, value)| in_value(value, lookup)),
        _ => Ok(()),
    }
}

fn expand(text: &str, lookup: Lookup<'_>) -> Result<String, (String, &'static str)> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, after) = (&rest[..start], &rest[start + 2..]);
        if let Some(escaped) = before.strip_suffix('$') {
            out.push_str(escaped);
            out.push_str("${");
            rest = after;
            continue;
        }
        let Some((name, tail)) = after.split_once('}') else {
            return Err(("\"${\" without \"}\"".to_string(), "write $${ for a plain ${"));
        };
        let Some(value) = lookup(name) else {
            return Err((format!("environment variable {name} is not set"), "set it, or write $${ for a plain ${"));
        };
        out.push_str(before);
        out.push_str(&value);
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(text: &str) -> Result<String, String> {
        expand(text, &|name| (name == "HOME").then(|| "/root".to_string())).map_err(|(message, _)| message)
    }

    #[test]
    fn references_escapes_and_slips() {
        assert_eq!(case("${HOME}/in/${HOME}").unwrap(), "/root/in//root");
        assert_eq!(case("cost $5 $${HOME}").unwrap(), "cost $5 ${HOME}");
        assert_eq!(case("${NOPE}").unwrap_err(), "environment variable NOPE is not set");
        assert_eq!(case("${HOME").unwrap_err(), "\"${\" without \"}\"");
    }
}
