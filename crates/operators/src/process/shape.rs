//! What a process function declares: the columns that it reads, the rows that it gives, its state.
//!
//! A slip is noted and said when the declaration is over, so that a function reads as a list of what it needs.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, SchemaRef};
use forebay_core::process::{ProcessShape, ProcessSide, ProcessSite};
use forebay_core::time::event_time_place;
use forebay_core::{Error, Kind, Result};
use forebay_state::keyed::{KeyedState, StateValue, TableSpec};

use super::ProcessFunction;
use super::columns::{Base, Column, ColumnValue, Columns};
use super::state::{List, Map, MapKey, Table, Value};

/// What a process function needs and gives; see [`ProcessFunction::declare`].
pub struct Shape {
    input: SchemaRef,
    keys: Vec<usize>,
    columns: Vec<(usize, DataType)>,
    output: Columns,
    sides: Vec<(&'static str, Columns)>,
    takes_updates: bool,
    gives_updates: bool,
    names: Vec<&'static str>,
    tables: Vec<MakeTable>,
    forgotten: Vec<&'static str>,
    /// The first slip.
    wrong: Option<Error>,
}

/// A side output of a process function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SideOutput(pub(super) usize);

/// Opens a table of the state.
pub(super) type MakeTable = Box<dyn FnOnce(&mut KeyedState) -> Result<Box<dyn Table>> + Send>;

/// A finished declaration.
pub(super) struct Declared {
    /// Places of the columns that are read, and the types that they are read as.
    pub columns: Vec<(usize, DataType)>,
    /// The output, then the side outputs: name, what its columns begin with, its rows.
    pub outputs: Vec<(&'static str, Base, SchemaRef)>,
    pub takes_updates: bool,
    pub gives_updates: bool,
    pub tables: Vec<MakeTable>,
    pub forgotten: Vec<&'static str>,
}

// === impl Shape ===

impl Shape {
    fn new(site: &ProcessSite) -> Self {
        Self {
            input: Arc::clone(&site.input),
            keys: site.keys.clone(),
            columns: Vec::new(),
            output: Columns::input(),
            sides: Vec::new(),
            takes_updates: false,
            gives_updates: false,
            names: Vec::new(),
            tables: Vec::new(),
            forgotten: Vec::new(),
            wrong: None,
        }
    }

    /// The rows that come in.
    pub fn input(&self) -> &SchemaRef {
        &self.input
    }

    /// The key columns.
    pub fn keys(&self) -> impl Iterator<Item = &Field> {
        self.keys.iter().map(|place| self.input.field(*place))
    }

    /// The column `name` of the rows that come in, which has to be there and readable as `T`.
    pub fn column<T: ColumnValue + ?Sized>(&mut self, name: &str) -> Column<T> {
        match self.find::<T>(name) {
            Ok(column) => self.columns.push(column),
            Err(error) => self.refuse(error),
        }
        Column::new(self.columns.len().saturating_sub(1))
    }

    /// The rows that come in have to have event time.
    pub fn needs_event_time(&mut self) {
        if event_time_place(&self.input).is_none() {
            self.refuse(Error::new(Kind::Invalid, "find event time").source(
                "the rows have none: the source says watermark = { time = \"COLUMN\" }, and the steps between hand the column on as it is",
            ));
        }
    }

    /// The rows that the function gives; without a word the columns of the rows that come in.
    pub fn output(&mut self, columns: Columns) {
        self.output = columns;
    }

    /// A side output, which other steps and sinks read as `UID.NAME` where the step names it in `side_outputs`. Rows of one
    /// that is not named are dropped.
    pub fn side(&mut self, name: &'static str, columns: Columns) -> SideOutput {
        if self.sides.iter().any(|(other, _)| *other == name) {
            self.refuse(Error::new(Kind::Invalid, "declare side output").with("name", name).source("there are two"));
        }
        self.sides.push((name, columns));
        SideOutput(self.sides.len())
    }

    /// Rows that take back earlier ones may come in ([`Row::kind`](super::Row::kind)); without a word the job is refused where they would.
    pub fn takes_updates(&mut self) {
        self.takes_updates = true;
    }

    /// Rows that take back earlier ones may go out ([`Emission::kind`](super::Emission::kind)).
    pub fn gives_updates(&mut self) {
        self.gives_updates = true;
    }

    /// A value for each key.
    pub fn value<V: StateValue>(&mut self, table: TableSpec<V>) -> Value<V> {
        Value::new(self.table(table))
    }

    /// A list for each key.
    pub fn list<V: StateValue>(&mut self, table: TableSpec<V>) -> List<V> {
        List::new(self.table(table))
    }

    /// A map for each key, in order of its own keys.
    pub fn map<K: MapKey + ?Sized, V: StateValue>(&mut self, table: TableSpec<V>) -> Map<K, V> {
        Map::new(self.table(table))
    }

    /// Gives up what a checkpoint holds of a state that an older version of the function had. A state that the function neither has nor
    /// forgets is an error of the restore.
    pub fn forget(&mut self, name: &'static str) {
        self.forgotten.push(name);
    }

    fn table<V: StateValue>(&mut self, table: TableSpec<V>) -> usize {
        let name = table.name();
        let refused = |why: &str| Error::new(Kind::Invalid, "declare state").with("name", name).source(why.to_string());
        if name.is_empty() || name.starts_with('.') {
            self.refuse(refused("a state has a name, and those with a dot in front are the engine's"));
        } else if self.names.contains(&name) {
            self.refuse(refused("there are two of this name"));
        }
        self.names.push(name);
        self.tables.push(Box::new(move |state| Ok(Box::new(state.table(table)?))));
        self.tables.len() - 1
    }

    fn find<T: ColumnValue + ?Sized>(&self, name: &str) -> Result<(usize, DataType)> {
        let refused = || Error::new(Kind::Invalid, "find column").with("column", name);
        let place = self.input.index_of(name).map_err(|_| {
            let names: Vec<&str> = self.input.fields().iter().map(|field| field.name().as_str()).collect();
            refused().source(format!("there is none; columns here: {}", names.join(", ")))
        })?;
        let kind = self.input.field(place).data_type();
        let cast = T::cast_to(kind).ok_or_else(|| {
            refused().with("type", kind).source(format!("needed: {}; cast it in a with step before", T::ACCEPTED))
        })?;
        Ok((place, cast))
    }

    fn refuse(&mut self, error: Error) {
        self.wrong.get_or_insert(error);
    }

    fn declared(self) -> Result<Declared> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        let outputs = [("", &self.output)].into_iter().chain(self.sides.iter().map(|(name, columns)| (*name, columns)));
        let outputs = outputs.map(|(name, columns)| Ok((name, columns.base, columns.schema(&self.input, &self.keys)?)));
        Ok(Declared {
            columns: self.columns,
            outputs: outputs.collect::<Result<_>>()?,
            takes_updates: self.takes_updates,
            gives_updates: self.gives_updates,
            tables: self.tables,
            forgotten: self.forgotten,
        })
    }
}

// === impl Declared ===

impl Declared {
    /// What a plan needs of it.
    pub fn shape(&self) -> ProcessShape {
        let side =
            |(name, _, schema): &(&'static str, Base, SchemaRef)| ProcessSide { name, schema: Arc::clone(schema) };
        ProcessShape {
            output: Arc::clone(&self.outputs[0].2),
            sides: self.outputs[1..].iter().map(side).collect(),
            takes_updates: self.takes_updates,
            gives_updates: self.gives_updates,
        }
    }
}

/// The function at `site`, and what it declares.
///
/// # Errors
/// `Invalid`, naming the setting, column or state.
pub(super) fn declare<F: ProcessFunction>(site: &ProcessSite) -> Result<(F, Declared)> {
    let settings = serde_json::from_str(&site.settings).map_err(|error| {
        // The place in a text that nobody wrote helps nobody.
        let said = error.to_string();
        let said = said.split(" at line ").next().unwrap_or_default().to_string();
        Error::new(Kind::Invalid, "read settings").source(said)
    })?;
    let mut shape = Shape::new(site);
    let function = F::declare(settings, &mut shape)?;
    Ok((function, shape.declared()?))
}
