//! What a checkpoint remembers of the plan: a hash over uids, kinds and schemas.
//!
//! A restore with another hash is refused, because state and rows in flight would not fit. Parallelism, limits, paths and
//! intervals are not in it: they may change between two runs of a job.

use std::fmt;
use std::str::FromStr;

use arrow::datatypes::Schema;
use forebay_core::hash::hash128_parts;
use forebay_core::{Error, Kind, Result};

use super::{Head, StepAction, Task};
use crate::spec::SinkSpec;

/// Bumped when the way of hashing changes, so that old checkpoints are refused clearly.
const VERSION: &str = "plan-1";

/// Hash of a plan; shows and parses as 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PlanHash(pub u128);

// === impl PlanHash ===

impl PlanHash {
    pub(super) fn of(key_groups: u16, dead_letters: &SinkSpec, tasks: &[Task]) -> Self {
        let mut parts = vec![VERSION.to_string(), key_groups.to_string(), dead_letters.format.to_string()];
        for task in tasks {
            if let Head::Source(source, schema) = &task.head {
                parts.extend([source.uid.clone(), format!("source {}", source.format), schema_text(schema)]);
            }
            for step in &task.steps {
                parts.extend([step.uid.clone(), kind(&step.action), schema_text(&step.output)]);
            }
        }
        let bytes: Vec<&[u8]> = parts.iter().map(String::as_bytes).collect();
        Self(hash128_parts(&bytes))
    }

    /// Refuses to go on from a checkpoint of another plan.
    ///
    /// # Errors
    /// `Invalid` if `stored` differs.
    pub fn check_restore(self, stored: Self) -> Result<()> {
        if self == stored {
            return Ok(());
        }
        let attempted = "restore a checkpoint of another plan: a step, uid, column or the key groups changed; take \
                         back the change, or start without --resume in another checkpoint folder";
        Err(Error::new(Kind::Invalid, attempted).with("plan", self).with("checkpoint", stored))
    }
}

impl fmt::Display for PlanHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for PlanHash {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::new(Kind::Invalid, "parse plan hash").with("text", text);
        u128::from_str_radix(text, 16).map(Self).map_err(|_| wrong())
    }
}

fn kind(action: &StepAction) -> String {
    match action {
        StepAction::Filter { .. } => "filter".to_string(),
        StepAction::Project { .. } => "project".to_string(),
        StepAction::Call(call) => format!("call {}", call.on_error),
        StepAction::Infer(infer) => format!("infer {}", infer.model),
        StepAction::LookupJoin(join) => format!("lookup join {}", join.how),
        StepAction::Sink(sink) => format!("sink {}", sink.format),
    }
}

/// A schema as text: name, type, null and metadata of each column, metadata sorted.
fn schema_text(schema: &Schema) -> String {
    let column = |field: &arrow::datatypes::Field| {
        let mut metadata: Vec<_> = field.metadata().iter().collect();
        metadata.sort();
        format!("{:?} {} {} {metadata:?}", field.name(), field.data_type(), field.is_nullable())
    };
    schema.fields().iter().map(|field| column(field)).collect::<Vec<_>>().join("; ")
}
