//! Devices that work on one batch at a time: the client's call, or what the server gathered from its queue.

use std::collections::VecDeque;

use forebay_gate::limiter::{Class, Gauges};

use super::super::agenda::Occasion;
use super::super::calls::CallId;
use super::super::world::World;
use super::{Model, scaled};
use crate::scenario::Gpu;

/// Deviation of a batch's time over its mean.
const TIME_CV: f64 = 0.03;

/// Devices are never more than this multiple of what the scenario says, whatever `capacity` multiplies.
const DEVICES_MULTIPLE_MAX: usize = 4;

pub struct GpuModel {
    settings: Gpu,
    devices: Vec<Device>,
    queue: VecDeque<CallId>,
}

#[derive(Default)]
struct Device {
    batch: Vec<CallId>,
    out_of_memory: bool,
}

// === impl GpuModel ===

impl GpuModel {
    pub fn new(settings: Gpu) -> Self {
        let devices = (0..settings.devices * DEVICES_MULTIPLE_MAX).map(|_| Device::default()).collect();
        Self { settings, devices, queue: VecDeque::new() }
    }

    fn usable(&self, world: &World) -> usize {
        scaled(self.settings.devices, world.conditions.capacity).min(self.devices.len())
    }

    fn start(&mut self, world: &mut World) {
        for index in 0..self.usable(world) {
            if self.devices[index].batch.is_empty() && !self.queue.is_empty() {
                self.start_batch(index, world);
            }
        }
        self.measure(world);
    }

    fn start_batch(&mut self, index: usize, world: &mut World) {
        let device = &mut self.devices[index];
        let calls_max = self.settings.server_batch_max.unwrap_or(1);
        let mut rows = 0.0;
        while device.batch.len() < calls_max
            && let Some(id) = self.queue.pop_front()
        {
            if world.is_abandoned(id) {
                world.answer(id, Class::Answered);
                continue;
            }
            rows += world.calls.get(id).map_or(0.0, |call| call.size());
            device.batch.push(id);
        }
        if device.batch.is_empty() {
            return;
        }
        let client_batch = self.settings.server_batch_max.is_none();
        device.out_of_memory = client_batch && self.settings.memory_rows.is_some_and(|most| rows > most);
        let seconds = if device.out_of_memory {
            self.settings.out_of_memory.0
        } else {
            let noise = (1.0 + TIME_CV * world.dice.normal()).max(0.5);
            (self.settings.call.0 + self.settings.row.0 * rows) * world.conditions.service * noise
        };
        world.agenda.at(world.now() + seconds, Occasion::DeviceDone { device: index as u32 });
    }

    fn measure(&self, world: &mut World) {
        let busy = self.devices.iter().filter(|device| !device.batch.is_empty()).count();
        world.meter.set(world.now(), busy as f64, self.usable(world) as f64);
    }
}

impl Model for GpuModel {
    fn enter(&mut self, id: CallId, world: &mut World) {
        self.queue.push_back(id);
        self.start(world);
    }

    fn on(&mut self, occasion: Occasion, world: &mut World) {
        if let Occasion::DeviceDone { device } = occasion {
            let device = &mut self.devices[device as usize];
            let class = if device.out_of_memory { Class::TooLarge } else { Class::Answered };
            for id in device.batch.drain(..) {
                world.answer(id, class);
            }
            self.start(world);
        }
    }

    fn on_change(&mut self, world: &mut World) {
        self.start(world);
    }

    fn gauges(&self, _: usize) -> Gauges {
        let running = self.devices.iter().map(|device| device.batch.len() as f64).sum();
        Gauges { waiting: self.queue.len() as f64, running, preempted_total: 0.0 }
    }
}
