//! Steps that make several rows of one or leave rows out, as text.

use std::fmt::{Result, Write};

use arrow::datatypes::Schema;

use crate::spec::{ExplodeSpec, LimitSpec};

pub(super) fn write_explode(out: &mut String, uid: &str, spec: &ExplodeSpec, input: &Schema) -> Result {
    let columns: Vec<&str> = spec.columns.iter().map(|place| input.field(*place).name().as_str()).collect();
    let empty = if spec.ignore_empty_and_null { "none of an empty list" } else { "one of an empty list" };
    writeln!(out, "    {uid}: one row of each element of {}, {empty}", columns.join(" and "))
}

pub(super) fn write_limit(out: &mut String, uid: &str, spec: &LimitSpec) -> Result {
    writeln!(out, "    {uid}: the first {} rows to come, in one subtask", spec.rows)?;
    writeln!(out, "      then it ends the sources that nothing else reads")
}
