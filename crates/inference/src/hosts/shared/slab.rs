//! A piece of memory that two processes see: a memfd of fixed size, mapped once for as long as it lives.
//!
//! The seals make it safe to look at: nobody can shrink it under a reader, which would end the reader with SIGBUS, and
//! nobody but this process can write to one that is written here. Nothing here reads or writes a byte.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, ftruncate, memfd_create};

/// A sealed memfd and its mapping.
#[derive(Debug)]
pub struct Slab {
    file: OwnedFd,
    map: MmapRaw,
    writable: bool,
}

// === impl Slab ===

impl Slab {
    /// Memory that this process writes, and whoever else is given it can only read.
    ///
    /// # Errors
    /// Those of the system, which may know no memfd, or none that can be sealed so.
    pub fn written_here(bytes: usize) -> std::io::Result<Self> {
        let file = sized(bytes)?;
        let map = MmapOptions::new().len(bytes).map_raw(&file)?;
        // The mapping above stays writable; no other can be made.
        fcntl_add_seals(&file, SealFlags::GROW | SealFlags::SHRINK | SealFlags::FUTURE_WRITE | SealFlags::SEAL)?;
        Ok(Self { file, map, writable: true })
    }

    /// Memory that a child writes and this process only reads.
    ///
    /// # Errors
    /// As [`Slab::written_here`].
    pub fn written_by_child(bytes: usize) -> std::io::Result<Self> {
        let file = sized(bytes)?;
        let map = MmapOptions::new().len(bytes).map_raw_read_only(&file)?;
        fcntl_add_seals(&file, SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
        Ok(Self { file, map, writable: false })
    }

    /// Has the system set memory aside for the bytes `from..to`, so that a machine without room says so here, and not by a
    /// signal when somebody writes.
    ///
    /// # Errors
    /// Those of the system: there is no room.
    pub fn commit(&self, from: usize, to: usize) -> std::io::Result<()> {
        Ok(fallocate(&self.file, FallocateFlags::empty(), from as u64, (to - from) as u64)?)
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Never true: the system maps nothing empty.
    pub fn is_empty(&self) -> bool {
        self.map.len() == 0
    }

    /// True if this process writes it.
    pub(super) fn is_writable(&self) -> bool {
        self.writable
    }

    /// Where it begins in this process.
    pub(super) fn start(&self) -> *mut u8 {
        self.map.as_mut_ptr()
    }
}

impl AsFd for Slab {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn sized(bytes: usize) -> std::io::Result<OwnedFd> {
    let file = memfd_create("forebay", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    ftruncate(&file, bytes as u64)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(slab: &Slab) -> std::io::Result<MmapRaw> {
        MmapOptions::new().len(slab.len()).map_raw(&slab.as_fd())
    }

    #[test]
    fn nobody_can_change_its_size() {
        for slab in [Slab::written_here(8192).unwrap(), Slab::written_by_child(8192).unwrap()] {
            assert!(ftruncate(slab.as_fd(), 0).is_err());
            assert!(ftruncate(slab.as_fd(), 16384).is_err());
            assert!(fcntl_add_seals(slab.as_fd(), SealFlags::WRITE).is_err(), "seals can be added");
            assert!(slab.commit(0, 8192).is_ok());
            assert!(slab.commit(0, 8193).is_err());
        }
    }

    #[test]
    fn one_written_here_can_be_mapped_for_reading_only_and_keeps_its_pages() {
        let slab = Slab::written_here(8192).unwrap();
        assert!(mapped(&slab).is_err());
        assert!(MmapOptions::new().len(8192).map_raw_read_only(&slab.as_fd()).is_ok());
        assert!(rustix::io::pwrite(slab.as_fd(), b"x", 0).is_err());
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        assert!(fallocate(slab.as_fd(), hole, 0, 4096).is_err());
        assert!(mapped(&Slab::written_by_child(8192).unwrap()).is_ok());
    }
}
