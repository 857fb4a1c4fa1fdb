//! Connections that have not yet said what they are for, at most so many. Anybody on the machine around the enclave can make
//! one and say nothing: with one too many the oldest is given up. A newcomer that waited, or was turned away, could be kept
//! out for ever by those who came first; one that speaks at once needs its place for a moment only.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::rc::Rc;

use tokio::task::AbortHandle;

/// The handshakes of one listener. Lives within a `LocalSet`.
pub(crate) struct Handshakes {
    most: usize,
    last: Cell<u64>,
    open: RefCell<BTreeMap<u64, AbortHandle>>,
}

/// The place of one handshake. Whoever has dropped it is not given up any more.
pub(crate) struct Place {
    handshakes: Rc<Handshakes>,
    number: u64,
}

/// What a new handshake has cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// There was a place.
    Free,
    /// The oldest handshake was given up.
    Made,
}

impl Handshakes {
    /// At most `most` at once.
    pub(crate) fn new(most: usize) -> Rc<Self> {
        Rc::new(Self {
            most,
            last: Cell::new(0),
            open: RefCell::default(),
        })
    }

    /// Starts one. The caller lets others run before it starts the next, or a handshake could be given up unheard.
    pub(crate) fn start<F>(self: &Rc<Self>, handshake: impl FnOnce(Place) -> F) -> Room
    where
        F: Future<Output = ()> + 'static,
    {
        let number = self.last.get() + 1;
        self.last.set(number);
        let place = Place {
            handshakes: Rc::clone(self),
            number,
        };
        let task = tokio::task::spawn_local(handshake(place));
        let mut open = self.open.borrow_mut();
        open.insert(number, task.abort_handle());
        match open.len() > self.most {
            false => Room::Free,
            true => {
                if let Some((_, oldest)) = open.pop_first() {
                    oldest.abort();
                }
                Room::Made
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.handshakes.open.borrow_mut().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_is_given_up_and_one_that_is_done_is_not() {
        let ended = Rc::new(RefCell::new(Vec::new()));
        struct Told(u32, Rc<RefCell<Vec<u32>>>);
        impl Drop for Told {
            fn drop(&mut self) {
                self.1.borrow_mut().push(self.0);
            }
        }
        tokio::task::LocalSet::new()
            .run_until(async {
                let handshakes = Handshakes::new(2);
                for (number, done) in [(1, true), (2, false), (3, false), (4, false)] {
                    let told = Told(number, Rc::clone(&ended));
                    let room = handshakes.start(|place| async move {
                        let _told = told;
                        let place = if done {
                            drop(place);
                            None
                        } else {
                            Some(place)
                        };
                        std::future::pending::<()>().await;
                        drop(place);
                    });
                    assert_eq!(room == Room::Made, number == 4);
                    tokio::task::yield_now().await;
                    tokio::task::yield_now().await;
                }
                assert_eq!(*ended.borrow(), [2]);
            })
            .await;
    }
}
