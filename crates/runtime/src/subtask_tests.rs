//! Barriers through one subtask: alignment, and no waiting for a slow operator.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

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
use crate::inputs::{InputChannel, Inputs};
use crate::outlet::{Outlet, Route, Way};
use crate::planted::RuntimeBug;
use crate::subtask::{Command, CommandQueue, Head, Report, Subtask, SubtaskId, SubtaskParts, Turn};
use crate::testing::batch;

/// Long: most tests are about alignment.
const OVERTAKE_AFTER: Duration = Duration::from_secs(60);

fn input(channel: &Arc<Channel>) -> InputChannel {
    let (edge, way) = ("~a.0>b.0".to_string(), Way::ByRow);
    InputChannel { port: 0, channel: Arc::clone(channel), edge, way, restored: Vec::new() }
}

/// Keeps every batch for ever, as a model that never answers does; full from the first one on.
struct Hoard {
    rows: usize,
    absorbs: bool,
    /// Room however much it holds.
    room: Arc<AtomicBool>,
}

impl Operator for Hoard {
    fn open(&mut self, _context: Context, _restored: Restored) -> Result<()> {
        Ok(())
    }

    fn room(&self) -> Room {
        let room = self.rows == 0 || self.room.load(Ordering::SeqCst);
        if room { Room::Room } else { Room::Full }
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
    subtask_of(inputs, Box::new(Hoard { rows: 0, absorbs, room: Arc::default() }), Vec::new())
}

/// A subtask over `inputs` with one operator and these ways out, and its reports.
fn subtask_of(
    inputs: &[Arc<Channel>],
    operator: Box<dyn Operator>,
    routes: Vec<Route>,
) -> (Subtask, UnboundedReceiver<Report>) {
    let (parts, received) = parts_of(inputs, operator, routes);
    let mut subtask = Subtask::new(parts);
    subtask.open().unwrap();
    (subtask, received)
}

fn parts_of(
    inputs: &[Arc<Channel>],
    operator: Box<dyn Operator>,
    routes: Vec<Route>,
) -> (SubtaskParts, UnboundedReceiver<Report>) {
    let (reports, received) = unbounded();
    let identity = Identity { uid: "hoard".into(), subtask: 0, parallelism: 1, groups: 128, attempt: 1 };
    let context = Context { identity, env: Arc::new(ManualEnv::new(1)), waker: noop_waker() };
    let stage = Stage { operator, context, restored: Restored::default() };
    let parts = SubtaskParts {
        id: SubtaskId { task: 0, subtask: 0 },
        head: Head::Inputs,
        inputs: Inputs::new(inputs.iter().map(input).collect(), 128),
        overtake_after: Some(OVERTAKE_AFTER),
        chain: Chain::new(vec![stage], None, false, Arc::default()),
        outlet: Outlet::new(routes, 128, noop_waker()),
        commands: CommandQueue::new(noop_waker()),
        reports,
        counters: Arc::default(),
        waker: noop_waker(),
        bug: None,
    };
    (parts, received)
}

fn channels(count: usize) -> Vec<Arc<Channel>> {
    (0..count).map(|_| Arc::new(Channel::new(Window::default()))).collect()
}

fn send(channel: &Channel, element: Element) {
    channel.send(element, &noop_waker()).unwrap();
}

fn barrier(epoch: u64) -> Element {
    Element::Barrier(Barrier { epoch: Epoch(epoch), drain: false, overtakes: false })
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

/// Sends batches of 2,000 rows as far as there is credit; answers how many.
fn fill(channel: &Channel) -> usize {
    (0..100).take_while(|_| channel.send(Element::Batch(batch(0..2000)), &noop_waker()).is_ok()).count()
}

/// A subtask whose operator stays full until the switch says otherwise.
fn full(inputs: &[Arc<Channel>], bug: Option<RuntimeBug>) -> (Subtask, UnboundedReceiver<Report>, Arc<AtomicBool>) {
    let hoard = Hoard { rows: 0, absorbs: true, room: Arc::default() };
    let room = Arc::clone(&hoard.room);
    let (parts, reports) = parts_of(inputs, Box::new(hoard), Vec::new());
    let mut subtask = Subtask::new(SubtaskParts { bug, ..parts });
    subtask.open().unwrap();
    (subtask, reports, room)
}

#[test]
fn barriers_move_no_more_than_one_window_into_an_operator_that_stays_full() {
    let inputs = channels(1);
    let (mut subtask, mut reports, room) = full(&inputs, None);
    assert_eq!(fill(&inputs[0]), 4);
    send(&inputs[0], barrier(1));
    run(&mut subtask);
    assert_eq!(cut(&mut reports), Some((8000, 0)), "one batch with room, the others because of the barrier");
    assert_eq!(fill(&inputs[0]), 1, "only the credit of the first came back");
    for epoch in 2..=3 {
        send(&inputs[0], barrier(epoch));
        run(&mut subtask);
        assert_eq!(cut(&mut reports), Some((10_000, 0)), "nothing more came, so barriers pass at once");
        assert_eq!(fill(&inputs[0]), 0);
    }
    room.store(true, Ordering::SeqCst);
    run(&mut subtask);
    assert_eq!(fill(&inputs[0]), 4, "with room there is credit again");
}

#[test]
fn an_operator_that_gives_credit_back_without_room_grows_with_every_barrier() {
    let inputs = channels(1);
    let (mut subtask, mut reports, _) = full(&inputs, Some(RuntimeBug::AbsorbedWithCredit));
    for epoch in 1..=3 {
        assert_eq!(fill(&inputs[0]), 4);
        send(&inputs[0], barrier(epoch));
        run(&mut subtask);
        assert_eq!(cut(&mut reports), Some((8000 * epoch as usize, 0)));
    }
}

#[test]
fn a_barrier_beyond_credit_is_followed_by_no_more_until_it_fits() {
    let inputs = channels(1);
    let (mut subtask, output, _) = pass(&inputs);
    let sent = |epochs: std::ops::Range<u64>, subtask: &mut Subtask| {
        for epoch in epochs {
            fill(&inputs[0]);
            send(&inputs[0], barrier(epoch));
            run(subtask);
            let due = Instant(1) + OVERTAKE_AFTER * (epoch as u32 + 1);
            while subtask.turn(due).unwrap() == Turn::Moved {}
        }
        output.used_max().rows
    };
    let first = sent(1..3, &mut subtask);
    assert!(first > Window::default().rows, "a barrier pushed a batch beyond credit: {first}");
    assert_eq!(sent(3..9, &mut subtask), first, "the next ones find nothing to push");
}

#[test]
fn a_stop_gets_through_an_operator_that_no_barrier_overtakes_and_that_stays_full() {
    let inputs = channels(1);
    let hoard = Box::new(Hoard { rows: 0, absorbs: true, room: Arc::default() });
    let (mut parts, _reports) = parts_of(&inputs, hoard, Vec::new());
    parts.overtake_after = None;
    let commands = parts.commands.clone();
    let mut subtask = Subtask::new(parts);
    subtask.open().unwrap();
    fill(&inputs[0]);
    run(&mut subtask);
    assert_eq!(fill(&inputs[0]), 1, "full");
    commands.send(Command::StopReading);
    run(&mut subtask);
    assert_eq!(fill(&inputs[0]), 4, "what stands in front of it can empty itself");
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
        send(&inputs[0], Element::Barrier(Barrier { epoch: Epoch(7), drain, overtakes: false }));
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

/// Gives everything on at once; what it holds it says.
#[derive(Default)]
struct Pass {
    outs: std::collections::VecDeque<Out>,
    holds: Arc<AtomicBool>,
}

impl Operator for Pass {
    fn open(&mut self, _context: Context, _restored: Restored) -> Result<()> {
        Ok(())
    }

    fn on_batch(&mut self, batch: Batch) -> Result<()> {
        self.outs.push_back(Out::Batch(batch));
        Ok(())
    }

    fn on_watermark(&mut self, watermark: EventTime) -> Result<()> {
        self.outs.push_back(Out::Watermark(watermark));
        Ok(())
    }

    fn poll(&mut self) -> Result<Option<Out>> {
        Ok(self.outs.pop_front())
    }

    fn holds_rows(&self) -> bool {
        self.holds.load(Ordering::SeqCst)
    }
}

/// What a subtask with one [`Pass`] sends on when its inputs got these elements, in order of sending.
fn passed(subtask: &mut Subtask, output: &Channel) -> Vec<String> {
    run(subtask);
    let shown = |element| match element {
        Element::Batch(batch) => format!("{} rows", batch.len()),
        Element::Watermark(EventTime::MAX) => "last watermark".to_string(),
        Element::Watermark(watermark) => format!("watermark {}", watermark.0),
        Element::Idle => "idle".to_string(),
        Element::End => "end".to_string(),
        Element::Barrier(_) => "barrier".to_string(),
    };
    std::iter::from_fn(|| output.receive(&noop_waker())).map(shown).collect()
}

fn pass(inputs: &[Arc<Channel>]) -> (Subtask, Arc<Channel>, Arc<AtomicBool>) {
    let output = channels(1).remove(0);
    let route = Route { port: 0, way: Way::Forward, channels: vec![Arc::clone(&output)] };
    let operator = Pass::default();
    let holds = Arc::clone(&operator.holds);
    (subtask_of(inputs, Box::new(operator), vec![route]).0, output, holds)
}

fn watermark(at: i64) -> Element {
    Element::Watermark(EventTime(at))
}

#[test]
fn an_idle_input_holds_back_no_watermark_and_one_that_wakes_does_again() {
    let inputs = channels(2);
    let (mut subtask, output, _) = pass(&inputs);
    send(&inputs[0], watermark(5));
    assert!(passed(&mut subtask, &output).is_empty(), "the other input may still be earlier");
    send(&inputs[1], Element::Idle);
    assert_eq!(passed(&mut subtask, &output), ["watermark 5"]);
    send(&inputs[1], watermark(3));
    run(&mut subtask);
    send(&inputs[0], watermark(9));
    assert!(passed(&mut subtask, &output).is_empty(), "watermarks never go back, and the one that woke counts");
    send(&inputs[1], watermark(7));
    assert_eq!(passed(&mut subtask, &output), ["watermark 7"]);
}

#[test]
fn idleness_is_told_once_and_not_before_held_rows_have_left() {
    let inputs = channels(2);
    let (mut subtask, output, holds) = pass(&inputs);
    holds.store(true, Ordering::SeqCst);
    inputs.iter().for_each(|input| send(input, Element::Idle));
    assert!(passed(&mut subtask, &output).is_empty());
    holds.store(false, Ordering::SeqCst);
    assert_eq!(passed(&mut subtask, &output), ["idle"]);
    send(&inputs[0], Element::Idle);
    assert!(passed(&mut subtask, &output).is_empty());
    send(&inputs[0], Element::Batch(batch(0..2)));
    send(&inputs[0], Element::Idle);
    assert_eq!(passed(&mut subtask, &output), ["2 rows", "idle"]);
}

#[test]
fn the_end_of_all_inputs_ends_event_time_first() {
    let inputs = channels(2);
    let (mut subtask, output, _) = pass(&inputs);
    send(&inputs[0], Element::End);
    send(&inputs[1], watermark(4));
    assert_eq!(passed(&mut subtask, &output), ["watermark 4"], "an ended input holds nothing back");
    send(&inputs[1], Element::End);
    assert_eq!(passed(&mut subtask, &output), ["last watermark", "end"]);
}

/// Rows of the operator and rows on the edge in the snapshot, if it is complete.
fn cut(reports: &mut UnboundedReceiver<Report>) -> Option<(usize, usize)> {
    let Ok(Report::Frozen(_, _, frozen)) = reports.try_recv() else { return None };
    let (mut held, mut on_edge) = (0, 0);
    for (uid, snapshot) in frozen {
        for (group, bytes) in futures::executor::block_on(snapshot).unwrap().groups {
            match uid.starts_with('~') {
                true => on_edge += crate::channel_state::thaw(&uid, group, &bytes).unwrap().len(),
                false => held += std::str::from_utf8(&bytes).unwrap().parse::<usize>().unwrap(),
            }
        }
    }
    Some((held, on_edge))
}

#[test]
fn a_barrier_that_waited_long_enough_overtakes_and_takes_what_it_overtook_with_it() {
    let inputs = channels(3);
    let hoard = Hoard { rows: 0, absorbs: false, room: Arc::default() };
    let room = Arc::clone(&hoard.room);
    let (mut subtask, mut reports) = subtask_of(&inputs, Box::new(hoard), Vec::new());
    send(&inputs[0], Element::Batch(batch(0..1)));
    run(&mut subtask);
    // Full from here on: nothing more is taken, so nothing gets through the queues.
    send(&inputs[0], Element::Batch(batch(1..5)));
    send(&inputs[0], barrier(1));
    send(&inputs[0], Element::Batch(batch(5..20)));
    send(&inputs[1], Element::Batch(batch(20..23)));
    send(&inputs[2], barrier(1));
    run(&mut subtask);
    let due = Instant(1) + OVERTAKE_AFTER;
    assert_eq!(subtask.turn(Instant(1)).unwrap(), Turn::Idle(Some(due)));
    while subtask.turn(due).unwrap() == Turn::Moved {}
    assert_eq!(cut(&mut reports), None, "the second input has no barrier yet and is recorded");
    room.store(true, Ordering::SeqCst);
    send(&inputs[1], Element::Batch(batch(23..25)));
    send(&inputs[1], barrier(1));
    while subtask.turn(due).unwrap() == Turn::Moved {}
    assert_eq!(
        cut(&mut reports),
        Some((1, 4 + 5)),
        "in front of a barrier: 4 rows queued, 5 recorded; behind it: none"
    );
}
