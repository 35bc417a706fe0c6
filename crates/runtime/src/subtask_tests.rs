//! Barriers through one subtask: alignment, and no waiting for a slow operator.

use std::sync::Arc;

use forebay_core::element::{Barrier, Element, Epoch};
use forebay_core::operator::{Context, Drained, Frozen, Identity, Operator, Out, Restored, Room, Snapshot};
use forebay_core::testing::ManualEnv;
use forebay_core::time::{EventTime, Instant};
use forebay_core::{Batch, Result};
use futures::StreamExt;
use futures::channel::mpsc::{UnboundedReceiver, unbounded};
use futures::task::noop_waker;

use crate::chain::{Chain, Stage};
use crate::channel::{Channel, Window};
use crate::outlet::{Outlet, Route};
use crate::subtask::{CommandQueue, Head, Report, Subtask, SubtaskId, SubtaskParts, Turn};
use crate::testing::batch;

/// Keeps every batch for ever, as a model that never answers does; full from the first one on.
struct Hoard {
    rows: usize,
    absorbs: bool,
}

impl Operator for Hoard {
    fn open(&mut self, _context: Context, _restored: Restored) -> Result<()> {
        Ok(())
    }

    fn room(&self) -> Room {
        if self.rows == 0 { Room::Room } else { Room::Full }
    }

    fn absorbs(&self) -> bool {
        self.absorbs
    }

    fn on_batch(&mut self, batch: Batch) -> Result<()> {
        self.rows += batch.len();
        Ok(())
    }

    fn on_watermark(&mut self, _watermark: EventTime) -> Result<()> {
        Ok(())
    }

    fn poll(&mut self) -> Result<Option<Out>> {
        Ok(None)
    }

    fn drain(&mut self) -> Result<Drained> {
        Ok(if self.rows == 0 { Drained::Done } else { Drained::Pending })
    }

    fn suspend(&mut self) -> Result<Drained> {
        Ok(Drained::Done)
    }

    fn snapshot(&mut self, _epoch: Epoch) -> Result<Frozen> {
        let held = bytes::Bytes::from(self.rows.to_string());
        let groups = [(forebay_core::key_group::KeyGroup(0), held)].into();
        Ok(Box::pin(async { Ok(Snapshot { groups, ..Snapshot::default() }) }))
    }
}

/// A subtask over `inputs` with one [`Hoard`], and its reports.
fn subtask(inputs: &[Arc<Channel>], absorbs: bool) -> (Subtask, UnboundedReceiver<Report>) {
    let (reports, received) = unbounded();
    let identity = Identity { uid: "hoard".into(), subtask: 0, parallelism: 1, groups: 128, attempt: 1 };
    let context = Context { identity, env: Arc::new(ManualEnv::new(1)), waker: noop_waker() };
    let stage = Stage { operator: Box::new(Hoard { rows: 0, absorbs }), context, restored: Restored::default() };
    let parts = SubtaskParts {
        id: SubtaskId { task: 0, subtask: 0 },
        head: Head::Inputs(inputs.to_vec()),
        chain: Chain::new(vec![stage], None, false, Arc::default()),
        outlet: Outlet::new(Route::None, noop_waker()),
        commands: CommandQueue::new(noop_waker()),
        reports,
        counters: Arc::default(),
        waker: noop_waker(),
    };
    let mut subtask = Subtask::new(parts);
    subtask.open().unwrap();
    (subtask, received)
}

fn channels(count: usize) -> Vec<Arc<Channel>> {
    (0..count).map(|_| Arc::new(Channel::new(Window::default()))).collect()
}

fn send(channel: &Channel, element: Element) {
    channel.send(element, &noop_waker()).unwrap();
}

fn barrier(epoch: u64) -> Element {
    Element::Barrier(Barrier { epoch: Epoch(epoch), drain: false })
}

fn run(subtask: &mut Subtask) {
    while subtask.turn(Instant(1)).unwrap() == Turn::Moved {}
}

/// Rows in the snapshot, if the barrier has passed.
fn frozen_rows(reports: &mut UnboundedReceiver<Report>) -> Option<String> {
    let Ok(Report::Frozen(_, _, mut frozen)) = reports.try_recv() else { return None };
    let snapshot = futures::executor::block_on(frozen.pop().unwrap().1).unwrap();
    Some(String::from_utf8(snapshot.groups.into_values().next().unwrap().to_vec()).unwrap())
}

#[test]
fn barrier_does_not_wait_for_a_full_operator_that_keeps_its_rows() {
    let inputs = channels(1);
    let (mut subtask, mut reports) = subtask(&inputs, true);
    (0..5).for_each(|n| send(&inputs[0], Element::Batch(batch(n * 10..n * 10 + 10))));
    run(&mut subtask);
    assert_eq!(frozen_rows(&mut reports), None);
    send(&inputs[0], barrier(1));
    send(&inputs[0], Element::Batch(batch(50..60)));
    run(&mut subtask);
    assert_eq!(frozen_rows(&mut reports).as_deref(), Some("50"), "rows in front of the barrier, and no others");
    assert!(inputs[0].receive(&noop_waker()).is_some(), "the batch behind the barrier still waits for room");
}

#[test]
fn barrier_waits_behind_a_full_operator_that_does_not_keep_its_rows() {
    let inputs = channels(1);
    let (mut subtask, mut reports) = subtask(&inputs, false);
    (0..2).for_each(|n| send(&inputs[0], Element::Batch(batch(n * 10..n * 10 + 10))));
    send(&inputs[0], barrier(1));
    run(&mut subtask);
    assert_eq!(frozen_rows(&mut reports), None);
}

#[test]
fn barrier_waits_for_the_slower_input() {
    let inputs = channels(2);
    let (mut subtask, mut reports) = subtask(&inputs, true);
    send(&inputs[0], barrier(1));
    send(&inputs[0], Element::Batch(batch(0..10)));
    run(&mut subtask);
    assert_eq!(frozen_rows(&mut reports), None);
    send(&inputs[1], Element::Batch(batch(10..13)));
    send(&inputs[1], barrier(1));
    run(&mut subtask);
    assert_eq!(frozen_rows(&mut reports).as_deref(), Some("3"), "nothing behind a barrier counts before it");
}

#[test]
fn barriers_do_not_wait_until_a_slow_operator_has_let_go_of_its_last_row() {
    for drain in [false, true] {
        let inputs = channels(1);
        let (mut subtask, mut reports) = subtask(&inputs, true);
        send(&inputs[0], Element::Batch(batch(0..10)));
        send(&inputs[0], Element::End);
        run(&mut subtask);
        send(&inputs[0], Element::Barrier(Barrier { epoch: Epoch(7), drain }));
        run(&mut subtask);
        assert_eq!(frozen_rows(&mut reports).as_deref(), Some("10"));
        assert!(reports.try_recv().is_err(), "it has not ended");
    }
}

#[test]
fn ended_input_still_passes_barriers() {
    let inputs = channels(2);
    let (mut subtask, mut reports) = subtask(&inputs, true);
    inputs.iter().for_each(|input| send(input, Element::End));
    run(&mut subtask);
    assert!(matches!(futures::executor::block_on(reports.next()), Some(Report::Ended(_))));
    inputs.iter().for_each(|input| send(input, barrier(4)));
    run(&mut subtask);
    assert_eq!(frozen_rows(&mut reports).as_deref(), Some("0"));
}
