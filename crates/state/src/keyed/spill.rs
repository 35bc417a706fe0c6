//! Where cold entries go when a table outgrows its memory: a cache on this machine, never the truth.
//!
//! A store may forget everything when the process ends, and is emptied when it is opened: snapshots hold spilled entries
//! too. [`MemorySpill`] serves simulation and tests; [`FjallSpill`](super::FjallSpill) serves production.

use std::collections::BTreeMap;

use forebay_core::Result;

/// Opens one cache per table.
pub trait SpillStore: Send + Sync {
    /// An empty cache. `name` tells apart the tables of all operators and subtasks that share the store.
    ///
    /// # Errors
    /// `Unavailable` or `Exhausted` if the store cannot be written.
    fn table(&self, name: &str) -> Result<Box<dyn SpillTable>>;
}

/// Bytes by address, in order of address. Used by one thread.
///
/// # Errors
/// Every method: `Exhausted` on a full disk, `Unavailable` on other I/O errors, `Corrupt` if what was written cannot be read.
/// The subtask then fails and restores its state from a checkpoint.
pub trait SpillTable: Send {
    /// Writes, replacing what was there.
    ///
    /// # Errors
    /// See the trait.
    fn put(&mut self, address: &[u8], bytes: &[u8]) -> Result<()>;

    /// What was written last; `None` if nothing was or it was removed.
    ///
    /// # Errors
    /// See the trait.
    fn get(&mut self, address: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Forgets the address.
    ///
    /// # Errors
    /// See the trait.
    fn remove(&mut self, address: &[u8]) -> Result<()>;

    /// Everything from `from` to before `until`, in order of address.
    ///
    /// # Errors
    /// See the trait.
    fn scan(&mut self, from: &[u8], until: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>>;
}

/// A store in memory: deterministic, for simulation and tests.
#[derive(Debug, Default)]
pub struct MemorySpill;

#[derive(Debug, Default)]
struct MemoryTable(BTreeMap<Vec<u8>, Vec<u8>>);

impl SpillStore for MemorySpill {
    fn table(&self, _name: &str) -> Result<Box<dyn SpillTable>> {
        Ok(Box::new(MemoryTable::default()))
    }
}

impl SpillTable for MemoryTable {
    fn put(&mut self, address: &[u8], bytes: &[u8]) -> Result<()> {
        self.0.insert(address.to_vec(), bytes.to_vec());
        Ok(())
    }

    fn get(&mut self, address: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.0.get(address).cloned())
    }

    fn remove(&mut self, address: &[u8]) -> Result<()> {
        self.0.remove(address);
        Ok(())
    }

    fn scan(&mut self, from: &[u8], until: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let found = self.0.range(from.to_vec()..until.to_vec());
        Ok(found.map(|(address, bytes)| (address.clone(), bytes.clone())).collect())
    }
}
