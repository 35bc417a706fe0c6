//! What a program adds to the engine's own: functions that jobs can name.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_core::process::KnownProcess;
use forebay_core::{Error, Kind, Result};
use forebay_operators::process::{Process, ProcessFunction, process};

/// What a program adds; nothing by default.
///
/// ```
/// # use forebay_operators::process::*;
/// # use forebay_core::Result;
/// # struct Sessions;
/// # impl ProcessFunction for Sessions {
/// #     type Settings = NoSettings;
/// #     fn declare(_: NoSettings, _: &mut Shape) -> Result<Self> { Ok(Self) }
/// #     fn on_row(&mut self, row: &Row<'_>, context: &mut Context<'_>) -> Result<()> { context.output().forward(row) }
/// # }
/// let components = forebay_engine::Components::new().process::<Sessions>("sessions");
/// ```
#[derive(Debug, Clone, Default)]
pub struct Components {
    processes: BTreeMap<String, Arc<dyn Process>>,
}

// === impl Components ===

impl Components {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets `process` steps name `F` as `name`; of two with one name the later one counts.
    #[must_use]
    pub fn process<F: ProcessFunction>(mut self, name: &str) -> Self {
        self.processes.insert(name.to_string(), process::<F>(name));
        self
    }

    /// The process functions, in order of their names.
    pub(crate) fn known(&self) -> Vec<Arc<dyn KnownProcess>> {
        self.processes.values().map(|process| Arc::clone(process) as Arc<dyn KnownProcess>).collect()
    }

    /// The process function `name` of a plan.
    ///
    /// # Errors
    /// `Internal` if the plan was made with other components.
    pub(crate) fn find(&self, name: &str) -> Result<&Arc<dyn Process>> {
        let missing = || Error::new(Kind::Internal, "find process function").with("name", name);
        self.processes.get(name).ok_or_else(missing)
    }
}
