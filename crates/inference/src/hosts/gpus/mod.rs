//! Which GPUs each worker process sees.
//!
//! A model declares what one replica needs: whole GPUs or a part of one, and memory on it. All replicas of all models of a job
//! are placed at once ([`place`]), when the first worker that needs a GPU starts, so that planning needs none; which GPUs there
//! are is asked then (`machine`). A worker is shown its own by [`VARIABLE`] and no others. Part and memory are what the
//! declaration says: nothing here takes memory away from a process that uses more.

mod machine;
mod place;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use forebay_core::{Error, Kind, Result};

pub use place::{Placed, Wanted, place};

/// Tells CUDA which GPUs a process sees, by their ids, with commas.
pub const VARIABLE: &str = "CUDA_VISIBLE_DEVICES";

/// A GPU of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    /// As [`VARIABLE`] names it.
    pub id: String,
    /// All of its memory; `None` if nobody says.
    pub memory_bytes: Option<u64>,
}

/// What one replica needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Share {
    /// Thousandths of a GPU: below 1000 a part of one, else whole ones; 0 needs only memory.
    pub thousandths: u32,
    /// Memory on each GPU that it sees.
    pub memory_bytes: Option<u64>,
}

/// The GPUs of this machine, and who wants them.
pub struct Gpus {
    look: Box<dyn Fn() -> Vec<Gpu> + Send + Sync>,
    wanted: Mutex<BTreeMap<String, Wanted>>,
    placed: Mutex<Option<Placed>>,
}

/// The GPUs of one model.
#[derive(Debug, Clone)]
pub struct Seats {
    gpus: Arc<Gpus>,
    model: String,
}

// === impl Gpus ===

impl Gpus {
    /// Those that this process sees.
    pub fn of_this_machine() -> Self {
        Self::new(machine::visible)
    }

    /// Those that `look` finds; it is asked when the first worker starts, and again after a failure.
    pub fn new(look: impl Fn() -> Vec<Gpu> + Send + Sync + 'static) -> Self {
        Self { look: Box::new(look), wanted: Mutex::default(), placed: Mutex::default() }
    }

    /// Notes that each of `replicas` of `model` needs `share`. Comes before the first worker starts.
    pub fn want(self: &Arc<Self>, model: &str, replicas: u16, share: Share) -> Seats {
        let wanted = Wanted { model: model.to_string(), replicas, share };
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).insert(model.to_string(), wanted);
        *self.placed.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Seats { gpus: Arc::clone(self), model: model.to_string() }
    }

    fn of(&self, model: &str, replica: u16) -> Result<Vec<String>> {
        let mut placed = self.placed.lock().unwrap_or_else(PoisonError::into_inner);
        if placed.is_none() {
            let wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
            *placed = Some(place(&wanted.values().cloned().collect::<Vec<_>>(), &(self.look)())?);
        }
        let seats = placed.iter().flat_map(|placed| placed.get(model)).flatten().nth(usize::from(replica));
        seats.cloned().ok_or_else(|| {
            Error::new(Kind::Internal, "place model on GPUs").with("model", model).with("replica", replica)
        })
    }
}

impl fmt::Debug for Gpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gpus").field("wanted", &self.wanted).field("placed", &self.placed).finish_non_exhaustive()
    }
}

// === impl Seats ===

impl Seats {
    /// The ids of the GPUs that `replica` sees, the same each time that it starts. Asks which there are, so it may take a second.
    ///
    /// # Errors
    /// `Invalid` if there are too few.
    pub fn of(&self, replica: u16) -> Result<Vec<String>> {
        self.gpus.of(&self.model, replica)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn all_models_are_placed_together_when_the_first_worker_starts() {
        let looks = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&looks);
        let gpus = Arc::new(Gpus::new(move || {
            seen.fetch_add(1, Ordering::SeqCst);
            ["a", "b"].map(|id| Gpu { id: id.into(), memory_bytes: None }).to_vec()
        }));
        let share = |thousandths| Share { thousandths, memory_bytes: None };
        let small = gpus.want("small", 2, share(500));
        let large = gpus.want("large", 1, share(1000));
        assert_eq!(looks.load(Ordering::SeqCst), 0, "a plan needs no GPU");
        // The large one has the first, although the small one asks before it.
        assert_eq!((small.of(0).unwrap(), small.of(1).unwrap()), (vec!["b".to_string()], vec!["b".to_string()]));
        assert_eq!(large.of(0).unwrap(), ["a"]);
        assert_eq!(looks.load(Ordering::SeqCst), 1);
        assert_eq!(small.of(2).unwrap_err().kind(), Kind::Internal);
    }
}
