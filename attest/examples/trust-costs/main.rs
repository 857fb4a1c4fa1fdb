//! Measures what trust costs in one optimised process, for `cargo xtask bench trust`: verifying documents beside the bare
//! signatures in them, one attestation request, the requests that measure a bundle, one TCP round trip. Prints JSON:
//! microseconds, one number a sample. An argument names a real document.

mod signature;

use std::error::Error;
use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use attest::UnixTime;
use attest::document::{Exchange, Field, Identity, Policy, Root, unverified_time, verify};
use attest::nsm::{Nsm, PCR_BYTES, Platform, RemoteModule, SoftwareModule, serve};
use serde_json::{Value, json};
use signature::{Signature, image, signatures};

/// Samples of each cost. A verification takes milliseconds, so one is a sample; a longer one would be interrupted more often.
const SAMPLES: usize = 200;
const NONCE: [u8; 32] = [7; 32];

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let module = Arc::new(SoftwareModule::boot(&Platform::of_image([[1; PCR_BYTES]; 3]))?);
    let roots = Root::from_pem(module.root_pem().as_bytes())?;
    let nsm = Nsm::new(module);
    measure(&nsm)?;
    // As long as the fields of a request for secrets.
    let attest = || nsm.attest(Some(&[2; 160]), Some(&NONCE), Some(&[3; 32]));
    let document = attest()?;
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let mut costs = json!({
        "software": documents(&document, roots, UnixTime::from_seconds(since.as_secs()))?,
        "attest": samples(|| attest().map(black_box).map(drop).map_err(Into::into))?,
        "measure": measurements()?,
        "roundTrip": round_trips()?,
    });
    if let Some(path) = std::env::args_os().nth(1) {
        let document = std::fs::read(path)?;
        costs["real"] = documents(&document, Root::aws(), unverified_time(&document)?)?;
    }
    println!("{costs}");
    Ok(())
}

/// Microseconds of `SAMPLES` calls.
fn samples(mut each: impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
    (0..SAMPLES).map(|_| time(&mut each)).collect()
}

fn time(each: impl FnOnce() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    each()?;
    Ok(microseconds(start.elapsed()))
}

fn microseconds(took: Duration) -> f64 {
    took.as_secs_f64() * 1e6
}

/// Verifying the whole document, and its bare signatures, by turns: a busy moment of the machine hits both.
fn documents(document: &[u8], roots: Vec<Root>, now: UnixTime) -> Result<Value> {
    let policy = Policy::new(Identity::Image(image(document)?)).roots(roots);
    let exchange = Exchange {
        nonce: Field::Any,
        user_data: Field::Any,
        public_key: Field::Any,
    };
    let bare = signatures(document)?;
    let (mut whole, mut ecdsa) = (Vec::new(), Vec::new());
    for _ in 0..SAMPLES {
        whole.push(time(|| {
            black_box(verify(black_box(document), &policy, &exchange, now)?);
            Ok(())
        })?);
        ecdsa.push(time(|| Ok(bare.iter().try_for_each(Signature::verify)?))?);
    }
    Ok(json!({"bytes": document.len(), "signatures": bare.len(), "verify": whole, "ecdsa": ecdsa}))
}

/// What PID 1 asks of the module before a bundle runs.
fn measure(nsm: &Nsm) -> Result<()> {
    nsm.measure(16, &[4; 48])?;
    nsm.measure(17, &[5; 48])?;
    Ok(nsm.lock_all()?)
}

/// The same on a fresh module behind a socket, as the local back-end has it.
fn measurements() -> Result<Vec<f64>> {
    let each = || -> Result<f64> {
        let module = SoftwareModule::boot(&Platform::debug())?;
        let (ours, its) = UnixStream::pair()?;
        let server = thread::spawn(move || serve(&its, &module));
        let nsm = Nsm::new(RemoteModule::new(ours)?);
        let took = time(|| measure(&nsm));
        drop(nsm);
        let _ = server.join();
        took
    };
    (0..SAMPLES).map(|_| each()).collect()
}

/// Connecting, one byte there and one back.
fn round_trips() -> Result<Vec<f64>> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut byte = [0];
            if client.read_exact(&mut byte).is_ok() {
                let _ = client.write_all(&byte);
            }
        }
    });
    samples(|| {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(b"x")?;
        stream.read_exact(&mut [0])?;
        Ok(())
    })
}
