//! Lists the files of a source: one split per file, sorted by path.

use std::sync::Arc;

use forebay_core::row::SplitId;
use forebay_core::source::{Enumerator, Split};
use forebay_core::store::Store;
use forebay_core::{Error, Kind, Result};
use futures::future::BoxFuture;

use super::glob::FilePattern;

/// Finds the files that a pattern means.
///
/// The version of a split is the file's length and the store's own version, so a file that is replaced between two fresh
/// starts of a job gives other row ids.
#[derive(Clone)]
pub struct FilesEnumerator {
    source_uid: String,
    store: Arc<dyn Store>,
    pattern: FilePattern,
}

// === impl FilesEnumerator ===

impl FilesEnumerator {
    /// Files of `store`, which is rooted at [`FilePattern::root`], for the source `source_uid`.
    pub fn new(source_uid: impl Into<String>, store: Arc<dyn Store>, pattern: FilePattern) -> Self {
        Self { source_uid: source_uid.into(), store, pattern }
    }

    /// What is there now, sorted by path; nothing is no error.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn list(&self) -> Result<Vec<Split>> {
        let mut entries = match self.pattern.levels() {
            Some(levels) => self.store.list_levels("", levels).await?,
            None => self.store.list("").await?,
        };
        entries.retain(|entry| self.pattern.matches(&entry.path));
        entries.sort_by(|left, right| left.path.cmp(&right.path));
        let splits = entries.into_iter().map(|entry| {
            let version = format!("{}@{}", entry.size_bytes, entry.version);
            let id = SplitId::new(&self.source_uid, &entry.path, &version);
            Split { id, name: entry.path, version, size_bytes: entry.size_bytes }
        });
        Ok(splits.collect())
    }
}

impl Enumerator for FilesEnumerator {
    fn splits(&self) -> BoxFuture<'static, Result<Vec<Split>>> {
        let files = self.clone();
        Box::pin(async move {
            let splits = files.list().await?;
            if splits.is_empty() {
                return Err(Error::new(Kind::Invalid, "find files")
                    .with("pattern", files.pattern.pattern())
                    .with("place", files.store.location())
                    .source("no file matches"));
            }
            Ok(splits)
        })
    }
}
