//! What becomes of a row that cannot be processed, as the user declares it on a step.

/// What becomes of a row that cannot be processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// It goes to the dead-letter output with the reason; the job goes on.
    #[default]
    DeadLetter,
    /// The job fails.
    Fail,
    /// The result is null and the row goes on.
    Null,
}
