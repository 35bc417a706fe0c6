//! What answers calls, one file for each kind of backend.

mod gpu;
mod knee;
mod llm;
mod slots;

use forebay_gate::limiter::Gauges;

use super::agenda::Occasion;
use super::calls::CallId;
use super::world::World;
use crate::scenario::Backend;

/// A simulated backend.
///
/// # Order of calls
/// `on_change` once before the first call and whenever the world's conditions changed; `enter` for each admitted call;
/// `on` for each of its own occasions. Every call that entered is answered once, or dropped once it is abandoned.
pub trait Model {
    /// A call arrives.
    fn enter(&mut self, id: CallId, world: &mut World);

    /// Something it planned is due.
    fn on(&mut self, occasion: Occasion, world: &mut World);

    /// Conditions changed.
    fn on_change(&mut self, world: &mut World);

    /// What `replica` says of its own queue.
    fn gauges(&self, replica: usize) -> Gauges;
}

/// The model of `backend`.
pub fn model(backend: &Backend) -> Box<dyn Model> {
    match backend {
        Backend::Slots(settings) => Box::new(slots::SlotsModel::new(settings.clone())),
        Backend::Gpu(settings) => Box::new(gpu::GpuModel::new(settings.clone())),
        Backend::Llm(settings) => Box::new(llm::LlmModel::new(settings.clone())),
        Backend::Knee(settings) => Box::new(knee::KneeModel::new(settings.clone())),
    }
}

/// `count` of something times a multiplier, whole and at least one.
fn scaled(count: usize, capacity: f64) -> usize {
    ((count as f64 * capacity).round() as usize).max(1)
}
