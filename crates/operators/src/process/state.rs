//! The state of the key at hand: values, lists and maps, over the tables of `forebay_state`.
//!
//! What [`Shape`](super::Shape) hands out are names, cheap to copy; the values lie in the operator, live, and become bytes only
//! in checkpoints. In a table with a time to live a write counts at the event time of the row or timer at hand, without one at the
//! watermark; an entry is gone some time after the watermark has passed that by the time to live. Where the moment matters, set a timer.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;

use forebay_core::keys::Key;
use forebay_core::time::EventTime;
use forebay_core::{Error, Kind, Result};
use forebay_state::keyed::{Space, StatePart, StateTable, StateValue};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Context;

/// One value for each key.
pub struct Value<V>(Handle<V>);

/// A list for each key, in the order in which it was written.
pub struct List<V>(Handle<V>);

/// A map for each key. Its own keys are `u64`, `i64`, `str`, `[u8]` or [`EventTime`]; entries are in their order.
pub struct Map<K: ?Sized, V>(Handle<V>, PhantomData<fn() -> Box<K>>);

/// What a [`Map`] is keyed by.
pub trait MapKey: ToOwned {
    /// The key as bytes in the order of keys.
    fn space(&self) -> Space;

    /// The inverse of [`MapKey::space`].
    ///
    /// # Errors
    /// `Corrupt` if these are not the bytes of such a key.
    fn of_space(space: &Space) -> Result<Self::Owned>;
}

/// A value that serde writes, as state: `Json<Session>`. Its bytes are JSON, made only for checkpoints; a field that is added with
/// `#[serde(default)]` reads what was written before. No `HashMap` in it: the same value must give the same bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Json<T>(pub T);

/// Which table.
struct Handle<V> {
    place: usize,
    value: PhantomData<fn() -> V>,
}

/// A table of any type of value.
pub(super) trait Table: Send {
    fn part(&mut self) -> &mut dyn StatePart;
    fn any(&mut self) -> &mut dyn Any;
    fn advance(&mut self, watermark: EventTime) -> Result<()>;
}

impl<V: StateValue> Table for StateTable<V> {
    fn part(&mut self) -> &mut dyn StatePart {
        self
    }

    fn any(&mut self) -> &mut dyn Any {
        self
    }

    fn advance(&mut self, watermark: EventTime) -> Result<()> {
        StateTable::advance(self, watermark)
    }
}

// === impl Handle ===

/// A table with the key at hand, and when a write counts.
type Open<'c, V> = (&'c mut StateTable<V>, &'c Key, Option<EventTime>);

impl<V: StateValue> Handle<V> {
    fn open<'c>(&self, context: &'c mut Context<'_>) -> Open<'c, V> {
        let table = context.tables[self.place].any().downcast_mut();
        (table.expect("a state is used by the function that declared it"), context.key, context.now)
    }

    fn write(&self, context: &mut Context<'_>, space: &Space, value: V) -> Result<()> {
        let (table, key, now) = self.open(context);
        match now {
            Some(now) => table.insert_at(key, space, value, now),
            None => table.insert(key, space, value),
        }
    }

    fn get_or<'c>(&self, context: &'c mut Context<'_>, space: &Space, make: impl FnOnce() -> V) -> Result<&'c mut V> {
        let (table, key, now) = self.open(context);
        if table.get_mut_at(key, space, now)?.is_none() {
            match now {
                Some(now) => table.insert_at(key, space, make(), now)?,
                None => table.insert(key, space, make())?,
            }
        }
        // A write at a row's time may have expired at once, where the watermark is past it.
        let found = table.get_mut_at(key, space, now)?;
        found.ok_or_else(|| {
            Error::new(Kind::Data, "change state").source("the row is later than the state's time to live allows")
        })
    }
}

// === impl Value ===

impl<V: StateValue> Value<V> {
    pub(super) fn new(place: usize) -> Self {
        Self(Handle { place, value: PhantomData })
    }

    /// The value of the key, if it has one.
    ///
    /// # Errors
    /// Those of [`StateTable`].
    pub fn get<'c>(&self, context: &'c mut Context<'_>) -> Result<Option<&'c V>> {
        let (table, key, _) = self.0.open(context);
        table.get(key, &Space::EMPTY)
    }

    /// The value to be changed in place, made by `make` if there is none.
    ///
    /// # Errors
    /// Those of [`StateTable`]; `Data` for a row that is later than the time to live.
    pub fn get_or<'c>(&self, context: &'c mut Context<'_>, make: impl FnOnce() -> V) -> Result<&'c mut V> {
        self.0.get_or(context, &Space::EMPTY, make)
    }

    /// Writes the value.
    ///
    /// # Errors
    /// Those of [`StateTable`].
    pub fn set(&self, context: &mut Context<'_>, value: V) -> Result<()> {
        self.0.write(context, &Space::EMPTY, value)
    }

    /// Removes the value and answers it.
    ///
    /// # Errors
    /// Those of [`StateTable`].
    pub fn take(&self, context: &mut Context<'_>) -> Result<Option<V>> {
        let (table, key, _) = self.0.open(context);
        table.remove(key, &Space::EMPTY)
    }
}

// === impl List ===

impl<V: StateValue> List<V> {
    pub(super) fn new(place: usize) -> Self {
        Self(Handle { place, value: PhantomData })
    }

    /// Writes `value` behind all others of the key.
    ///
    /// # Errors
    /// Those of [`StateTable`].
    pub fn push(&self, context: &mut Context<'_>, value: V) -> Result<()> {
        let (table, key, _) = self.0.open(context);
        let last = table.scan(key)?.next_back().and_then(|(space, _)| space.number());
        self.0.write(context, &Space::of_number(last.map_or(0, |last| last + 1)), value)
    }

    /// The values of the key.
    ///
    /// # Errors
    /// Those of [`StateTable`].
    pub fn iter<'c>(&self, context: &'c mut Context<'_>) -> Result<impl DoubleEndedIterator<Item = &'c V>> {
        let (table, key, _) = self.0.open(context);
        Ok(table.scan(key)?.map(|(_, value)| value))
    }

    /// Removes the values of the key and answers them.
    ///
    /// # Errors
    /// Those of [`StateTable`].
    pub fn take(&self, context: &mut Context<'_>) -> Result<Vec<V>> {
        let (table, key, _) = self.0.open(context);
        Ok(table.remove_range(key, ..)?.into_iter().map(|(_, value)| value).collect())
    }
}

// === impl Map ===

impl<K: MapKey + ?Sized, V: StateValue> Map<K, V> {
    pub(super) fn new(place: usize) -> Self {
        Self(Handle { place, value: PhantomData }, PhantomData)
    }

    /// The value under `key`, if there is one.
    ///
    /// # Errors
    /// Those of [`StateTable`].
    pub fn get<'c>(&self, context: &'c mut Context<'_>, key: &K) -> Result<Option<&'c V>> {
        let (table, of, _) = self.0.open(context);
        table.get(of, &key.space())
    }

    /// The value under `key` to be changed in place, made by `make` if there is none.
    ///
    /// # Errors
    /// Those of [`StateTable`]; `Data` for a row that is later than the time to live.
    pub fn get_or<'c>(&self, context: &'c mut Context<'_>, key: &K, make: impl FnOnce() -> V) -> Result<&'c mut V> {
        self.0.get_or(context, &key.space(), make)
    }

    /// Writes the value under `key`.
    ///
    /// # Errors
    /// Those of [`StateTable`].
    pub fn set(&self, context: &mut Context<'_>, key: &K, value: V) -> Result<()> {
        self.0.write(context, &key.space(), value)
    }

    /// Removes the value under `key` and answers it.
    ///
    /// # Errors
    /// Those of [`StateTable`].
    pub fn remove(&self, context: &mut Context<'_>, key: &K) -> Result<Option<V>> {
        let (table, of, _) = self.0.open(context);
        table.remove(of, &key.space())
    }

    /// The entries, in order of their keys.
    ///
    /// # Errors
    /// Those of [`StateTable`]; an item is `Corrupt` if its key cannot be read.
    pub fn iter<'c>(
        &self,
        context: &'c mut Context<'_>,
    ) -> Result<impl DoubleEndedIterator<Item = Result<(K::Owned, &'c V)>>>
    where
        K: 'c,
    {
        let (table, of, _) = self.0.open(context);
        Ok(table.scan(of)?.map(|(space, value)| Ok((K::of_space(space)?, value))))
    }

    /// Removes all entries and answers them, in order of their keys.
    ///
    /// # Errors
    /// Those of [`StateTable`]; `Corrupt` if a key cannot be read.
    pub fn take(&self, context: &mut Context<'_>) -> Result<Vec<(K::Owned, V)>> {
        let (table, of, _) = self.0.open(context);
        let removed = table.remove_range(of, ..)?;
        removed.into_iter().map(|(space, value)| Ok((K::of_space(&space)?, value))).collect()
    }
}

// === impl MapKey ===

fn corrupt() -> Error {
    Error::new(Kind::Corrupt, "read key of map state")
}

impl MapKey for u64 {
    fn space(&self) -> Space {
        Space::of_number(*self)
    }

    fn of_space(space: &Space) -> Result<u64> {
        space.number().ok_or_else(corrupt)
    }
}

impl MapKey for i64 {
    fn space(&self) -> Space {
        Space::of_time(EventTime(*self))
    }

    fn of_space(space: &Space) -> Result<i64> {
        EventTime::of_space(space).map(|time| time.0)
    }
}

impl MapKey for EventTime {
    fn space(&self) -> Space {
        Space::of_time(*self)
    }

    fn of_space(space: &Space) -> Result<EventTime> {
        space.time().filter(|_| space.as_bytes().len() == 8).ok_or_else(corrupt)
    }
}

impl MapKey for str {
    fn space(&self) -> Space {
        Space::new(self.as_bytes())
    }

    fn of_space(space: &Space) -> Result<String> {
        String::from_utf8(space.as_bytes().to_vec()).map_err(|error| corrupt().source(error))
    }
}

impl MapKey for [u8] {
    fn space(&self) -> Space {
        Space::new(self)
    }

    fn of_space(space: &Space) -> Result<Vec<u8>> {
        Ok(space.as_bytes().to_vec())
    }
}

// === impl Json ===

impl<T: Serialize + DeserializeOwned + Send + 'static> StateValue for Json<T> {
    const CODEC: &'static str = "json";

    fn encode(&self, out: &mut Vec<u8>) {
        serde_json::to_writer(out, &self.0)
            .expect("a value of state is one that JSON can hold, such as maps with text as keys");
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let value = serde_json::from_slice(bytes);
        value.map(Self).map_err(|error| Error::new(Kind::Corrupt, "decode state value").source(error))
    }

    /// Without what the value holds elsewhere, which nobody knows.
    fn size_bytes(&self) -> usize {
        size_of::<T>()
    }
}

// === names of state: copied, whatever they name ===

impl<V> Clone for Handle<V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Handle<V> {}

macro_rules! copied {
    ($($name:ident<$($parameter:ident $(: ?$sized:ident)?),+>),+) => {$(
        impl<$($parameter $(: ?$sized)?),+> Clone for $name<$($parameter),+> {
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<$($parameter $(: ?$sized)?),+> Copy for $name<$($parameter),+> {}

        impl<$($parameter $(: ?$sized)?),+> fmt::Debug for $name<$($parameter),+> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0.place)
            }
        }
    )+};
}

copied!(Value<V>, List<V>, Map<K: ?Sized, V>);
