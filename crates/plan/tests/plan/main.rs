//! Tests of the planner from job text to job graph, in one binary because linking DataFusion is slow.
//!
//! `UPDATE=1 cargo test` rewrites the generated schema; `INSTA_UPDATE=always` rewrites the snapshots.

mod answers;
mod errors;
mod explain;
mod expressions;
mod graphs;
mod hoisting;
mod joins;
mod keyed;
mod layout;
mod made;
mod process;
mod reference;
mod regions;
mod rows;
mod sql;
mod support;
mod updates;
mod windows;
