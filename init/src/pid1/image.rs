//! Images: one `unpack` worker at a time, so that layers which images share are unpacked once and never raced for.
//! PID 1 sees digests and descriptors; the bytes go from the host to the worker without passing through it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use cloister_init::supervisor::event::{Event, Pid};
use cloister_init::supervisor::unit::UnitId;
use manifest_sync::digest::Digest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::Sender;

use super::input::Input;
use super::layout;
use super::service::Surroundings;
use crate::sys::spawn::{Namespaces, spawn};
use crate::sys::{fd, kill};
use crate::unpack::message::{FromWorker, Image, ToWorker};

/// Largest packet of the worker protocol.
const MAX_PACKET_BYTES: usize = 64 * 1024;
/// The worker's end of the socket pair.
const WORKER_FD: i32 = 3;

/// All images of the Pod, and the worker that fetches the next.
pub(crate) struct Images {
    around: Surroundings,
    ready: BTreeMap<Digest, Image>,
    queue: VecDeque<(UnitId, Digest)>,
    worker: Option<Worker>,
    next_request: u64,
    inbox: Sender<Input>,
}

struct Worker {
    pid: Pid,
    socket: Rc<AsyncFd<OwnedFd>>,
    /// What it unpacks; `None`: it removes layers.
    image: Option<Digest>,
    started: Instant,
    wanted: Option<(u64, Digest)>,
}

impl Images {
    pub(crate) fn new(around: Surroundings, inbox: Sender<Input>) -> Self {
        Self {
            around,
            ready: BTreeMap::new(),
            queue: VecDeque::new(),
            worker: None,
            next_request: 1,
            inbox,
        }
    }

    /// An image that is unpacked.
    pub(crate) fn get(&self, digest: &Digest) -> Option<&Image> {
        self.ready.get(digest)
    }

    /// The blob the worker waits for: named to the host now, and again to a host that comes back.
    pub(crate) fn wanted(&self) -> Option<&(u64, Digest)> {
        self.worker.as_ref()?.wanted.as_ref()
    }

    /// Makes an image available; the events answer whoever waited.
    pub(crate) fn pull(&mut self, unit: UnitId, digest: Digest) -> Vec<Event> {
        if let Some(image) = self.ready.get(&digest) {
            let (took, bytes) = (Duration::ZERO, image.bytes);
            return vec![Event::ImageReady { unit, took, bytes }];
        }
        self.queue.push_back((unit, digest));
        self.start_next()
    }

    /// Frees all images but those that are `used`, with the layers that none of these needs. A worker relies on the layers
    /// that are there, so nothing is freed while one works or is to: this is to be asked again when it has ended.
    pub(crate) fn retain(&mut self, used: &BTreeSet<&Digest>) {
        if self.worker.is_some() || !self.queue.is_empty() {
            return;
        }
        let mut layers = BTreeSet::new();
        self.ready.retain(|digest, image| {
            let is_used = used.contains(digest);
            if !is_used {
                log::info!("image {digest}: freed, since no container uses it any more");
                layers.extend(image.layers.iter().cloned());
            }
            is_used
        });
        let kept: BTreeSet<&String> = self.ready.values().flat_map(|image| &image.layers).collect();
        layers.retain(|layer| !kept.contains(layer));
        if layers.is_empty() {
            return;
        }
        let order = ToWorker::Remove {
            layers: layers.into_iter().collect(),
            store: layout::STORE.to_owned(),
            owners: self.around.owners,
        };
        match self.employ(None, &order) {
            Ok(worker) => self.worker = Some(worker),
            // They stay, and are there if their image comes again.
            Err(error) => log::warn!("layers that nobody uses cannot be removed: {error}"),
        }
    }

    /// What the worker said. `Some` request must be passed on to the host.
    pub(crate) fn hear(&mut self, message: FromWorker) -> Vec<Event> {
        let Some(worker) = &mut self.worker else {
            return Vec::new();
        };
        match message {
            FromWorker::NeedBlob { digest } => {
                worker.wanted = Some((self.next_request, digest));
                self.next_request += 1;
                Vec::new()
            }
            FromWorker::Ready(image) => {
                let Some(digest) = worker.image.clone() else {
                    return Vec::new();
                };
                let (took, bytes) = (worker.started.elapsed(), image.bytes);
                self.ready.insert(digest.clone(), image);
                self.answer(&digest, |unit| Event::ImageReady { unit, took, bytes })
            }
            FromWorker::Failed { message } => {
                let Some(digest) = worker.image.clone() else {
                    log::warn!("layers that nobody uses cannot be removed: {message}");
                    return Vec::new();
                };
                self.answer(&digest, |unit| Event::ImageFailed {
                    unit,
                    message: message.clone(),
                })
            }
        }
    }

    /// The host opened the stream of a blob: its descriptor goes to the worker.
    pub(crate) fn supply(&mut self, request: u64, size: u64, stream: &OwnedFd) -> io::Result<()> {
        let worker = self.take_request(request)?;
        send(&worker.socket, &ToWorker::Blob { size }, Some(stream))
    }

    /// The host cannot serve a blob.
    pub(crate) fn unavailable(&mut self, request: u64, message: &str) -> io::Result<()> {
        let worker = self.take_request(request)?;
        let message = message.chars().take(512).collect();
        send(&worker.socket, &ToWorker::BlobUnavailable { message }, None)
    }

    fn take_request(&mut self, request: u64) -> io::Result<&Worker> {
        let stale = || io::Error::new(io::ErrorKind::NotFound, "nobody waits for this blob");
        let worker = self.worker.as_mut().ok_or_else(stale)?;
        worker
            .wanted
            .take_if(|(wanted, _)| *wanted == request)
            .ok_or_else(stale)?;
        Ok(worker)
    }

    /// A process ended: `Some` if it was the worker. Whoever still waits for its image learns that it died.
    pub(crate) fn exited(&mut self, pid: Pid) -> Option<Vec<Event>> {
        let worker = self.worker.take_if(|worker| worker.pid == pid)?;
        let mut events = self.drain(&worker);
        if let Some(image) = &worker.image {
            let message = "the unpack worker ended without a result; see the enclave's console".to_owned();
            events.extend(self.answer(image, |unit| Event::ImageFailed {
                unit,
                message: message.clone(),
            }));
        }
        events.extend(self.start_next());
        Some(events)
    }

    /// The worker's last words may still be in its socket when its exit is noticed.
    fn drain(&mut self, worker: &Worker) -> Vec<Event> {
        let mut events = Vec::new();
        while let Ok(Some(message)) = receive(worker.socket.get_ref()) {
            match (message, &worker.image) {
                (FromWorker::NeedBlob { .. }, _) | (FromWorker::Ready(_), None) => {}
                (FromWorker::Ready(image), Some(digest)) => {
                    let (took, bytes) = (worker.started.elapsed(), image.bytes);
                    self.ready.insert(digest.clone(), image);
                    events.extend(self.answer(digest, |unit| Event::ImageReady { unit, took, bytes }));
                }
                (FromWorker::Failed { message }, None) => {
                    log::warn!("layers that nobody uses cannot be removed: {message}");
                }
                (FromWorker::Failed { message }, Some(digest)) => {
                    events.extend(self.answer(digest, |unit| Event::ImageFailed {
                        unit,
                        message: message.clone(),
                    }));
                }
            }
        }
        events
    }

    fn answer(&mut self, digest: &Digest, event: impl Fn(UnitId) -> Event) -> Vec<Event> {
        let mut events = Vec::new();
        self.queue.retain(|(unit, wanted)| {
            let hit = wanted == digest;
            if hit {
                events.push(event(*unit));
            }
            !hit
        });
        events
    }

    /// Starts the worker for the image that has waited longest; one that cannot be started fails its waiters.
    fn start_next(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while self.worker.is_none() {
            let Some((_, digest)) = self.queue.front().cloned() else {
                break;
            };
            match self.start(&digest) {
                Ok(worker) => self.worker = Some(worker),
                Err(error) => {
                    let message = format!("cannot start the unpack worker: {error}");
                    events.extend(self.answer(&digest, |unit| Event::ImageFailed {
                        unit,
                        message: message.clone(),
                    }));
                }
            }
        }
        events
    }

    fn start(&self, image: &Digest) -> io::Result<Worker> {
        let order = ToWorker::Unpack {
            image: image.clone(),
            store: layout::STORE.to_owned(),
            owners: self.around.owners,
            cgroup: self.around.cgroup.clone(),
        };
        self.employ(Some(image), &order)
    }

    /// Starts a worker with this order.
    fn employ(&self, image: Option<&Digest>, order: &ToWorker) -> io::Result<Worker> {
        let (ours, theirs) = fd::seqpacket_pair()?;
        let console = io::stderr();
        let null = std::fs::File::open("/dev/null")?;
        let fds = [
            (null.as_fd(), 0),
            (console.as_fd(), 1),
            (console.as_fd(), 2),
            (theirs.as_fd(), WORKER_FD),
        ];
        let pid = spawn("unpack", &[], Namespaces::Inherited, &fds, &[])?;
        fd::set_nonblocking(&ours, true)?;
        let socket = Rc::new(fd::watch(ours)?);
        if let Err(error) = send(&socket, order, None) {
            kill::kill(pid);
            return Err(error);
        }
        tokio::task::spawn_local(listen(Rc::clone(&socket), self.inbox.clone()));
        Ok(Worker {
            pid,
            socket,
            image: image.cloned(),
            started: Instant::now(),
            wanted: None,
        })
    }
}

async fn listen(socket: Rc<AsyncFd<OwnedFd>>, inbox: Sender<Input>) {
    loop {
        let Ok(mut ready) = socket.readable().await else {
            return;
        };
        match ready.try_io(|socket| receive(socket.get_ref())) {
            Ok(Ok(Some(message))) => {
                if inbox.send(Input::Worker(message)).await.is_err() {
                    return;
                }
            }
            Ok(Ok(None) | Err(_)) => return,
            Err(_would_block) => {}
        }
    }
}

/// One message; `None` when the worker has closed its end.
fn receive(socket: &OwnedFd) -> io::Result<Option<FromWorker>> {
    let mut packet = vec![0; MAX_PACKET_BYTES];
    let (count, _) = fd::recv_with_fd(socket, &mut packet)?;
    if count == 0 {
        return Ok(None);
    }
    serde_json::from_slice(&packet[..count])
        .map(Some)
        .map_err(io::Error::from)
}

fn send(socket: &AsyncFd<OwnedFd>, message: &ToWorker, attached: Option<&OwnedFd>) -> io::Result<()> {
    let packet = serde_json::to_vec(message)?;
    fd::send_with_fd(socket.get_ref(), &packet, attached.map(AsFd::as_fd))
}
