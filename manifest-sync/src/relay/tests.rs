//! Real sockets, ends that fail as kernels do, and random schedules.

use std::cell::RefCell;
use std::os::fd::BorrowedFd;

use proptest::prelude::*;
use proptest::test_runner::TestRng;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use super::end::End;
use super::*;

const IDLE: Duration = Duration::from_secs(60);

/// [`super::between`] with what moved.
async fn between(
    client: &Socket,
    link: &Socket,
    idle: Duration,
    bulk: u64,
    count: impl Fn(Direction, u64),
) -> (Moved, io::Result<()>) {
    let progress = Progress::new(count);
    let result = super::between(client, link, idle, bulk, &progress).await;
    (progress.moved(), result)
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("runtime")
        .block_on(future)
}

/// A socket whose calls are interrupted, not yet possible, and short, at random.
struct Faulty {
    socket: Socket,
    random: RefCell<TestRng>,
}

impl End for Faulty {
    async fn ready(&self, interest: Interest) -> io::Result<()> {
        self.socket.ready(interest).await
    }

    fn try_io<T>(
        &self,
        interest: Interest,
        operation: impl FnOnce(BorrowedFd<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        match self.random.borrow_mut().random_range(0..6) {
            0 => Err(io::ErrorKind::Interrupted.into()),
            1 => Err(io::ErrorKind::WouldBlock.into()),
            _ => self.socket.try_io(interest, operation),
        }
    }

    fn max_write(&self) -> usize {
        self.random.borrow_mut().random_range(1..40_000)
    }
}

async fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let near = TcpStream::connect(listener.local_addr().expect("an address"));
    let (near, far) = tokio::join!(near, listener.accept());
    (near.expect("connected"), far.expect("accepted").0)
}

fn unix() -> (UnixStream, UnixStream) {
    UnixStream::pair().expect("a pair")
}

/// Bytes that differ wherever they are cut or swapped.
fn pattern(count: usize) -> Vec<u8> {
    (0..count as u64)
        .map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
        .collect()
}

#[derive(Debug, Clone, Copy)]
enum Kinds {
    TcpToUnix,
    UnixToTcp,
    UnixToUnix,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Both ways of moving bytes, and the change from one to the other, whatever the kernel does.
    #[test]
    fn a_direction_loses_and_changes_nothing(
        count in 0usize..900_000,
        bulk in prop_oneof![Just(0), Just(BULK), Just(u64::MAX)],
        kinds in prop_oneof![Just(Kinds::TcpToUnix), Just(Kinds::UnixToTcp), Just(Kinds::UnixToUnix)],
        seed in any::<[u8; 32]>(),
        piece in 1usize..70_000,
    ) {
        run(async {
            let faulty = |socket: Socket, flip: u8| {
                let mut seed = seed;
                seed[0] ^= flip;
                let random = TestRng::from_seed(prop::test_runner::RngAlgorithm::ChaCha, &seed);
                Faulty { socket, random: RefCell::new(random) }
            };
            let (mut writer, from): (Box<dyn tokio::io::AsyncWrite + Unpin>, Socket) = match kinds {
                Kinds::TcpToUnix => { let (a, b) = tcp().await; (Box::new(a), b.into()) }
                _ => { let (a, b) = unix(); (Box::new(a), b.into()) }
            };
            let (mut reader, to): (Box<dyn tokio::io::AsyncRead + Unpin>, Socket) = match kinds {
                Kinds::UnixToTcp => { let (a, b) = tcp().await; (Box::new(a), b.into()) }
                _ => { let (a, b) = unix(); (Box::new(a), b.into()) }
            };
            let (from, to) = (faulty(from, 0), faulty(to, 1));
            let sent = pattern(count);
            let write = async {
                for piece in sent.chunks(piece) {
                    writer.write_all(piece).await.expect("open");
                }
                drop(writer);
            };
            let moved = Cell::new(0);
            let pump = async {
                pump(&from, &to, bulk, |bytes| moved.set(moved.get() + bytes)).await.expect("clean end");
                to.socket.end_of_writing().expect("open");
            };
            let read = async {
                let mut all = Vec::new();
                reader.read_to_end(&mut all).await.expect("open");
                all
            };
            let ((), (), all) = tokio::join!(write, pump, read);
            assert!(all == sent, "{} of {} bytes, or others", all.len(), sent.len());
            assert_eq!(moved.get(), sent.len() as u64);
        });
    }

    #[test]
    fn an_answer_follows_a_half_close(count in 0usize..600_000, bulk in prop_oneof![Just(0), Just(BULK)]) {
        run(async {
            let ((mut client, near), (far, mut server)) = (tcp().await, unix());
            let sent = pattern(count);
            let client = async {
                client.write_all(&sent).await.expect("open");
                client.shutdown().await.expect("open");
                let mut all = Vec::new();
                client.read_to_end(&mut all).await.expect("open");
                all
            };
            let server = async {
                let mut all = Vec::new();
                server.read_to_end(&mut all).await.expect("open");
                server.write_all(&all).await.expect("open");
                server.shutdown().await.expect("open");
            };
            let (near, far) = (near.into(), far.into());
            let relay = between(&near, &far, IDLE, bulk, |_, _| ());
            let ((moved, result), (), all) = tokio::join!(relay, server, client);
            result.expect("clean end");
            assert!(all == sent);
            assert_eq!(moved, Moved { to_link: count as u64, from_link: count as u64 });
        });
    }
}

/// As the connections to the secret service are.
#[test]
fn a_link_without_half_close_that_is_not_framed_keeps_the_answer() {
    run(async {
        let ((mut client, near), (far, mut server)) = (tcp().await, unix());
        let server = async {
            let mut request = [0; 4];
            server.read_exact(&mut request).await.expect("request");
            let more = tokio::time::timeout(Duration::from_millis(50), server.read(&mut request)).await;
            assert!(more.is_err(), "the half-close went through: {more:?}");
            server.write_all(b"answer").await.expect("open");
            drop(server);
        };
        let client = async {
            client.write_all(b"ask?").await.expect("open");
            client.shutdown().await.expect("open");
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.expect("open");
            answer
        };
        let relay = relay(near, Stream::hybrid(far), IDLE);
        let ((_, result), (), answer) = tokio::join!(relay, server, client);
        result.expect("clean end");
        assert_eq!(answer, "answer");
    });
}

/// Two relays with a link between them that would lose the answer.
#[test]
fn half_closes_pass_through_a_link_that_has_none() {
    run(async {
        let ((mut client, near), (far, mut server), (one, other)) = (tcp().await, tcp().await, unix());
        let sent = pattern(700_000);
        let client = async {
            client.write_all(&sent).await.expect("open");
            client.shutdown().await.expect("open");
            let mut all = Vec::new();
            client.read_to_end(&mut all).await.expect("open");
            all
        };
        let server = async {
            let mut all = Vec::new();
            server.read_to_end(&mut all).await.expect("open");
            server.write_all(&all).await.expect("open");
            server.shutdown().await.expect("open");
        };
        let framed = |socket| Stream::hybrid(socket).framed();
        let (outside, inside) = (relay(near, framed(one), IDLE), relay(far, framed(other), IDLE));
        let (all, (), (moved, outside), (_, inside)) = tokio::join!(client, server, outside, inside);
        outside.expect("clean end");
        inside.expect("clean end");
        assert!(all == sent);
        let count = sent.len() as u64;
        assert_eq!(
            moved,
            Moved {
                to_link: count,
                from_link: count
            }
        );
    });
}

/// A client that has read all it wants just closes; the server has to hear of it.
#[test]
fn a_client_that_goes_away_frees_both_relays() {
    run(async {
        let ((client, near), (far, mut server), (one, other)) = (tcp().await, tcp().await, unix());
        drop(client);
        let server = async {
            let mut all = Vec::new();
            server.read_to_end(&mut all).await.expect("an end");
            drop(server);
        };
        let framed = |socket| Stream::hybrid(socket).framed();
        let (outside, inside) = (relay(near, framed(one), IDLE), relay(far, framed(other), IDLE));
        let ((), (_, outside), (_, inside)) = tokio::join!(server, outside, inside);
        outside.expect("clean end");
        inside.expect("clean end");
    });
}

#[test]
fn a_framed_link_that_is_cut_is_no_clean_end() {
    run(async {
        let ((mut client, near), (one, mut other)) = (tcp().await, unix());
        let cut = async {
            // A piece of five bytes, of which two come.
            other.write_all(b"\0\x05ab").await.expect("open");
            drop(other);
        };
        let relay = relay(near, Stream::hybrid(one).framed(), IDLE);
        let ((), (moved, result)) = tokio::join!(cut, relay);
        let error = result.expect_err("cut");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(moved.from_link, 2);
        let mut all = Vec::new();
        let read = client.read_to_end(&mut all).await;
        assert!(read.is_err(), "{read:?}");
    });
}

#[test]
fn an_answer_to_a_question_that_nobody_reads_to_its_end_arrives() {
    run(async {
        let ((mut client, near), (far, mut server)) = (tcp().await, unix());
        let server = async {
            let mut request = [0; 4];
            server.read_exact(&mut request).await.expect("request");
            server.write_all(b"too long").await.expect("open");
            drop(server);
        };
        let client = async {
            let question = vec![1; 4 << 20];
            // The server stops to listen in the middle of it.
            let _ = client.write_all(&question).await;
            let mut answer = [0; 8];
            client.read_exact(&mut answer).await.expect("an answer");
            answer
        };
        let relay = async {
            let (near, far) = (near.into(), far.into());
            between(&near, &far, IDLE, BULK, |_, _| ()).await
        };
        let (_, (), answer) = tokio::join!(relay, server, client);
        assert_eq!(&answer, b"too long");
    });
}

#[test]
fn a_reset_is_no_clean_end() {
    run(async {
        let ((client, near), (far_near, far)) = (tcp().await, tcp().await);
        client.set_zero_linger().expect("open");
        drop(client);
        let relay = async {
            let (near, far) = (near.into(), far_near.into());
            between(&near, &far, IDLE, BULK, |_, _| ()).await.1
        };
        let read = async move {
            let mut far = far;
            far.read(&mut [0; 8]).await
        };
        let (relayed, read) = tokio::join!(relay, read);
        let reset = |error: io::Error| error.kind() == io::ErrorKind::ConnectionReset;
        assert!(reset(relayed.expect_err("a reset")) && reset(read.expect_err("a reset")));
    });
}

#[test]
fn an_idle_relay_ends() {
    run(async {
        let ((_client, near), (far, _server)) = (unix(), unix());
        let idle = Duration::from_millis(20);
        let (moved, result) = between(&near.into(), &far.into(), idle, BULK, |_, _| ()).await;
        assert_eq!(result.expect_err("idle").kind(), io::ErrorKind::TimedOut);
        assert_eq!(moved, Moved::default());
    });
}

#[test]
fn a_reader_that_stalls_holds_up_nobody_else() {
    run(async {
        let ((mut stalled, near), (far, mut writer)) = (unix(), unix());
        let bulk = async {
            let piece = pattern(1 << 16);
            while tokio::time::timeout(Duration::from_millis(200), writer.write_all(&piece))
                .await
                .is_ok_and(|written| written.is_ok())
            {}
            writer
        };
        let (near, far) = (near.into(), far.into());
        let mut relay = pin!(between(&near, &far, IDLE, 0, |_, _| ()));
        let writer = tokio::select! {
            _ = &mut relay => panic!("the relay has ended"),
            writer = bulk => writer,
        };
        // The first one is full. Another one on the same thread goes on.
        let ((mut client, near), (far, mut server)) = (unix(), unix());
        let (near, far) = (near.into(), far.into());
        let mut other = pin!(between(&near, &far, IDLE, 0, |_, _| ()));
        let exchange = async {
            client.write_all(&pattern(1 << 20)).await.expect("open");
            client.shutdown().await.expect("open");
        };
        let read = async {
            let mut all = Vec::new();
            server.read_to_end(&mut all).await.expect("open");
            assert!(all == pattern(1 << 20));
        };
        tokio::select! {
            _ = &mut relay => panic!("the relay has ended"),
            _ = &mut other => panic!("the other has ended"),
            _ = async { tokio::join!(exchange, read) } => {}
        }
        drop(writer);
        let rest = async {
            let mut all = Vec::new();
            stalled.read_to_end(&mut all).await.expect("open");
            stalled.shutdown().await.expect("open");
            all.len()
        };
        let ((moved, _), rest) = tokio::join!(relay, rest);
        assert_eq!(moved.from_link, rest as u64);
    });
}

/// What a connection holds whose reader stalls, while memory is short and when there is some again.
#[test]
fn a_stalled_reader_costs_little_while_memory_is_short() {
    run(async {
        memory_is_short(true);
        let ((mut stalled, near), (far, mut writer)) = (unix(), unix());
        let (near, far) = (near.into(), far.into());
        let written = Cell::new(0);
        let count = |_, bytes| written.set(written.get() + bytes);
        let mut relay = pin!(between(&near, &far, IDLE, 0, count));
        let full = async |writer: &mut UnixStream| {
            let piece = pattern(1 << 16);
            let patience = Duration::from_millis(200);
            while let Ok(Ok(())) = tokio::time::timeout(patience, writer.write_all(&piece)).await {}
        };
        tokio::select! {
            _ = &mut relay => panic!("the relay has ended"),
            () = full(&mut writer) => {}
        }
        let while_short = written.get();
        assert!((1..32 * 1024).contains(&while_short), "{while_short} bytes");
        memory_is_short(false);
        // Its reader comes back for a moment.
        let read = async {
            let mut first = vec![0; 64 * 1024];
            stalled.read_exact(&mut first).await.expect("open");
            full(&mut writer).await;
        };
        tokio::select! {
            _ = &mut relay => panic!("the relay has ended"),
            () = read => {}
        }
        let after = written.get() - 64 * 1024;
        assert!(after > 128 * 1024, "{after} bytes");
    });
}
