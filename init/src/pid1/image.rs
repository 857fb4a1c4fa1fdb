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
/// Most packets that are read at once. A worker asks for one blob at a time, and ends with one word.
const MAX_PACKETS: usize = 8;
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

    /// This worker has said something, or is gone. What it says is read here and not where it is waited for, so that
    /// nothing of it is under way when its exit is noticed, to be taken for the next worker's.
    pub(crate) fn hear(&mut self, pid: Pid) -> Vec<Event> {
        let worker = self.worker.take_if(|worker| worker.pid == pid);
        let Some(mut worker) = worker else {
            return Vec::new();
        };
        let mut events = Vec::new();
        if let Err(error) = self.read(&mut worker, &mut events) {
            log::error!("the unpack worker is killed: {error}");
            kill::kill(pid);
        }
        self.worker = Some(worker);
        events
    }

    /// All that is in the worker's socket, and what follows from it.
    fn read(&mut self, worker: &mut Worker, events: &mut Vec<Event>) -> io::Result<()> {
        for _ in 0..MAX_PACKETS {
            match receive(worker.socket.get_ref()) {
                Ok(Some(message)) => events.extend(self.take(worker, message)),
                Ok(None) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("it talks without waiting for answers"))
    }

    fn take(&mut self, worker: &mut Worker, message: FromWorker) -> Vec<Event> {
        match (message, &worker.image) {
            (FromWorker::NeedBlob { digest }, _) => {
                worker.wanted = Some((self.next_request, digest));
                self.next_request += 1;
                Vec::new()
            }
            (FromWorker::Ready(image), Some(digest)) => {
                let (took, bytes) = (worker.started.elapsed(), image.bytes);
                self.ready.insert(digest.clone(), image);
                self.answer(digest, |unit| Event::ImageReady { unit, took, bytes })
            }
            (FromWorker::Failed { message }, Some(digest)) => {
                self.answer(digest, |unit| Event::ImageFailed {
                    unit,
                    message: message.clone(),
                })
            }
            (FromWorker::Ready(_), None) => Vec::new(),
            (FromWorker::Failed { message }, None) => {
                log::warn!("layers that nobody uses cannot be removed: {message}");
                Vec::new()
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
        let mut worker = self.worker.take_if(|worker| worker.pid == pid)?;
        let mut events = Vec::new();
        // Its last words may still be in its socket.
        if let Err(error) = self.read(&mut worker, &mut events) {
            log::error!("the unpack worker's last words: {error}");
        }
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
        tokio::task::spawn_local(listen(pid, Rc::clone(&socket), self.inbox.clone()));
        Ok(Worker {
            pid,
            socket,
            image: image.cloned(),
            started: Instant::now(),
            wanted: None,
        })
    }
}

/// Tells the loop whenever there is something to read, until the worker has closed its end.
async fn listen(pid: Pid, socket: Rc<AsyncFd<OwnedFd>>, inbox: Sender<Input>) {
    loop {
        let Ok(mut readiness) = socket.readable().await else {
            return;
        };
        let is_last = readiness.ready().is_read_closed();
        // Before the loop hears of it: it reads everything, and what comes later makes the socket ready again.
        readiness.clear_ready();
        if inbox.send(Input::Worker(pid)).await.is_err() || is_last {
            return;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unpack::message::Owners;

    const FIRST: Pid = 1001;
    const SECOND: Pid = 1002;

    fn digest(text: &str) -> Digest {
        Digest::sha256(text.as_bytes())
    }

    fn image(name: &str) -> Image {
        Image {
            manifest: digest(name),
            bytes: 1,
            layers: vec![name.to_owned()],
            env: Vec::new(),
            entrypoint: Vec::new(),
            cmd: Vec::new(),
            working_dir: "/".to_owned(),
            user: String::new(),
            stop_signal: String::new(),
        }
    }

    /// A worker that is not there, and its end of the socket pair.
    fn worker(pid: Pid, name: &str) -> (Worker, OwnedFd) {
        let (ours, theirs) = fd::seqpacket_pair().expect("a pair");
        fd::set_nonblocking(&ours, true).expect("a socket");
        let worker = Worker {
            pid,
            socket: Rc::new(fd::watch(ours).expect("a runtime")),
            image: Some(digest(name)),
            started: Instant::now(),
            wanted: None,
        };
        (worker, theirs)
    }

    fn says(socket: &OwnedFd, message: &FromWorker) {
        let packet = serde_json::to_vec(message).expect("JSON");
        fd::send_with_fd(socket, &packet, None).expect("somebody listens");
    }

    fn run(test: impl AsyncFnOnce(Images, tokio::sync::mpsc::Receiver<Input>)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .expect("a runtime");
        let around = Surroundings {
            owners: Owners::Keep,
            cgroup: None,
        };
        let (inbox, facts) = tokio::sync::mpsc::channel(16);
        tokio::task::LocalSet::new().block_on(&runtime, test(Images::new(around, inbox), facts));
    }

    #[test]
    fn what_a_worker_said_before_it_ended_counts_for_its_image_and_for_no_other() {
        run(async |mut images, mut facts| {
            let unit = UnitId::Container(0);
            let (first, its_end) = worker(FIRST, "first");
            let socket = Rc::clone(&first.socket);
            tokio::task::spawn_local(listen(FIRST, socket, images.inbox.clone()));
            images.worker = Some(first);
            images.queue.push_back((unit, digest("first")));
            says(&its_end, &FromWorker::Ready(image("first")));
            drop(its_end);
            // The loop has been told, and looks at the exit first.
            let Some(Input::Worker(pid)) = facts.recv().await else {
                panic!("it has spoken");
            };
            let events = images.exited(FIRST).expect("it was the worker");
            assert!(
                matches!(events[..], [Event::ImageReady { unit: ready, .. }] if ready == unit),
                "{events:?}"
            );
            let (second, _its_end) = worker(SECOND, "second");
            images.worker = Some(second);
            images.queue.push_back((unit, digest("second")));
            assert!(images.hear(pid).is_empty());
            assert_eq!(images.get(&digest("first")), Some(&image("first")));
            assert_eq!(images.get(&digest("second")), None);
        });
    }

    #[test]
    fn a_worker_that_closes_its_end_is_not_listened_to_for_ever() {
        run(async |images, mut facts| {
            let (worker, its_end) = worker(FIRST, "first");
            let listener = listen(FIRST, Rc::clone(&worker.socket), images.inbox.clone());
            let listener = tokio::task::spawn_local(listener);
            drop(its_end);
            listener.await.expect("it ends");
            assert!(matches!(facts.recv().await, Some(Input::Worker(FIRST))));
            drop(images);
            assert!(facts.recv().await.is_none());
        });
    }
}
