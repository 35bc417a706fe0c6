//! Parallel slots behind a first-in first-out queue, for each replica.

use std::collections::VecDeque;

use forebay_gate::limiter::{Class, Gauges};

use super::super::agenda::Occasion;
use super::super::calls::CallId;
use super::super::dice::LogNormal;
use super::super::world::World;
use super::{Model, scaled};
use crate::scenario::Slots;

pub struct SlotsModel {
    settings: Slots,
    service: LogNormal,
    replicas: Vec<Replica>,
    busy: usize,
    turn: usize,
}

#[derive(Default)]
struct Replica {
    busy: usize,
    queue: VecDeque<CallId>,
}

// === impl SlotsModel ===

impl SlotsModel {
    pub fn new(settings: Slots) -> Self {
        let replicas = (0..settings.replicas).map(|_| Replica::default()).collect();
        Self { service: LogNormal::new(settings.service.cv), settings, replicas, busy: 0, turn: 0 }
    }

    fn replica_of(&mut self, id: CallId, world: &World) -> usize {
        if self.settings.replicas_visible {
            return world.calls.get(id).map_or(0, |call| call.limiter as usize).min(self.replicas.len() - 1);
        }
        self.turn = (self.turn + 1) % self.replicas.len();
        self.turn
    }

    fn start(&mut self, index: usize, world: &mut World) {
        let slots = scaled(self.settings.slots, world.conditions.capacity);
        while self.replicas[index].busy < slots {
            let Some(id) = self.replicas[index].queue.pop_front() else { break };
            if world.is_abandoned(id) {
                world.answer(id, Class::Answered);
                continue;
            }
            let seconds = self.service_seconds(id, index, world);
            self.replicas[index].busy += 1;
            self.busy += 1;
            let occasion = Occasion::SlotDone { replica: index as u32, call: id };
            world.agenda.at(world.now() + seconds, occasion);
        }
        self.measure(world);
    }

    fn service_seconds(&self, id: CallId, replica: usize, world: &mut World) -> f64 {
        let service = &self.settings.service;
        let drawn = (service.mean.0 * self.service.draw(&mut world.dice)).max(service.min.0).min(service.max.0);
        let size = world.calls.get(id).map_or(1.0, |call| call.size());
        let fixed = self.settings.fixed_share;
        let slowness = world.conditions.service * world.conditions.replicas[replica].service;
        drawn * (fixed + (1.0 - fixed) * size) * slowness
    }

    fn measure(&self, world: &mut World) {
        let capacity = (self.settings.slots * self.replicas.len()) as f64 * world.conditions.capacity;
        world.meter.set(world.now(), self.busy as f64, capacity);
    }
}

impl Model for SlotsModel {
    fn enter(&mut self, id: CallId, world: &mut World) {
        let index = self.replica_of(id, world);
        if world.fails(id, world.conditions.replicas[index].outage) {
            return;
        }
        if self.replicas[index].queue.len() >= self.settings.queue_max {
            world.refuse(id, Class::Overloaded, 0.0);
            return;
        }
        self.replicas[index].queue.push_back(id);
        self.start(index, world);
    }

    fn on(&mut self, occasion: Occasion, world: &mut World) {
        if let Occasion::SlotDone { replica, call } = occasion {
            self.replicas[replica as usize].busy -= 1;
            self.busy -= 1;
            world.answer(call, Class::Answered);
            self.start(replica as usize, world);
        }
    }

    fn on_change(&mut self, world: &mut World) {
        for index in 0..self.replicas.len() {
            self.start(index, world);
        }
    }

    fn gauges(&self, replica: usize) -> Gauges {
        let seen: &[Replica] = match self.settings.replicas_visible {
            true => &self.replicas[replica..=replica],
            false => &self.replicas,
        };
        Gauges {
            waiting: seen.iter().map(|replica| replica.queue.len() as f64).sum(),
            running: seen.iter().map(|replica| replica.busy as f64).sum(),
            preempted_total: 0.0,
        }
    }
}
