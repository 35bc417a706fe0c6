//! Cold entries in a folder on this machine, kept by fjall (an LSM tree).
//!
//! A cache: emptied when it is opened, never synced, never read by another process. What it says after a crash does not matter,
//! because state is restored from a checkpoint. Calls block on the local disk; most are answered from its memory.

use std::path::{Path, PathBuf};

use fjall::{Database, Keyspace, KeyspaceCreateOptions};
use forebay_core::{Error, Kind, Result};

use super::spill::{SpillStore, SpillTable};

/// Memory for blocks read back, shared by all tables of a store: small beside the budget of live values.
const CACHE_BYTES: u64 = 32 << 20;

/// The folder inside the caller's that is emptied, so that a wrong setting removes nobody's files.
const ENTRIES: &str = "spilled-state";

/// A store of cold entries in a folder; one serves all operators and subtasks of a process.
pub struct FjallSpill {
    database: Database,
    folder: PathBuf,
}

struct FjallTable {
    entries: Keyspace,
    /// Where they lie, for errors.
    folder: PathBuf,
}

// === impl FjallSpill ===

impl FjallSpill {
    /// A store in `folder`, which it owns: what an earlier store left there is removed.
    ///
    /// # Errors
    /// `Invalid` if the folder holds something else: nothing is removed then. `Unavailable`, naming the folder, if it cannot be
    /// emptied or written; `Exhausted` on a full disk.
    pub fn open(folder: &Path) -> Result<Self> {
        let entries = folder.join(ENTRIES);
        let is_used = folder.read_dir().is_ok_and(|mut there| there.next().is_some());
        if is_used && !entries.is_dir() {
            return Err(spill_error(Kind::Invalid, folder, "open folder")
                .source("the folder holds other files: name an empty one, or one that does not exist"));
        }
        match std::fs::remove_dir_all(&entries) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(io(folder, "empty folder", error));
            }
            _ => {}
        }
        std::fs::create_dir_all(&entries).map_err(|error| io(folder, "make folder", error))?;
        let database = Database::builder(&entries).cache_size(CACHE_BYTES).manual_journal_persist(true).open();
        let database = database.map_err(|error| failed(folder, "open folder", error))?;
        Ok(Self { database, folder: folder.to_path_buf() })
    }
}

impl SpillStore for FjallSpill {
    fn table(&self, name: &str) -> Result<Box<dyn SpillTable>> {
        let fail = |error| failed(&self.folder, "open table", error);
        // The name is a user's: its hash is always a fit name.
        let name = format!("{:032x}", forebay_core::hash::hash128(name.as_bytes()));
        let entries = self.database.keyspace(&name, KeyspaceCreateOptions::default).map_err(fail)?;
        // An earlier attempt in this process may have left entries.
        entries.clear().map_err(fail)?;
        Ok(Box::new(FjallTable { entries, folder: self.folder.clone() }))
    }
}

impl SpillTable for FjallTable {
    fn put(&mut self, address: &[u8], bytes: &[u8]) -> Result<()> {
        self.entries.insert(address, bytes).map_err(|error| failed(&self.folder, "write entry", error))
    }

    fn get(&mut self, address: &[u8]) -> Result<Option<Vec<u8>>> {
        let found = self.entries.get(address).map_err(|error| failed(&self.folder, "read entry", error))?;
        Ok(found.map(|bytes| bytes.to_vec()))
    }

    fn remove(&mut self, address: &[u8]) -> Result<()> {
        self.entries.remove(address).map_err(|error| failed(&self.folder, "remove entry", error))
    }

    fn scan(&mut self, from: &[u8], until: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let entries = self.entries.range(from.to_vec()..until.to_vec()).map(|entry| {
            let (address, bytes) = entry.into_inner().map_err(|error| failed(&self.folder, "read entries", error))?;
            Ok((address.to_vec(), bytes.to_vec()))
        });
        entries.collect()
    }
}

fn io(folder: &Path, attempted: &str, error: std::io::Error) -> Error {
    let full = matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded);
    let kind = if full { Kind::Exhausted } else { Kind::Unavailable };
    spill_error(kind, folder, attempted).source(error)
}

fn failed(folder: &Path, attempted: &str, error: fjall::Error) -> Error {
    match error {
        fjall::Error::Io(error) => io(folder, attempted, error),
        fjall::Error::Storage(fjall::LsmError::Io(error)) => io(folder, attempted, error),
        fjall::Error::Storage(error) => spill_error(Kind::Corrupt, folder, attempted).source(error),
        error => spill_error(Kind::Unavailable, folder, attempted).source(error),
    }
}

fn spill_error(kind: Kind, folder: &Path, attempted: &str) -> Error {
    Error::new(kind, format!("spill state: {attempted}")).with("folder", folder.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_emptied_when_it_is_opened_and_others_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let store = FjallSpill::open(folder.path()).unwrap();
            let mut table = store.table("a/b").unwrap();
            assert_eq!(table.scan(&[], &[0xff]).unwrap(), []);
            for number in 0u8..100 {
                table.put(&[number], &[number; 10]).unwrap();
            }
            table.remove(&[5]).unwrap();
            assert_eq!(table.get(&[5]).unwrap(), None);
            assert_eq!(table.get(&[6]).unwrap(), Some(vec![6; 10]));
            let found: Vec<u8> = table.scan(&[4], &[8]).unwrap().into_iter().map(|(address, _)| address[0]).collect();
            assert_eq!(found, [4, 6, 7]);
            assert_eq!(store.table("other").unwrap().get(&[6]).unwrap(), None);
            assert_eq!(store.table("a/b").unwrap().get(&[6]).unwrap(), None, "a table starts empty");
        }
        let foreign = tempfile::tempdir().unwrap();
        std::fs::write(foreign.path().join("thesis.txt"), "mine").unwrap();
        assert_eq!(FjallSpill::open(foreign.path()).err().unwrap().kind(), Kind::Invalid);
        assert!(foreign.path().join("thesis.txt").exists());
    }
}
