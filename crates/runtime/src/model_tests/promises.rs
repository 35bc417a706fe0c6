//! What holds in every state, and what has to be reached in some.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::flow::{Action, Flow};
use super::operators::look;
use super::world::{CHANNELS, NAMES, PASS, SINK, SLOW, SOURCE, World, edge};
use crate::channel::Shape;

pub const CREDIT: &str = "credit is what is queued or withheld";
pub const IN_FLIGHT: &str = "a channel and its sender hold what credit and room allow, and a barrier adds a batch";
pub const HELD: &str = "what a slow model holds is bounded";
pub const AWAKE: &str = "nobody who could go on sleeps";
pub const PASSES: &str = "a barrier waits for no answer";
pub const SPINS: &str = "nobody is called for nothing";
pub const CUT: &str = "a checkpoint is a cut";
pub const ONCE: &str = "every row comes to the sink once and in order";

pub const FINISHED: &str = "everything is finished";
pub const WITHHELD: &str = "credit is withheld";
pub const BEYOND: &str = "a batch is sent beyond credit";
pub const OVERTOOK: &str = "a barrier overtakes";
pub const OVERSIZE: &str = "a batch larger than the window passes";
pub const WAITED: &str = "a sender waits for credit";

/// The first promise that is broken in this state, in which `actions` can happen.
pub fn broken(flow: &Flow, world: &World, actions: &[Action]) -> Option<&'static str> {
    let shapes: Vec<Shape> = world.channels.iter().map(|channel| channel.shape()).collect();
    [
        (CREDIT, shapes.iter().all(is_balanced)),
        (IN_FLIGHT, (0..shapes.len()).all(|place| in_flight(world, &shapes, place) <= in_flight_max(flow, place))),
        (HELD, held(world, SLOW) <= flow.channel_max() + 2 * flow.largest()),
        (SPINS, !world.spins),
        (CUT, world.complete().all(|(_, parts)| is_cut(parts))),
        (ONCE, (0..2).all(|port| is_in_order(world, port))),
        (PASSES, !is_quiet(actions) || barriers_passed(flow, &shapes)),
        (AWAKE, !actions.is_empty() || is_finished(flow, world)),
    ]
    .into_iter()
    .find_map(|(promise, is_kept)| (!is_kept).then_some(promise))
}

/// What this state is an example of.
pub fn reached(flow: &Flow, world: &World, actions: &[Action]) -> Vec<&'static str> {
    let shapes: Vec<Shape> = world.channels.iter().map(|channel| channel.shape()).collect();
    let oversize = flow.largest() > flow.window && shapes.iter().any(|shape| shape.used.rows > flow.window);
    [
        (FINISHED, actions.is_empty() && is_finished(flow, world)),
        (WITHHELD, shapes.iter().any(|shape| shape.withheld.rows > 0)),
        (BEYOND, shapes.iter().any(|shape| shape.beyond.is_some())),
        (OVERTOOK, world.overtaken),
        (OVERSIZE, oversize),
        (WAITED, shapes.iter().any(|shape| shape.waiting[0])),
    ]
    .into_iter()
    .filter_map(|(name, is_reached)| is_reached.then_some(name))
    .collect()
}

fn is_balanced(shape: &Shape) -> bool {
    let Shape { used, queued, withheld, .. } = shape;
    used.rows == queued.rows + withheld.rows && used.bytes == queued.bytes + withheld.bytes
}

/// Rows on a channel and in the operator in front of it, which a barrier may push onto it.
fn in_flight(world: &World, shapes: &[Shape], place: usize) -> usize {
    shapes[place].used.rows + held(world, CHANNELS[place].0)
}

/// The most of them. A barrier pushes beyond credit what a sender has ready: the batch that waits for credit, the one that its
/// operator had room for, and out of the slow model also what an earlier barrier had moved into it, whose credit is withheld.
fn in_flight_max(flow: &Flow, place: usize) -> usize {
    let (channel, batch) = (flow.channel_max(), flow.largest());
    match CHANNELS[place].0 {
        SOURCE => channel + batch,
        PASS => channel + 2 * batch,
        _ => channel + 2 * batch + (channel + batch),
    }
}

/// Rows that an operator took and has not given out. The slow model holds what it had room for, and what a barrier moved to it
/// without room: as much as its channel may hold.
fn held(world: &World, place: usize) -> usize {
    look(&world.seen[place], |shown| shown.held.iter().map(|(first, last)| (last - first + 1) as usize).sum())
}

fn is_in_order(world: &World, port: u8) -> bool {
    let written = look(&world.seen[SINK], |shown| shown.written.clone());
    let rows = written.iter().filter(|(from, _)| *from == port);
    rows.enumerate().all(|(place, (_, row))| place as i64 == *row)
}

/// Nothing moves by itself any more.
fn is_quiet(actions: &[Action]) -> bool {
    actions.iter().all(|action| matches!(action, Action::Answer | Action::Resume | Action::Barrier))
}

/// Whether no barrier stands in front of the slow model, and, if barriers overtake, none in front of its neighbour.
fn barriers_passed(flow: &Flow, shapes: &[Shape]) -> bool {
    let has_barrier = |shape: &Shape| shape.queue.iter().any(|element| element.starts_with("Barrier"));
    !(has_barrier(&shapes[0]) || flow.overtakes && has_barrier(&shapes[1]))
}

fn is_finished(flow: &Flow, world: &World) -> bool {
    let written = look(&world.seen[SINK], |shown| shown.written.len() as i64);
    let complete = world.complete().count() as u64;
    world.ended == NAMES.len() && written == 2 * flow.total() && complete == flow.barriers
}

/// Whether both ways of a checkpoint hold together what the reader had read: in the sink, in the operator, on edges.
fn is_cut(parts: &BTreeMap<String, Vec<Bytes>>) -> bool {
    let rows = |uid: &str| -> Vec<i64> {
        let texts = parts.get(uid).into_iter().flatten().map(|bytes| std::str::from_utf8(bytes).unwrap());
        texts.flat_map(str::split_whitespace).map(|row| row.parse().unwrap()).collect()
    };
    let (read, written) = (rows(NAMES[SOURCE]), rows(NAMES[SINK]));
    (0..2).all(|port| {
        let way = NAMES[[SLOW, PASS][usize::from(port)]];
        let in_sink = written.iter().filter(|row| (**row < 0) == (port == 1));
        let mut found: Vec<i64> = in_sink.map(|row| if *row < 0 { -1 - row } else { *row }).collect();
        found.extend(rows(way));
        found.extend(rows(&edge(NAMES[SOURCE], way, 0)));
        found.extend(rows(&edge(way, NAMES[SINK], port)));
        found.sort_unstable();
        found == read
    })
}
