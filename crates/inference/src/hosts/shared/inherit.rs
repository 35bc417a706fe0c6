//! Descriptors that a child process keeps when it is started, under the numbers they have here.

#![allow(unsafe_code, reason = "what runs between fork and exec is marked so")]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;

use rustix::io::{FdFlags, fcntl_setfd};
use tokio::process::Command;

use super::Arena;

/// Has `command` start its child with the memory of `arenas`; the numbers of their descriptors there. No other child gets
/// them, whichever thread starts it.
pub fn inherit(command: &mut Command, arenas: [Arc<Arena>; 2]) -> [i32; 2] {
    let numbers = arenas.each_ref().map(|arena| arena.as_fd().as_raw_fd());
    let keep = move || {
        let keep_one = |descriptor: BorrowedFd<'_>| fcntl_setfd(descriptor, FdFlags::empty());
        arenas.iter().try_for_each(|arena| keep_one(arena.as_fd())).map_err(Into::into)
    };
    // SAFETY: between fork and exec only system calls are made, two of them; nothing is allocated and no lock is taken.
    unsafe { command.pre_exec(keep) };
    numbers
}
