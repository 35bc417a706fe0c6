//! A language model server: continuous batching, chunked prefill, a key-value cache that pre-empts the newest when full.

use std::collections::VecDeque;

use forebay_gate::limiter::{Class, Gauges};

use super::super::agenda::Occasion;
use super::super::calls::CallId;
use super::super::world::World;
use super::Model;
use crate::scenario::Llm;

/// From the first call of an idle server to its first step.
const FIRST_STEP_SECONDS: f64 = 0.001;

/// A sequence is admitted while the cache is fuller than this share at most with it.
const ADMIT_SHARE: f64 = 0.99;

pub struct LlmModel {
    settings: Llm,
    waiting: VecDeque<Sequence>,
    running: Vec<Sequence>,
    /// Tokens in the cache: prompts and outputs of all running sequences.
    cached: f64,
    stepping: bool,
    preempted_total: u64,
}

#[derive(Debug, Clone, Copy)]
struct Sequence {
    call: CallId,
    prompt: f64,
    made: f64,
    output: f64,
    /// Tokens still to be computed before it makes the next.
    prefill: f64,
}

// === impl LlmModel ===

impl LlmModel {
    pub fn new(settings: Llm) -> Self {
        let (waiting, running) = (VecDeque::new(), Vec::new());
        Self { settings, waiting, running, cached: 0.0, stepping: false, preempted_total: 0 }
    }

    fn step(&mut self, world: &mut World) {
        let cache = self.settings.kv_tokens * world.conditions.capacity;
        self.end_finished(world);
        self.make_tokens();
        self.preempt(cache);
        let prefilled = self.continue_prefill();
        let prefilled = self.admit(prefilled, cache, world);
        self.stepping = !(self.running.is_empty() && self.waiting.is_empty());
        if self.stepping {
            let seconds = self.step_seconds(prefilled) * world.conditions.service;
            world.agenda.at(world.now() + seconds, Occasion::Step);
        }
        self.measure(world);
    }

    fn step_seconds(&self, prefilled: f64) -> f64 {
        let settings = &self.settings;
        settings.step.0
            + settings.step_sequence.0 * self.running.len() as f64
            + settings.step_prefill_token.0 * prefilled
            + settings.step_kv_token.0 * self.cached
    }

    fn end_finished(&mut self, world: &mut World) {
        let cached = &mut self.cached;
        self.running.retain(|sequence| {
            let over = sequence.made >= sequence.output || world.is_abandoned(sequence.call);
            if over {
                *cached -= sequence.tokens();
                world.answer(sequence.call, Class::Answered);
            }
            !over
        });
    }

    fn make_tokens(&mut self) {
        for sequence in self.running.iter_mut().filter(|sequence| sequence.prefill <= 0.0) {
            sequence.made += 1.0;
            self.cached += 1.0;
        }
    }

    fn preempt(&mut self, cache: f64) {
        while self.cached > cache
            && self.running.len() > 1
            && let Some(mut newest) = self.running.pop()
        {
            self.cached -= newest.tokens();
            self.preempted_total += 1;
            newest.prefill = newest.tokens();
            self.waiting.push_front(newest);
        }
    }

    fn continue_prefill(&mut self) -> f64 {
        let mut prefilled = 0.0;
        for sequence in &mut self.running {
            prefilled += sequence.compute(self.settings.prefill_tokens_max - prefilled);
        }
        prefilled
    }

    fn admit(&mut self, mut prefilled: f64, cache: f64, world: &mut World) -> f64 {
        while self.running.len() < self.settings.sequences_max
            && prefilled < self.settings.prefill_tokens_max
            && let Some(first) = self.waiting.front()
        {
            let abandoned = world.is_abandoned(first.call);
            // A prompt that can never fit runs alone, as real servers would refuse it and the study's never met it.
            let fits = self.cached + first.tokens() <= ADMIT_SHARE * cache || self.running.is_empty();
            if !abandoned && !fits {
                break;
            }
            let Some(mut sequence) = self.waiting.pop_front() else { break };
            if abandoned {
                world.answer(sequence.call, Class::Answered);
                continue;
            }
            self.cached += sequence.tokens();
            sequence.prefill = sequence.tokens();
            prefilled += sequence.compute(self.settings.prefill_tokens_max - prefilled);
            self.running.push(sequence);
        }
        prefilled
    }

    fn measure(&self, world: &mut World) {
        world.meter.set(world.now(), if self.stepping { 1.0 } else { 0.0 }, 1.0);
    }
}

impl Model for LlmModel {
    fn enter(&mut self, id: CallId, world: &mut World) {
        if let Some(row) = world.calls.get(id).and_then(|call| call.rows.first()) {
            let (prompt, output) = (row.size, row.output.max(1.0));
            self.waiting.push_back(Sequence { call: id, prompt, made: 0.0, output, prefill: 0.0 });
        }
        if !self.stepping {
            self.stepping = true;
            world.agenda.at(world.now() + FIRST_STEP_SECONDS, Occasion::Step);
        }
        self.measure(world);
    }

    fn on(&mut self, occasion: Occasion, world: &mut World) {
        if occasion == Occasion::Step {
            self.step(world);
        }
    }

    fn on_change(&mut self, world: &mut World) {
        self.measure(world);
    }

    fn gauges(&self, _: usize) -> Gauges {
        Gauges {
            waiting: self.waiting.len() as f64,
            running: self.running.len() as f64,
            preempted_total: self.preempted_total as f64,
        }
    }
}

// === impl Sequence ===

impl Sequence {
    /// Tokens it holds in the cache while it runs.
    fn tokens(&self) -> f64 {
        self.prompt + self.made
    }

    /// Computes up to `most` of what is to be computed; how many.
    fn compute(&mut self, most: f64) -> f64 {
        let computed = self.prefill.min(most).max(0.0);
        self.prefill -= computed;
        computed
    }
}
