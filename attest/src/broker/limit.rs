//! How often, and on how many connections, one peer may ask. Peers are IPv4 addresses and IPv6 networks of 64 bits, which is
//! what one machine can choose its addresses from. Memory is bounded: beyond the table, all newcomers share one bucket.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Most peers that are told apart.
const MOST: usize = 4096;
/// Seconds of requests that a peer may ask for at once.
const BURST_SECONDS: f64 = 4.0;

/// Whom requests count against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Peer(u64, bool);

impl From<IpAddr> for Peer {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(address.to_bits().into(), false),
            IpAddr::V6(address) => {
                let network = address.to_bits() >> 64;
                Self(u64::try_from(network).unwrap_or_default(), true)
            }
        }
    }
}

/// Requests that may still be asked for, and when that was counted.
#[derive(Debug, Clone, Copy)]
struct Bucket(f64, Instant);

/// Requests for each second and peer.
#[derive(Debug)]
pub(super) struct RateLimit {
    per_second: f64,
    buckets: Mutex<Buckets>,
}

#[derive(Debug)]
struct Buckets {
    peers: HashMap<Peer, Bucket>,
    newcomers: Bucket,
}

impl RateLimit {
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        let per_second = f64::from(per_second);
        Self {
            per_second,
            buckets: Mutex::new(Buckets {
                peers: HashMap::new(),
                newcomers: Bucket(per_second * BURST_SECONDS, now),
            }),
        }
    }

    /// Counts one request; `false`: it is one too many.
    pub(super) fn allows(&self, address: IpAddr, now: Instant) -> bool {
        let most = self.per_second * BURST_SECONDS;
        let filled = |Bucket(left, since): Bucket| {
            let gained = now.saturating_duration_since(since).as_secs_f64() * self.per_second;
            (left + gained).min(most)
        };
        let peer = Peer::from(address);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.peers.len() >= MOST && !buckets.peers.contains_key(&peer) {
            // A full bucket is that of a peer who was never seen.
            buckets.peers.retain(|_, bucket| filled(*bucket) < most);
        }
        let bucket = if buckets.peers.len() < MOST || buckets.peers.contains_key(&peer) {
            buckets.peers.entry(peer).or_insert(Bucket(most, now))
        } else {
            &mut buckets.newcomers
        };
        let left = filled(*bucket);
        let allowed = left >= 1.0;
        *bucket = Bucket(if allowed { left - 1.0 } else { left }, now);
        allowed
    }
}

/// Connections of each peer.
#[derive(Debug)]
pub(super) struct ConnectionLimit {
    per_peer: usize,
    open: Mutex<HashMap<Peer, usize>>,
}

/// One connection; dropping it makes room for another.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    limit: Arc<ConnectionLimit>,
    peer: Peer,
}

impl ConnectionLimit {
    pub(super) fn new(per_peer: usize) -> Arc<Self> {
        Arc::new(Self {
            per_peer,
            open: Mutex::default(),
        })
    }

    /// `None`: the peer has as many as it may have.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<ConnectionPermit> {
        let peer = Peer::from(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(peer).or_default();
        if *count >= self.per_peer {
            return None;
        }
        *count += 1;
        let limit = self.clone();
        Some(ConnectionPermit { limit, peer })
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut open = self.limit.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.peer) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_peer_has_a_burst_and_then_its_rate() {
        let now = Instant::now();
        let limit = RateLimit::new(5, now);
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        assert_eq!((0..100).filter(|_| limit.allows(one, now)).count(), 20);
        assert!(limit.allows(other, now));
        // The same machine, written as IPv6.
        let mapped = Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped();
        assert!(!limit.allows(mapped.into(), now));
        let later = now + Duration::from_secs(1);
        assert_eq!((0..100).filter(|_| limit.allows(one, later)).count(), 5);
        let much_later = now + Duration::from_secs(3600);
        assert_eq!((0..100).filter(|_| limit.allows(one, much_later)).count(), 20);
    }

    #[test]
    fn a_network_is_one_peer_and_the_table_is_bounded() {
        let now = Instant::now();
        let limit = RateLimit::new(1, now);
        let address = |network: u16, host: u16| IpAddr::from(Ipv6Addr::new(1, 2, 3, network, 0, 0, 0, host));
        assert_eq!(
            (0..100)
                .filter(|host| limit.allows(address(0, *host), now))
                .count(),
            4
        );
        for network in 1..5000 {
            limit.allows(address(network, 1), now);
        }
        assert_eq!(limit.buckets.lock().expect("a table").peers.len(), MOST);
        // Newcomers share what is left, and the table empties with time.
        assert!(!limit.allows(address(6000, 1), now));
        let later = now + Duration::from_secs(10);
        assert!(limit.allows(address(6000, 1), later));
        assert_eq!(limit.buckets.lock().expect("a table").peers.len(), 1);
    }

    #[test]
    fn connections_are_counted_while_they_are_open() {
        let limit = ConnectionLimit::new(2);
        let peer = IpAddr::from([10, 0, 0, 1]);
        let first = limit.admit(peer).expect("room");
        let second = limit.admit(peer).expect("room");
        assert!(limit.admit(peer).is_none());
        assert!(limit.admit(IpAddr::from([10, 0, 0, 2])).is_some());
        drop(first);
        assert!(limit.admit(peer).is_some());
        drop(second);
        assert!(limit.open.lock().expect("a table").is_empty());
    }
}
