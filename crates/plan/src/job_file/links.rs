//! Which stream each step and each sink reads, by uid.
//!
//! A step reads only what stands before it, so a cycle cannot be written. Every source and every step has a reader: rows
//! that nobody reads are a slip in a name more often than a wish. A side output may be left unread; its rows are dropped.

use std::collections::BTreeSet;
use std::ops::Range;

use toml::Spanned;

use super::check::Checker;
use super::{Action, JobFileError, SinkDecl, SourceDecl, StepDecl, StreamRef};
use crate::nearest::{listed, nearest};

type Result<T> = std::result::Result<T, JobFileError>;
type From = Option<Spanned<String>>;

/// Resolves the inputs of all steps and sinks; beside them is what their `from` says.
pub(super) fn connect(
    checker: &Checker,
    sources: &[SourceDecl],
    (steps, steps_from): (&mut [StepDecl], Vec<From>),
    (sinks, sinks_from): (&mut [SinkDecl], Vec<From>),
) -> Result<()> {
    let later = steps.iter().map(|step| step.uid.clone()).collect();
    let mut links = Links { checker, streams: Vec::new(), sources: sources.len(), read: BTreeSet::new(), later };
    for SourceDecl { spec, span, .. } in sources {
        links.streams.push(Streams {
            uid: spec.uid.clone(),
            sides: Vec::new(),
            names_sides: false,
            span: span.clone(),
            number: None,
        });
    }
    for (step, from) in steps.iter_mut().zip(steps_from) {
        let reader = format!("step {}", step.number);
        if step.action.takes_from() {
            step.inputs.push(links.from(&reader, &step.span, from.as_ref())?);
        }
        for name in step.action.streams() {
            step.inputs.push(links.named(&reader, name)?);
        }
        let sides = step.action.sides().into_iter().map(str::to_string).collect();
        links.streams.push(Streams {
            uid: step.uid.clone(),
            sides,
            names_sides: matches!(step.action, Action::Process(_)),
            span: step.span.clone(),
            number: Some(step.number),
        });
    }
    for (sink, from) in sinks.iter_mut().zip(sinks_from) {
        sink.input = links.from(&format!("sink \"{}\"", sink.spec.uid), &sink.span, from.as_ref())?;
    }
    links.all_read()
}

/// What a source or step gives.
struct Streams {
    uid: String,
    sides: Vec<String>,
    /// Whether the step itself says which it has.
    names_sides: bool,
    span: Range<usize>,
    /// Of a step.
    number: Option<usize>,
}

struct Links<'a> {
    checker: &'a Checker,
    /// What can be read by now: the sources, then steps in order.
    streams: Vec<Streams>,
    /// How many of them are sources.
    sources: usize,
    /// Uids of those that someone reads.
    read: BTreeSet<String>,
    /// Uids of all steps.
    later: BTreeSet<String>,
}

// === impl Links ===

impl Links<'_> {
    /// What `from` names, or what comes before the reader.
    fn from(&mut self, reader: &str, span: &Range<usize>, from: Option<&Spanned<String>>) -> Result<StreamRef> {
        if let Some(name) = from {
            return self.named(reader, name);
        }
        match self.streams.last() {
            Some(before) if before.number.is_some() || self.sources == 1 => {
                let uid = before.uid.clone();
                self.read.insert(uid.clone());
                Ok(StreamRef { uid, port: 0, span: span.clone() })
            }
            _ => {
                let sources = self.streams.iter().map(|streams| streams.uid.as_str());
                let help =
                    format!("from = {}", listed(sources.map(quoted).collect::<Vec<_>>().iter().map(String::as_str)));
                Err(self
                    .checker
                    .error(span.clone(), format!("{reader} has to say which source it reads"))
                    .with_help(help))
            }
        }
    }

    /// The stream `name`: `uid`, or `uid.side` for a side output.
    fn named(&mut self, reader: &str, name: &Spanned<String>) -> Result<StreamRef> {
        let text = name.get_ref();
        let (uid, side) = text.split_once('.').map_or((text.as_str(), None), |(uid, side)| (uid, Some(side)));
        let Some(streams) = self.streams.iter().find(|streams| streams.uid == uid) else {
            return Err(self.unknown(reader, name, uid));
        };
        let port = match side {
            None => {
                self.read.insert(uid.to_string());
                0
            }
            Some(side) => match (1..).zip(&streams.sides).find(|(_, known)| *known == side) {
                Some((port, _)) => port,
                None => {
                    let error = self.checker.error(name.span(), format!("\"{uid}\" has no side output \"{side}\""));
                    let sides = if streams.sides.is_empty() {
                        "none".to_string()
                    } else {
                        listed(streams.sides.iter().map(String::as_str))
                    };
                    let more = if streams.names_sides { "; its function's are named in side_outputs" } else { "" };
                    return Err(error.with_help(format!("it has {sides}{more}")));
                }
            },
        };
        Ok(StreamRef { uid: uid.to_string(), port, span: name.span() })
    }

    fn unknown(&self, reader: &str, name: &Spanned<String>, uid: &str) -> JobFileError {
        if self.later.contains(uid) {
            let error = self.checker.error(name.span(), format!("{reader} cannot read \"{uid}\", which comes later"));
            return error.with_help("a step reads only what stands before it");
        }
        let known = || self.streams.iter().map(|streams| streams.uid.as_str());
        let near = nearest(uid, known()).map(|near| format!("did you mean \"{near}\"? "));
        let error = self.checker.error(name.span(), format!("{reader} cannot read \"{uid}\": there is no such uid"));
        error.with_help(format!(
            "{}before it stand {}",
            near.unwrap_or_default(),
            listed(known()).replace(" or ", " and ")
        ))
    }

    fn all_read(&self) -> Result<()> {
        let Some(unread) = self.streams.iter().find(|streams| !self.read.contains(&streams.uid)) else {
            return Ok(());
        };
        let what = match unread.number {
            Some(number) => format!("step {number} (\"{}\")", unread.uid),
            None => format!("source \"{}\"", unread.uid),
        };
        let error = self.checker.error(unread.span.clone(), format!("nobody reads the rows of {what}"));
        Err(error.with_help(format!("remove it, or write from = \"{}\" where they go", unread.uid)))
    }
}

fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}
