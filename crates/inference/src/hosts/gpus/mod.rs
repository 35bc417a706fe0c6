//! Which GPUs each worker process sees.
//!
//! A model declares what one replica needs: whole GPUs or a part of one, and memory on it. All replicas of all models of a job
//! are placed at once ([`place()`]), when the first worker that needs a GPU starts, so that planning needs none; which GPUs there
//! are is asked then (`machine`). Replicas that come later are placed beside those that are there. A worker is shown its own by [`VARIABLE`] and no others. Part and memory are what the
//! declaration says: nothing here takes memory away from a process that uses more.

mod machine;
mod place;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    wishes: Mutex<Wishes>,
}

#[derive(Debug, Default)]
struct Wishes {
    wanted: BTreeMap<String, Wanted>,
    /// Those there are, and who was placed on them; empty until the first worker starts.
    placed: Option<(Vec<Gpu>, BTreeMap<ReplicaOf, Seat>)>,
}

/// A model's name and the number of one of its replicas.
pub type ReplicaOf = (String, u16);

/// The GPUs of one model.
#[derive(Debug, Clone)]
pub struct Seats {
    gpus: Arc<Gpus>,
    model: String,
}

/// The GPUs of one replica. They are nobody else's as long as somebody holds it.
#[derive(Debug, Clone)]
pub struct Seat {
    gpus: Arc<Vec<String>>,
}

// === impl Gpus ===

impl Gpus {
    /// Those that this process sees.
    pub fn of_this_machine() -> Self {
        Self::new(machine::visible)
    }

    /// Those that `look` finds; it is asked when the first worker starts, and again after a failure.
    pub fn new(look: impl Fn() -> Vec<Gpu> + Send + Sync + 'static) -> Self {
        Self { look: Box::new(look), wishes: Mutex::default() }
    }

    /// Notes that each of `replicas` of `model` needs `share`. Comes before the first worker starts.
    pub fn want(self: &Arc<Self>, model: &str, replicas: u16, share: Share) -> Seats {
        let wanted = Wanted { model: model.to_string(), replicas, share };
        let mut wishes = self.lock();
        wishes.wanted.insert(model.to_string(), wanted);
        wishes.placed = None;
        Seats { gpus: Arc::clone(self), model: model.to_string() }
    }

    fn of(&self, model: &str, replica: u16) -> Result<Seat> {
        let mut wishes = self.lock();
        if wishes.placed.is_none() {
            wishes.place(&self.look)?;
        }
        let seats = wishes.placed.as_ref().map(|(_, seats)| seats);
        let seat = seats.and_then(|seats| seats.get(&(model.to_string(), replica)));
        seat.cloned().ok_or_else(|| {
            Error::new(Kind::Internal, "place model on GPUs").with("model", model).with("replica", replica)
        })
    }

    fn reserve(&self, model: &str, replicas: u16) -> Result<()> {
        let mut wishes = self.lock();
        let Some(before) = wishes.set(model, replicas) else { return Ok(()) };
        wishes.place(&self.look).inspect_err(|_| {
            wishes.set(model, before);
        })
    }

    fn lock(&self) -> MutexGuard<'_, Wishes> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Gpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gpus").field("wishes", &self.wishes).finish_non_exhaustive()
    }
}

// === impl Wishes ===

impl Wishes {
    /// Wants so many replicas of `model`; how many were wanted before, `None` if it wants no GPU.
    fn set(&mut self, model: &str, replicas: u16) -> Option<u16> {
        let wanted = self.wanted.get_mut(model)?;
        Some(std::mem::replace(&mut wanted.replicas, replicas))
    }

    /// Places who has no place yet. Who has one keeps it as long as it is wanted, or held.
    fn place(&mut self, look: &dyn Fn() -> Vec<Gpu>) -> Result<()> {
        let wanted = &self.wanted;
        let (there, mut seats) = self.placed.clone().unwrap_or_else(|| (look(), BTreeMap::new()));
        let stays = |(model, replica): &ReplicaOf, held: bool| {
            held || wanted.get(model).is_some_and(|wanted| *replica < wanted.replicas)
        };
        // Beside this copy of the list and the list itself.
        seats.retain(|replica, seat| stays(replica, Arc::strong_count(&seat.gpus) > 2));
        let kept = seats.iter().map(|(replica, seat)| (replica.clone(), seat.gpus().to_vec())).collect();
        let placed = place(&wanted.values().cloned().collect::<Vec<_>>(), &kept, &there)?;
        for (replica, gpus) in placed {
            seats.entry(replica).or_insert_with(|| Seat { gpus: Arc::new(gpus) });
        }
        self.placed = Some((there, seats));
        Ok(())
    }
}

// === impl Seats ===

impl Seats {
    /// The GPUs that `replica` sees, the same each time that it starts. Asks which there are, so it may take a second.
    ///
    /// # Errors
    /// `Invalid` if there are too few.
    pub fn of(&self, replica: u16) -> Result<Seat> {
        self.gpus.of(&self.model, replica)
    }

    /// Places so many replicas of the model; those that are placed stay where they are.
    ///
    /// # Errors
    /// `Invalid` if there are too few; then nothing changes.
    pub fn reserve(&self, replicas: u16) -> Result<()> {
        self.gpus.reserve(&self.model, replicas)
    }
}

// === impl Seat ===

impl Seat {
    /// Their ids.
    pub fn gpus(&self) -> &[String] {
        &self.gpus
    }
}

/// What `look` says, which may block.
///
/// # Errors
/// Its own.
pub async fn looking<T: Send + 'static>(look: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let looked = tokio::task::spawn_blocking(look).await;
    looked.map_err(|source| Error::new(Kind::Internal, "look for GPUs").source(source))?
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
        assert_eq!([small.of(0), small.of(1), large.of(0)].map(ids), ["b", "b", "a"]);
        assert_eq!(looks.load(Ordering::SeqCst), 1);
        assert_eq!(small.of(2).unwrap_err().kind(), Kind::Internal);
    }

    #[test]
    fn more_replicas_are_placed_beside_those_that_are_there_and_who_leaves_has_its_place_until_it_is_gone() {
        let gpus = Arc::new(Gpus::new(|| ["a", "b"].map(|id| Gpu { id: id.into(), memory_bytes: None }).to_vec()));
        let share = |thousandths| Share { thousandths, memory_bytes: None };
        let small = gpus.want("small", 1, share(500));
        let [large, other] = ["large", "other"].map(|model| gpus.want(model, 1, share(1000)));
        other.reserve(0).unwrap();
        assert_eq!([small.of(0), large.of(0)].map(ids), ["b", "a"]);
        let refused = other.reserve(1).unwrap_err();
        assert_eq!((refused.kind(), other.of(0).unwrap_err().kind()), (Kind::Invalid, Kind::Internal));
        small.reserve(2).unwrap();
        assert_eq!(ids(small.of(1)), "b");
        assert_eq!(small.reserve(3).unwrap_err().kind(), Kind::Invalid);
        let leaving = large.of(0);
        large.reserve(0).unwrap();
        assert_eq!(other.reserve(1).unwrap_err().kind(), Kind::Invalid, "its process runs");
        drop(leaving);
        other.reserve(1).unwrap();
        assert_eq!([other.of(0), small.of(0)].map(ids), ["a", "b"]);
    }

    fn ids(seat: Result<Seat>) -> String {
        seat.unwrap().gpus().join(",")
    }
}
