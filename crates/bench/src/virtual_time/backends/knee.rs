//! A service that works on everything at once, slows down beyond its knee and refuses beyond a multiple of it.

use forebay_gate::limiter::{Class, Gauges};

use super::super::agenda::Occasion;
use super::super::calls::CallId;
use super::super::dice::LogNormal;
use super::super::world::World;
use super::{Model, scaled};
use crate::scenario::Knee;

pub struct KneeModel {
    settings: Knee,
    service: LogNormal,
    running: usize,
}

// === impl KneeModel ===

impl KneeModel {
    pub fn new(settings: Knee) -> Self {
        Self { service: LogNormal::new(settings.service.cv), settings, running: 0 }
    }

    fn knee(&self, world: &World) -> f64 {
        scaled(self.settings.knee, world.conditions.capacity) as f64
    }

    fn measure(&self, world: &mut World) {
        world.meter.set(world.now(), self.running as f64, self.knee(world));
    }
}

impl Model for KneeModel {
    fn enter(&mut self, id: CallId, world: &mut World) {
        let crowd = (self.running + 1) as f64 / self.knee(world);
        if crowd > self.settings.refuse_ratio {
            world.refuse(id, Class::Overloaded, 0.0);
            return;
        }
        self.running += 1;
        let service = &self.settings.service;
        let drawn = (service.mean.0 * self.service.draw(&mut world.dice)).max(service.min.0).min(service.max.0);
        let seconds = drawn * crowd.max(1.0).powf(self.settings.growth) * world.conditions.service;
        world.agenda.at(world.now() + seconds, Occasion::SlotDone { replica: 0, call: id });
        self.measure(world);
    }

    fn on(&mut self, occasion: Occasion, world: &mut World) {
        if let Occasion::SlotDone { call, .. } = occasion {
            self.running -= 1;
            world.answer(call, Class::Answered);
            self.measure(world);
        }
    }

    fn on_change(&mut self, world: &mut World) {
        self.measure(world);
    }

    fn gauges(&self, _: usize) -> Gauges {
        Gauges { waiting: 0.0, running: self.running as f64, preempted_total: 0.0 }
    }
}
