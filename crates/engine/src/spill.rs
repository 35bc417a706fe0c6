//! Opens the store of spilled state when the first entry goes there: most jobs keep little keyed state, and need no files for it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use forebay_core::Result;
use forebay_state::keyed::{FjallSpill, SpillStore, SpillTable};

/// A [`FjallSpill`] that may not be there yet.
#[derive(Clone)]
pub(crate) struct LazySpill {
    folder: PathBuf,
    store: Arc<Mutex<Option<FjallSpill>>>,
}

/// One table of it; not there as long as nothing was put.
struct LazyTable {
    name: String,
    spill: LazySpill,
    table: Option<Box<dyn SpillTable>>,
}

// === impl LazySpill ===

impl LazySpill {
    /// A store in `folder`, once it is needed.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, store: Arc::default() }
    }

    fn open(&self, name: &str) -> Result<Box<dyn SpillTable>> {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        match &*store {
            Some(store) => store.table(name),
            None => {
                tracing::info!("keyed state outgrows its memory: cold entries go to {}", self.folder.display());
                store.insert(FjallSpill::open(&self.folder)?).table(name)
            }
        }
    }
}

impl SpillStore for LazySpill {
    fn table(&self, name: &str) -> Result<Box<dyn SpillTable>> {
        Ok(Box::new(LazyTable { name: name.to_string(), spill: self.clone(), table: None }))
    }
}

impl SpillTable for LazyTable {
    fn put(&mut self, address: &[u8], bytes: &[u8]) -> Result<()> {
        match &mut self.table {
            Some(table) => table.put(address, bytes),
            None => self.table.insert(self.spill.open(&self.name)?).put(address, bytes),
        }
    }

    fn get(&mut self, address: &[u8]) -> Result<Option<Vec<u8>>> {
        self.table.as_mut().map_or(Ok(None), |table| table.get(address))
    }

    fn remove(&mut self, address: &[u8]) -> Result<()> {
        self.table.as_mut().map_or(Ok(()), |table| table.remove(address))
    }

    fn scan(&mut self, from: &[u8], until: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.table.as_mut().map_or(Ok(Vec::new()), |table| table.scan(from, until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_on_disk_before_the_first_entry_and_tables_do_not_mix() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("spill");
        let spill = LazySpill::new(place.clone());
        let (mut one, mut two) = (spill.table("one").unwrap(), spill.table("two").unwrap());
        assert_eq!(one.get(b"a").unwrap(), None);
        assert_eq!(one.scan(b"a", b"z").unwrap(), []);
        one.remove(b"a").unwrap();
        assert!(!place.exists());
        one.put(b"a", b"1").unwrap();
        two.put(b"a", b"2").unwrap();
        assert_eq!(one.get(b"a").unwrap().as_deref(), Some(&b"1"[..]));
        assert_eq!(two.scan(b"a", b"z").unwrap(), [(b"a".to_vec(), b"2".to_vec())]);
    }
}
