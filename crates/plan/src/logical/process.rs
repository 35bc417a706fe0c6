//! Checks a process step: finds its function by name, and asks it what comes out.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use forebay_core::process::{KnownProcess, ProcessShape, ProcessSide, ProcessSite};

use super::Result;
use super::keyed::KeyedSite;
use crate::job_file::{JobFileError, ProcessDecl};
use crate::nearest::{listed, nearest};
use crate::spec::{Changes, ProcessSpec};

/// The settings of a process step whose key columns are called `keys`, what comes out, and what those rows do.
pub(super) fn process(
    site: &KeyedSite<'_>,
    decl: &ProcessDecl,
    keys: &[String],
    changes: Changes,
    known: &[Arc<dyn KnownProcess>],
) -> Result<(ProcessSpec, SchemaRef, Changes)> {
    let function = find(site, decl, known)?;
    let keys = site.keys(keys, &decl.by)?;
    site.check_storable()?;
    let at = ProcessSite { input: Arc::clone(site.input.inner()), keys: keys.clone(), settings: decl.settings.clone() };
    let shape = function.shape(&at).map_err(|error| {
        let name = decl.function.get_ref();
        let message = format!("step {}: process function \"{name}\": {}", site.step.number, error.chain());
        site.job.text.error(decl.settings_span.clone(), message).with_kind(error.kind())
    })?;
    if changes == Changes::Updates && !shape.takes_updates {
        let error = site.error(&decl.function, format!("\"{}\" takes no updates", function.name()));
        return Err(error.with_help(
            "its input also takes back rows; put the step before the one that makes updates, or use a function that takes them",
        ));
    }
    let sides = decl.side_outputs.iter().map(|name| {
        let side = shape.sides.iter().find(|side| side.name == name.get_ref());
        side.map(|side| (side.name.to_string(), Arc::clone(&side.schema))).ok_or_else(|| {
            let message = format!("\"{}\" has no side output \"{}\"", function.name(), name.get_ref());
            site.error(name, message).with_help(format!("it has {}", names(&shape)))
        })
    });
    let gives = if shape.gives_updates { Changes::Updates } else { Changes::Append };
    let spec = ProcessSpec {
        uid: site.step.uid.clone(),
        function: function.name().to_string(),
        keys,
        settings: decl.settings.clone(),
        sides: sides.collect::<Result<_>>()?,
        // A row that takes back another may be handed on as it is.
        sides_change: gives.max(changes),
    };
    Ok((spec, shape.output, gives))
}

fn find<'a>(
    site: &KeyedSite<'_>,
    decl: &ProcessDecl,
    known: &'a [Arc<dyn KnownProcess>],
) -> Result<&'a Arc<dyn KnownProcess>, JobFileError> {
    let name = decl.function.get_ref();
    if let Some(found) = known.iter().find(|function| function.name() == name) {
        return Ok(found);
    }
    let error = site.error(&decl.function, format!("there is no process function \"{name}\""));
    let names = || known.iter().map(|function| function.name());
    Err(error.with_help(match nearest(name, names()) {
        _ if known.is_empty() => "this program has none: a program of your own registers them and runs the job, see \
                                  docs/guide/process-functions.md"
            .to_string(),
        Some(near) => format!("did you mean \"{near}\"? there is {}", listed(names()).replace(" or ", " and ")),
        None => format!("there is {}", listed(names()).replace(" or ", " and ")),
    }))
}

fn names(shape: &ProcessShape) -> String {
    let name = |side: &ProcessSide| side.name;
    if shape.sides.is_empty() {
        "none".to_string()
    } else {
        listed(shape.sides.iter().map(name)).replace(" or ", " and ")
    }
}
