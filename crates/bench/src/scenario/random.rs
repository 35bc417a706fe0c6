//! Scenarios drawn at random: backends, objectives and shifts that nobody tuned for.
//!
//! The n-th of a seed is always the same, whatever the count. Four families take turns: slots, client batches, server
//! batches, language models.

use super::{Backend, Gpu, Llm, Phase, Scenario, Service, Slots, Span, Tokens};
use crate::virtual_time::Dice;

/// Largest rate of arrivals that is drawn: well below what one client's processor can send.
const DEMAND_MAX: f64 = 8_000.0;

/// A backend with what the other draws depend on.
struct Drawn {
    backend: Backend,
    /// 99th percentile of an unqueued answer, or twice a useful batch's time.
    bare_p99: f64,
    /// Rows in a second, roughly.
    capacity: f64,
}

/// Draws `count` scenarios from `seed`.
pub fn random(seed: u64, count: usize) -> Vec<Scenario> {
    (0..count as u64).map(|index| draw(seed, index)).collect()
}

fn draw(seed: u64, index: u64) -> Scenario {
    let mut dice = Dice::of_state(seed.wrapping_add(index.wrapping_mul(1_000_003)));
    let family = index % 4;
    let phase_length = if family == 3 { 150.0 } else { 60.0 };
    let count = 3 + dice.between(0.0, 2.0) as usize;
    let mut phases: Vec<Phase> =
        (0..count).map(|place| shift(&mut dice, place, family, phase_length * place as f64)).collect();
    let slowest = phases.iter().map(|phase| phase.service).fold(1.0, f64::max);
    let slack = dice.power_of_two(0.4, 2.2);
    let open = dice.between(0.0, 1.0) < 0.3;
    let round_trip = [0.001, 0.005, 0.02][dice.between(0.0, 3.0) as usize];
    let Drawn { backend, bare_p99, capacity } = match family {
        0 => slots(&mut dice),
        1 => client_batches(&mut dice),
        2 => server_batches(&mut dice),
        _ => language_model(&mut dice),
    };
    if open {
        for phase in &mut phases {
            phase.demand = Some((capacity * dice.between(0.3, 1.3)).min(DEMAND_MAX));
        }
    }
    let name = format!("R{seed}-{index:02}");
    let length = Span(phase_length * count as f64);
    let mut scenario = Scenario::new(name, backend, Span(bare_p99 * slowest * slack), length);
    let what = ["slots", "client batches", "server batches", "language model"][family as usize];
    let load = if open { "arrivals" } else { "backlog" };
    scenario.title = format!("random: {what}, {load}, objective {slack:.2} times the bare tail");
    scenario.round_trip = Span(round_trip);
    scenario.rows_per_call_max = if family == 1 { 128 } else { 1 };
    scenario.cancel = family == 3;
    scenario.phases = phases;
    scenario
}

/// The first phase is undisturbed; a later one changes capacity, service time or both.
fn shift(dice: &mut Dice, place: usize, family: u64, at: f64) -> Phase {
    let mut phase = Phase::new(Span(at));
    if place == 0 {
        return phase;
    }
    match dice.between(0.0, 3.0) as usize {
        0 => phase.capacity = dice.power_of_two(-1.6, 0.9),
        1 => phase.service = dice.power_of_two(-1.0, 1.3),
        _ => {
            phase.capacity = dice.power_of_two(-1.0, 0.6);
            phase.service = dice.power_of_two(-0.6, 0.8);
        }
    }
    if family == 3 {
        phase.size = dice.power_of_two(-0.5, 1.5);
        phase.service = phase.service.clamp(0.7, 1.4);
    }
    phase
}

fn slots(dice: &mut Dice) -> Drawn {
    let slots = dice.power_of_two(2.0, 7.0) as usize;
    let mean = 10f64.powf(dice.between(-2.0, -0.3));
    let cv = dice.between(0.1, 1.4);
    let variance = (1.0 + cv * cv).ln();
    let bare_p99 = mean * (2.326 * variance.sqrt() - variance / 2.0).exp();
    let backend = Backend::Slots(Slots::new(slots, Service::new(Span(mean), cv)));
    Drawn { backend, bare_p99, capacity: slots as f64 / mean }
}

/// Devices, time of a call, time of a row.
fn devices(dice: &mut Dice) -> (usize, f64, f64) {
    let devices = 1 + dice.between(0.0, 4.0) as usize;
    (devices, 10f64.powf(dice.between(-2.3, -1.0)), 10f64.powf(dice.between(-3.5, -2.3)))
}

fn client_batches(dice: &mut Dice) -> Drawn {
    let (devices, call, row) = devices(dice);
    let gpu = Gpu { memory_rows: Some(128.0), ..Gpu::new(devices, Span(call), Span(row)) };
    let capacity = devices as f64 * 32.0 / (call + 32.0 * row);
    Drawn { backend: Backend::Gpu(gpu), bare_p99: 2.0 * (call + 16.0 * row), capacity }
}

fn server_batches(dice: &mut Dice) -> Drawn {
    let (devices, call, row) = devices(dice);
    let batch = 1usize << (3 + dice.between(0.0, 4.0) as usize);
    let gpu = Gpu { server_batch_max: Some(batch), ..Gpu::new(devices, Span(call), Span(row)) };
    let time = call + batch as f64 * row;
    Drawn { backend: Backend::Gpu(gpu), bare_p99: 2.0 * time, capacity: (devices * batch) as f64 / time }
}

fn language_model(dice: &mut Dice) -> Drawn {
    let kv_tokens = 10f64.powf(dice.between(4.3, 5.2));
    let (prompt, output) = (10f64.powf(dice.between(2.0, 3.0)), 10f64.powf(dice.between(1.3, 2.2)));
    let prompts = Tokens { mean: prompt, cv: 0.5, min: 8.0, max: 8_000.0 };
    let outputs = Tokens { mean: output, cv: 0.5, min: 4.0, max: 2_000.0 };
    let bare_p99 = 3.2 * output * 0.02 + prompt * 4e-5;
    let capacity = kv_tokens / (prompt + output) / (output * 0.025);
    Drawn { backend: Backend::Llm(Llm::new(kv_tokens, prompts, outputs)), bare_p99, capacity }
}
