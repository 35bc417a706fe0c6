//! Values in places that are used again, under numbers that are not.
//!
//! A number is a place and how often the place was used before: whoever holds the number of something that is gone finds
//! nothing, never a stranger. That is what makes late and repeated answers harmless.

/// Values by number.
#[derive(Debug)]
pub(crate) struct Slab<V> {
    places: Vec<Place<V>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Place<V> {
    used: u32,
    value: Option<V>,
}

// === impl Slab ===

impl<V> Slab<V> {
    pub(crate) fn new() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }

    pub(crate) fn insert(&mut self, value: V) -> u64 {
        if let Some(index) = self.free.pop() {
            let place = &mut self.places[index as usize];
            place.value = Some(value);
            return number(index, place.used);
        }
        let index = u32::try_from(self.places.len()).expect("fewer than 2^32 rows or calls are held at once");
        self.places.push(Place { used: 0, value: Some(value) });
        number(index, 0)
    }

    pub(crate) fn get(&self, number: u64) -> Option<&V> {
        let place = self.places.get(number as u32 as usize)?;
        if place.used == used(number) { place.value.as_ref() } else { None }
    }

    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut V> {
        let place = self.places.get_mut(number as u32 as usize)?;
        if place.used == used(number) { place.value.as_mut() } else { None }
    }

    pub(crate) fn remove(&mut self, number: u64) -> Option<V> {
        let place = self.places.get_mut(number as u32 as usize).filter(|place| place.used == used(number))?;
        let value = place.value.take()?;
        place.used = place.used.wrapping_add(1);
        self.free.push(number as u32);
        Some(value)
    }

    /// Every value with its number, by place.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &V)> {
        let places = self.places.iter().enumerate();
        places.filter_map(|(index, place)| Some((number(index as u32, place.used), place.value.as_ref()?)))
    }
}

fn number(index: u32, used: u32) -> u64 {
    u64::from(used) << 32 | u64::from(index)
}

fn used(number: u64) -> u32 {
    (number >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_never_used_again() {
        let mut slab = Slab::new();
        let (a, b) = (slab.insert('a'), slab.insert('b'));
        assert_eq!(slab.remove(a), Some('a'));
        let c = slab.insert('c');
        assert_eq!((slab.get(a), slab.get(b), slab.get(c)), (None, Some(&'b'), Some(&'c')));
        assert_eq!((slab.remove(a), slab.get_mut(a).is_none()), (None, true));
        assert_eq!(slab.iter().collect::<Vec<_>>(), [(c, &'c'), (b, &'b')]);
    }
}
