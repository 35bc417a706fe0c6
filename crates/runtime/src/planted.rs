//! Mistakes that the simulation plants in the runtime to see that its checks find them. Never set in production.

/// One planted mistake.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuntimeBug {
    /// A barrier passes as soon as one input has it.
    NoAlignment,
    /// Rows that a barrier overtook are in no checkpoint.
    OvertakenForgotten,
    /// Rows that still come in front of a barrier that has overtaken are in no checkpoint.
    RecordedForgotten,
    /// Restored rows that are not used up at a barrier are in no further checkpoint.
    RestoredForgotten,
    /// Overtaken rows are kept by the key group of the row and not by what their edge routes by.
    KeptByRow,
    /// A barrier overtakes into a sink.
    OvertakesIntoSink,
    /// A barrier overtakes where the order of rows counts and their edge does not keep it.
    OvertakesUpdates,
    /// The greatest watermark of the inputs counts, not the least.
    GreatestWatermark,
    /// Rows of one key go to the subtask of the row.
    RoutedByRow,
    /// The end of the input leaves event time where it is.
    TimeDoesNotEnd,
    /// The edge of a side output gets the rows of the main one.
    SideIntoMain,
    /// A checkpoint is published when the first subtask is durable.
    PublishedEarly,
    /// Subtasks are told of a checkpoint before it is published.
    ToldEarly,
    /// The watermark does not wait for rows out of order.
    NotOutOfOrder,
    /// What a full operator takes in front of a barrier gives its credit back at once.
    AbsorbedWithCredit,
    /// A batch larger than a channel's window never fits, also into an empty channel.
    OversizeRefused,
    /// A subtask whose operator is full is not woken by a barrier behind rows.
    NotWokenByBarrier,
    /// A sender that waits for credit is not woken when it returns.
    SenderNotWoken,
}
