//! Which loopback address stands for which name. An address follows from its name, as far as it is free, so that a program
//! that keeps one finds the same name behind it when `net` was started again.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::super::supervisor::time::Time;

/// First address of the pool, 127.128.0.0; nobody uses these for anything else.
const FIRST: u32 = 0x7f80_0000;
/// Addresses in the pool, up to 127.191.255.255.
const SIZE: u32 = 1 << 22;
/// How long an answer may be kept by whoever asked. Programs that keep it longer find the address in place, too, for
/// `KEEP` at least.
pub const SECONDS: u32 = 60;
/// A name that nobody has asked for or used for so long may lose its address when the book is full.
const KEEP: Duration = Duration::from_secs(600);

/// Names and their addresses.
#[derive(Debug)]
pub struct Book {
    most: usize,
    addresses: HashMap<String, Ipv4Addr>,
    entries: HashMap<Ipv4Addr, Entry>,
}

#[derive(Debug)]
struct Entry {
    name: String,
    used: Time,
    fixed: bool,
}

/// Whether a name may lose its address again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tenure {
    /// Never.
    Fixed,
    /// When others need the room.
    Passing,
}

/// The address of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    /// The address.
    pub address: Ipv4Addr,
    /// Whether the name has got it just now.
    pub new: bool,
    /// The address that another name has lost for it.
    pub freed: Option<Ipv4Addr>,
}

impl Book {
    /// At most `most` names at once.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            addresses: HashMap::new(),
            entries: HashMap::new(),
        }
    }

    /// The address of a name, a new one if need be. `None`: the book is full of names in use.
    pub fn assign(&mut self, name: &str, tenure: Tenure, now: Time) -> Option<Assigned> {
        if let Some(address) = self.addresses.get(name) {
            let entry = self.entries.get_mut(address)?;
            entry.used = now;
            return Some(Assigned {
                address: *address,
                new: false,
                freed: None,
            });
        }
        let freed = if self.entries.len() < self.most {
            None
        } else {
            Some(self.evict(now)?)
        };
        let mut place = hash(name) % SIZE;
        // There are more places than names by far.
        let address = loop {
            let address = Ipv4Addr::from_bits(FIRST + place);
            // Programs take 0 and 255 at the end for networks.
            let plain = !matches!(address.octets()[3], 0 | 255);
            if plain && Some(address) != freed && !self.entries.contains_key(&address) {
                break address;
            }
            place = (place + 1) % SIZE;
        };
        self.addresses.insert(name.to_owned(), address);
        let entry = Entry {
            name: name.to_owned(),
            used: now,
            fixed: tenure == Tenure::Fixed,
        };
        self.entries.insert(address, entry);
        Some(Assigned {
            address,
            new: true,
            freed,
        })
    }

    /// Takes a name out again: nobody can listen at its address.
    pub fn forget(&mut self, name: &str) {
        if let Some(address) = self.addresses.remove(name) {
            self.entries.remove(&address);
        }
    }

    /// Every name that has an address.
    pub fn names(&self) -> Vec<String> {
        self.addresses.keys().cloned().collect()
    }

    /// The name that an address stands for.
    pub fn name_of(&self, address: Ipv4Addr) -> Option<&str> {
        self.entries.get(&address).map(|entry| entry.name.as_str())
    }

    /// Somebody has connected to it.
    pub fn touch(&mut self, address: Ipv4Addr, now: Time) {
        if let Some(entry) = self.entries.get_mut(&address) {
            entry.used = now;
        }
    }

    fn evict(&mut self, now: Time) -> Option<Ipv4Addr> {
        let old = |entry: &Entry| !entry.fixed && now >= entry.used + KEEP;
        let oldest = self.entries.iter().filter(|(_, entry)| old(entry));
        let (address, _) = oldest.min_by_key(|(_, entry)| entry.used)?;
        let address = *address;
        let entry = self.entries.remove(&address)?;
        self.addresses.remove(&entry.name);
        Some(address)
    }
}

/// FNV-1a: the same in every run, unlike the standard library's.
fn hash(name: &str) -> u32 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    let [a, b, c, d, e, f, g, h] = hash.to_be_bytes();
    u32::from_be_bytes([a, b, c, d]) ^ u32::from_be_bytes([e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    #[test]
    fn a_name_keeps_its_address_and_two_books_agree() {
        let (mut one, mut other) = (Book::new(8), Book::new(8));
        other.assign("elsewhere", Tenure::Passing, at(0)).expect("room");
        for name in ["a.example", "b.example", "c.example"] {
            let first = one.assign(name, Tenure::Passing, at(0)).expect("room");
            assert!(first.new && first.address.is_loopback());
            let again = one.assign(name, Tenure::Passing, at(1)).expect("known");
            assert_eq!((again.address, again.new), (first.address, false));
            assert_eq!(one.name_of(first.address), Some(name));
            assert_eq!(
                other.assign(name, Tenure::Passing, at(9)).expect("room").address,
                first.address
            );
        }
    }

    #[test]
    fn a_full_book_gives_up_the_name_that_was_unused_longest_and_no_other() {
        let mut book = Book::new(3);
        let fixed = book.assign("fixed", Tenure::Fixed, at(0)).expect("room").address;
        let old = book.assign("old", Tenure::Passing, at(1)).expect("room").address;
        let used = book.assign("used", Tenure::Passing, at(0)).expect("room").address;
        assert_eq!(book.assign("new", Tenure::Passing, at(300)), None, "all in use");
        book.touch(used, at(500));
        let new = book.assign("new", Tenure::Passing, at(700)).expect("old is free");
        assert_eq!(new.freed, Some(old));
        assert_ne!(new.address, old);
        assert_eq!(book.name_of(old), None);
        assert_eq!(book.name_of(fixed), Some("fixed"));
        assert_eq!(book.assign("newer", Tenure::Passing, at(800)), None);
        book.forget("used");
        assert!(book.assign("newer", Tenure::Passing, at(800)).is_some());
    }
}
