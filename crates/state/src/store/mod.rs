//! The core's `Store`: over a disk, and over object stores.
//!
//! One conformance suite (`tests.rs`) holds for all of them. Which one a location means is decided here and nowhere else.

mod abandoned;
mod local;
mod object;

use std::path::Path;
use std::sync::Arc;

use forebay_core::env::Env;
use forebay_core::store::Store;
use forebay_core::{Error, Kind, Result};
use url::Url;

use crate::disk::OsDisk;

pub(crate) use local::STAGING;
pub use local::{LocalStore, PlantedStoreBug};
pub use object::ObjectStoreStore;

/// Opens the store at `location`: a path or `file://` URL for a local folder (created if missing), `s3://bucket/prefix`
/// with credentials and region from the `AWS_*` environment variables, `memory://` for one that is empty at each opening.
/// What dead processes left unfinished in a local folder goes after a day.
///
/// Must be called inside a tokio runtime for `s3://`.
///
/// # Errors
/// `Invalid` for a URL that cannot be understood or a scheme that is not supported, or if the folder cannot be a folder.
pub fn open_store(location: &str, env: &Arc<dyn Env>) -> Result<Arc<dyn Store>> {
    if !location.contains("://") {
        return local(Path::new(location), env);
    }
    let url = Url::parse(location)
        .map_err(|e| Error::new(Kind::Invalid, "understand location").with("location", location).source(e))?;
    match url.scheme() {
        "file" => match url.to_file_path() {
            Ok(path) => local(&path, env),
            Err(()) => Err(Error::new(Kind::Invalid, "understand location")
                .with("location", location)
                .source("a file URL has three slashes and an absolute path: file:///folder")),
        },
        "s3" => Ok(Arc::new(ObjectStoreStore::s3(&url)?)),
        "memory" => Ok(Arc::new(ObjectStoreStore::memory())),
        other => Err(Error::new(Kind::Invalid, "open store")
            .with("location", without_credentials(&url))
            .source(format!("scheme `{other}` is not supported; use a path, file://, s3:// or memory://"))),
    }
}

fn local(path: &Path, env: &Arc<dyn Env>) -> Result<Arc<dyn Store>> {
    if path.as_os_str().is_empty() {
        return Err(Error::new(Kind::Invalid, "open store").source("the location is empty"));
    }
    let disk = OsDisk::open(path)?;
    abandoned::remove_abandoned(disk.root(), env.wall_micros());
    let label = disk.root().display().to_string();
    Ok(Arc::new(LocalStore::new(Arc::clone(env), Arc::new(disk), label)))
}

/// The URL as it may be shown: without user, password and query.
fn without_credentials(url: &Url) -> String {
    let mut shown = url.clone();
    // Refused only for URLs that cannot hold them.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.set_query(None);
    shown.to_string()
}

#[cfg(test)]
pub(crate) mod power_loss_tests;
#[cfg(test)]
mod tests;
