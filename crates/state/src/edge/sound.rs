//! Whether the files of a log are sound, one after the other, for whoever copies them. Reads no rows and knows no mode; what a log
//! means is for [`Replay`](super::Replay) to say.

use forebay_core::Result;

use super::record;
use super::replay::{corrupt, in_order};
use super::segment::Header;
use super::settings::RECORD_BYTES_MAX;

/// The files of a log, looked at in order.
pub(crate) struct Sound {
    /// The next one last.
    files: Vec<(u32, u64, String)>,
    /// The file before: its number, its name, and how many of its bytes are sound.
    before: Option<(u32, String, u64)>,
}

// === impl Sound ===

impl Sound {
    /// A look at the log whose folder holds files called `names`; those of fenced attempts are left out.
    pub fn of(names: impl IntoIterator<Item = String>) -> Self {
        let (mut files, ..) = in_order(names);
        files.reverse();
        Self { files, before: None }
    }

    /// The file to look at next.
    pub fn next_file(&self) -> Option<&str> {
        self.files.last().map(|(_, _, name)| name.as_str())
    }

    /// Looks at the content of [`Sound::next_file`]. Only what the next file counts of it has to be sound.
    ///
    /// # Errors
    /// `Corrupt`, naming file and byte, where bytes that count are damaged; `Invalid` if a newer Forebay wrote it.
    pub fn take(&mut self, bytes: &[u8]) -> Result<()> {
        let Some((number, attempt, name)) = self.files.pop() else { return Ok(()) };
        let header = Header::parse(bytes)?.filter(|(header, _)| (header.number, header.attempt) == (number, attempt));
        let (previous, sound) = match header {
            Some((header, length)) => (Some(header.previous), length + sound_records(&bytes[length..])),
            None => (None, 0),
        };
        if let (Some((before, file, sound)), Some((expected, counted))) = (&self.before, previous)
            && *before == expected
            && *sound < counted
        {
            return Err(corrupt(file, *sound, "it is damaged from this byte on"));
        }
        self.before = Some((number, name, sound as u64));
        Ok(())
    }
}

/// How many of `bytes`, from the first on, are sound records.
fn sound_records(bytes: &[u8]) -> usize {
    let mut at = 0;
    while at < bytes.len()
        && let Ok((_, _, total)) = record::parse(&bytes[at..], RECORD_BYTES_MAX)
    {
        at += total;
    }
    at
}
