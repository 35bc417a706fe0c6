//! What becomes of a row that cannot be processed, as the user declares it on a step.

/// What becomes of a row that cannot be processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
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

impl std::fmt::Display for OnError {
    /// As job files write it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            OnError::DeadLetter => "dead_letter",
            OnError::Fail => "fail",
            OnError::Null => "null",
        })
    }
}
