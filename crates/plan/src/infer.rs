//! What an inference step says about its rows, and the other answers that it has for them.
//!
//! Plain values like those of [`spec`](crate::spec), with expressions ready to be evaluated over the step's input.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use datafusion::physical_expr::PhysicalExpr;

use crate::spec::Limit;

/// An expression over the columns of a step's input.
#[derive(Debug, Clone)]
pub struct RowExpr {
    /// As the job file has it.
    pub text: String,
    /// Ready to be evaluated.
    pub expr: Arc<dyn PhysicalExpr>,
}

/// What the batcher has to know of each row, and when a request batch is complete because of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct RowSpec {
    /// Places of the columns that make a row's key; empty unless the order is that of keys.
    pub key: Vec<usize>,
    /// What a row costs, of type `Int64`.
    pub cost: Option<RowExpr>,
    /// Most cost in a request batch; a costlier single row travels alone.
    pub batch_cost: Option<u64>,
    /// How long a row is, of type `Int64`: rows travel with others of their bucket.
    pub length: Option<RowExpr>,
    /// Greatest length of each bucket, ascending; longer rows share one more bucket. Empty: by powers of two.
    pub buckets: Vec<u64>,
    /// How long after its arrival a row has to be answered.
    pub deadline: Option<Duration>,
    /// Place of a column that says when: a timestamp, or a duration after the arrival.
    pub deadline_column: Option<usize>,
    /// A watermark completes the request batches with rows that it waits for.
    pub close_on_watermark: bool,
}

/// What is kept of answers, where rows are also taken back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AnswersSpec {
    /// Places of the columns by which rows of one content come to one subtask; never empty.
    pub by: Vec<usize>,
    /// How long an answer is kept for the row that takes it back, in event time; for good without.
    pub ttl: Option<Duration>,
}

/// Other answers for rows that the model does not answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct LadderSpec {
    /// In the order in which they are tried.
    pub rungs: Vec<RungSpec>,
    /// Column that says who answered: the last of the output.
    pub column: Option<String>,
    /// How long rows wait for a model elsewhere that refuses every call; for ever without.
    pub after: Option<Duration>,
}

/// Another answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RungSpec {
    /// Values or expressions that stand for the kept outputs, in their order; null where there is none.
    Computed {
        /// `constant` or `sql`.
        name: String,
        /// One for each kept output, of its type.
        outputs: Vec<Option<RowExpr>>,
    },
    /// Another model with the same outputs.
    Model {
        /// Which, a key of [`JobGraph::models`](crate::graph::JobGraph::models).
        model: String,
        /// Its inputs in its order, each with the place of the column that feeds it.
        inputs: Vec<(String, usize)>,
        /// How many request batches may be in flight.
        limit: Limit,
    },
}

// === impl RungSpec ===

impl RungSpec {
    /// What the output calls it.
    pub fn name(&self) -> &str {
        match self {
            Self::Computed { name, .. } => name,
            Self::Model { model, .. } => model,
        }
    }
}

// === impl LadderSpec ===

impl LadderSpec {
    /// The models on it.
    pub fn models(&self) -> impl Iterator<Item = &str> {
        self.rungs.iter().filter_map(|rung| match rung {
            RungSpec::Model { model, .. } => Some(model.as_str()),
            RungSpec::Computed { .. } => None,
        })
    }
}

// === impl RowExpr ===

impl PartialEq for RowExpr {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.expr.as_ref() == other.expr.as_ref()
    }
}

impl Eq for RowExpr {}

impl Hash for RowExpr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl fmt::Display for RowExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
