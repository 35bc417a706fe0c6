//! One suite for every store, and what power loss does to a local one.

use bytes::Bytes;
use forebay_core::store::Created;
use forebay_core::store::StoreEntry;
use forebay_core::testing::{ManualEnv, MemoryDisk};
use futures::executor::block_on;
use futures::future::join_all;

use super::*;

/// A store to test, and what must outlive it.
struct Case {
    name: &'static str,
    store: Arc<dyn Store>,
    _folder: Option<tempfile::TempDir>,
}

fn cases() -> Vec<Case> {
    let env: Arc<dyn Env> = Arc::new(ManualEnv::new(1));
    let folder = tempfile::tempdir().unwrap();
    let os = open_store(folder.path().to_str().unwrap(), &env).unwrap();
    let in_memory = LocalStore::new(env, Arc::new(MemoryDisk::new()), "memory disk");
    vec![
        Case { name: "memory disk", store: Arc::new(in_memory), _folder: None },
        Case { name: "real disk", store: os, _folder: Some(folder) },
        Case { name: "object store", store: Arc::new(ObjectStoreStore::memory()), _folder: None },
    ]
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn read(store: &Arc<dyn Store>, path: &str) -> Option<Bytes> {
    block_on(store.read(path)).unwrap()
}

#[test]
fn objects_are_created_once_replaced_read_in_part_and_deleted() {
    for case in cases() {
        let store = &case.store;
        assert_eq!(read(store, "a/b"), None, "{}", case.name);
        assert_eq!(block_on(store.create("a/b", bytes("one"))).unwrap(), Created::New);
        assert_eq!(block_on(store.create("a/b", bytes("two"))).unwrap(), Created::AlreadyThere);
        assert_eq!(read(store, "a/b").unwrap(), "one");
        block_on(store.put("a/b", bytes("three"))).unwrap();
        assert_eq!(read(store, "a/b").unwrap(), "three");
        let part = |range| block_on(store.read_range("a/b", range)).unwrap();
        assert_eq!(part(1..3).unwrap(), "hr");
        assert_eq!(part(3..100).unwrap(), "ee");
        assert_eq!(part(5..6).unwrap(), "");
        assert_eq!(part(100..u64::MAX).unwrap(), "");
        assert_eq!(block_on(store.read_range("a/none", 0..1)).unwrap(), None);
        block_on(store.delete("a/b")).unwrap();
        block_on(store.delete("a/b")).unwrap();
        assert_eq!(read(store, "a/b"), None, "{}", case.name);
    }
}

#[test]
fn of_racing_creators_exactly_one_wins_and_its_bytes_stay() {
    for case in cases() {
        let creators = (0..20).map(|i| case.store.create("race", bytes(&i.to_string())));
        let answers = block_on(join_all(creators));
        let winners: Vec<usize> = (0..20).filter(|i| matches!(answers[*i], Ok(Created::New))).collect();
        assert_eq!(winners.len(), 1, "{}", case.name);
        assert_eq!(read(&case.store, "race").unwrap(), winners[0].to_string());
    }
}

#[test]
fn creators_on_several_threads_have_one_winner() {
    for case in cases() {
        let winners: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|i| {
                    let store = Arc::clone(&case.store);
                    scope.spawn(move || block_on(store.create("race", bytes(&i.to_string()))).unwrap())
                })
                .collect();
            threads.into_iter().map(|t| usize::from(t.join().unwrap() == Created::New)).sum()
        });
        assert_eq!(winners, 1, "{}", case.name);
    }
}

#[test]
fn rename_replaces_and_is_repeatable() {
    for case in cases() {
        let store = &case.store;
        block_on(store.put("staged/x", bytes("new"))).unwrap();
        block_on(store.put("final/x", bytes("old"))).unwrap();
        block_on(store.rename("staged/x", "final/x")).unwrap();
        block_on(store.rename("staged/x", "final/x")).unwrap();
        assert_eq!(read(store, "final/x").unwrap(), "new", "{}", case.name);
        assert_eq!(read(store, "staged/x"), None, "{}", case.name);
        block_on(store.put("staged/y", bytes("y"))).unwrap();
        block_on(store.rename("staged/y", "elsewhere/deep/y")).unwrap();
        assert_eq!(read(store, "elsewhere/deep/y").unwrap(), "y");
        let error = block_on(store.rename("none", "nowhere")).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{}", case.name);
    }
}

#[test]
fn list_goes_deep_is_sorted_and_hides_what_is_staged() {
    for case in cases() {
        let store = &case.store;
        for path in ["b/2", "a", "b/1/x", "bc/1"] {
            block_on(store.put(path, bytes(path))).unwrap();
        }
        let paths = |prefix: &str| -> Vec<String> {
            block_on(store.list(prefix)).unwrap().into_iter().map(|entry| entry.path).collect()
        };
        assert_eq!(paths(""), ["a", "b/1/x", "b/2", "bc/1"], "{}", case.name);
        assert_eq!(paths("b"), ["b/1/x", "b/2"], "{}", case.name);
        assert_eq!(paths("b/"), paths("b"));
        assert!(paths("none").is_empty());
        let upto = |prefix: &str, levels: usize| -> Vec<String> {
            block_on(store.list_levels(prefix, levels)).unwrap().into_iter().map(|entry| entry.path).collect()
        };
        assert_eq!(upto("", 1), ["a"], "{}", case.name);
        assert_eq!(upto("", 2), ["a", "b/2", "bc/1"], "{}", case.name);
        assert_eq!(upto("", 3), paths(""), "{}", case.name);
        assert_eq!(upto("b/", 1), ["b/2"], "{}", case.name);
        assert_eq!(upto("b", 2), paths("b"), "{}", case.name);
        assert!(upto("none", 9).is_empty());
        let before = block_on(store.list("a")).unwrap();
        let entry = |entries: Vec<StoreEntry>| entries.into_iter().find(|entry| entry.path == "a");
        assert!(entry(before).is_none(), "a prefix is a folder, not a file: {}", case.name);
        let version = |store: &Arc<dyn Store>| entry(block_on(store.list("")).unwrap()).unwrap().version;
        let old = version(store);
        block_on(store.put("a", bytes("A"))).unwrap();
        assert_ne!(old, version(store), "{}", case.name);
    }
}

#[test]
fn paths_that_leave_the_root_are_refused() {
    for case in cases() {
        let store = &case.store;
        for path in ["", "/a", "../a", "a/../../b", "a//b", "a/./b", "a\\b"] {
            let refused = [
                block_on(store.read(path)).map(|_| ()),
                block_on(store.read_range(path, 0..1)).map(|_| ()),
                block_on(store.create(path, bytes("x"))).map(|_| ()),
                block_on(store.put(path, bytes("x"))),
                block_on(store.rename(path, "b")),
                block_on(store.rename("b", path)),
                block_on(store.delete(path)),
            ];
            for result in refused {
                assert_eq!(result.unwrap_err().kind(), Kind::Invalid, "{} {path:?}", case.name);
            }
        }
        assert_eq!(block_on(store.list("../")).unwrap_err().kind(), Kind::Invalid);
    }
}

#[test]
fn locations_choose_the_store_and_unknown_ones_are_refused() {
    let env: Arc<dyn Env> = Arc::new(ManualEnv::new(1));
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}/x", folder.path().display());
    let store = open_store(&url, &env).unwrap();
    block_on(store.put("a", bytes("x"))).unwrap();
    assert!(folder.path().join("x/a").exists());
    assert_eq!(store.location(), folder.path().join("x").display().to_string());
    assert_eq!(open_store("memory://", &env).unwrap().location(), "memory://");
    let s3 = open_store("s3://user:secret@bucket/jobs", &env);
    assert!(s3.map_or_else(|e| e.chain(), |store| store.location()).find("secret").is_none());
    let error = open_store("ftp://user:secret@host/x", &env).err().unwrap();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.chain().contains("s3://") && !error.chain().contains("secret"), "{}", error.chain());
    assert!(open_store("", &env).is_err());
}

#[test]
fn a_full_disk_loses_nothing_and_leaves_nothing() {
    let disk = MemoryDisk::new();
    let store = LocalStore::new(Arc::new(ManualEnv::new(1)), Arc::new(disk.clone()), "disk");
    block_on(store.put("kept", bytes("kept"))).unwrap();
    disk.fill_after(Some(3));
    assert_eq!(block_on(store.put("kept", bytes("longer"))).unwrap_err().kind(), Kind::Exhausted);
    assert_eq!(block_on(store.create("new", bytes("longer"))).unwrap_err().kind(), Kind::Exhausted);
    assert_eq!(disk.paths(), ["kept"]);
    assert_eq!(block_on(store.read("kept")).unwrap().unwrap(), "kept");
}

#[test]
fn a_folder_of_the_user_is_seen_whatever_it_is_called() {
    let disk = MemoryDisk::new();
    let store = LocalStore::new(Arc::new(ManualEnv::new(1)), Arc::new(disk.clone()), "disk");
    for path in ["tmp/rows.jsonl", "temp/tmp/rows.jsonl", "staging/rows.jsonl"] {
        block_on(forebay_core::disk::Disk::append(&disk, path, bytes("{}"))).unwrap();
    }
    assert_eq!(block_on(store.list("")).unwrap().len(), 3);
    assert_eq!(block_on(store.read("tmp/rows.jsonl")).unwrap().unwrap(), "{}");
}
