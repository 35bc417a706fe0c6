//! What a probe of the target was worth: keep it, try it once more, or go back and wait.

use super::super::super::Seconds;
use super::super::decision::Reason;
use super::super::epoch::Observed;
use super::super::{Latch, Phase};
use super::{GAIN, LOSS, LOSS_BIG, LOSS_TOP, PAUSE, PAUSE_PROBES, PAUSE_TOP, PAUSE_UP};

// === impl Latch ===

impl Latch {
    /// A probe of the target has its epoch: keep the target or go back.
    pub(in super::super) fn end_probe(&mut self, now: Seconds, seen: &Observed) {
        let up = self.phase == Phase::ProbeUp;
        self.phase = Phase::Hold;
        self.probe.forget();
        let gain = self.probe.gain(seen.rate);
        if self.probe.fewer {
            return self.end_fewer(now, seen, gain);
        }
        let error = self.probe.error(self.probe.dispersion, seen.rows);
        let big = !up && self.probe.step > 1.5;
        let worth = if up {
            gain > error.max(GAIN)
        } else if big {
            gain > -LOSS_BIG
        } else {
            gain > (error - LOSS.0).max(-LOSS.1)
        };
        let keep = worth && seen.latency <= 1.1 * self.target.highest();
        let believed = self.batched() && self.probe.clear(gain, seen.rows);
        let taken = now - self.probe.started;
        let jitter = self.jitter.around_one(now);
        match (keep, up, big) {
            (true, _, true) => self.keep_big_step(now),
            (true, false, false) if !self.probe.confirming && !believed => {
                self.confirm_later(now + 3.0 * taken * jitter)
            }
            (true, ..) => {
                self.probe.confirming = false;
                self.probe.pause = PAUSE.0;
                self.probe.down_at = now + 0.5;
                self.probe.pause_up = PAUSE_UP.0;
                self.probe.up_at = now + if up { 0.5 } else { PAUSE_UP.0 };
            }
            (false, ..) => self.undo_probe(now, up, big, gain, taken, jitter),
        }
    }

    fn keep_big_step(&mut self, now: Seconds) {
        self.probe.big_failed = 0;
        self.probe.pause = PAUSE.0;
        self.probe.down_at = now + 1.0;
        self.probe.up_at = now + PAUSE_UP.0;
        self.probe.confirming = false;
    }

    /// A small step down must pay twice running: once may be chance.
    fn confirm_later(&mut self, at: Seconds) {
        self.probe.confirming = true;
        self.target.wanted = self.probe.before.0;
        self.set(self.probe.before.1, Reason::ProbeUndone);
        self.probe.down_at = at;
    }

    fn undo_probe(&mut self, now: Seconds, up: bool, big: bool, gain: f64, taken: Seconds, jitter: f64) {
        self.probe.big_failed += u32::from(big);
        self.probe.confirming = false;
        self.target.wanted = self.probe.before.0;
        self.set(self.probe.before.1, Reason::ProbeUndone);
        if up {
            self.probe.up_at = now + self.probe.pause_up.max(PAUSE_PROBES.1 * taken) * jitter;
            self.probe.pause_up = (1.5 * self.probe.pause_up).min(PAUSE_UP.1);
            return;
        }
        self.probe.pause = (1.5 * self.probe.pause).min(PAUSE.1);
        self.probe.down_at = now + self.probe.pause.max(PAUSE_PROBES.0 * taken) * jitter;
        if gain < -LOSS_TOP && !self.falls_above() {
            self.target.wanted = self.target.objective();
            self.probe.pause = (2.0 * self.probe.pause).clamp(PAUSE_TOP, PAUSE.1);
            self.probe.down_at = now + self.probe.pause * jitter;
        }
    }
}
