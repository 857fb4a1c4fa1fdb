//! What the attacks of a theme share: an enclave with a running Pod and its honest controller. After every attack the
//! controller must still be served and the Pod must still run, untouched.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use manifest_sync::protocol::RefusedReason;
use manifest_sync::trust::TrustPolicy;
use serde_json::{Value, json};
use tests::{Product, guest, pod, product, wait_for};

use crate::controller::{Controller, hello};
use crate::enclave::Enclave;
use crate::wire::Wire;

/// Port of the Pod's container, which says again what it is told.
pub(crate) const PORT: u16 = 7;

/// A bundle of these objects.
pub(crate) fn bundle(objects: &[Value]) -> Vec<u8> {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    list.to_string().into_bytes()
}

/// The guests' image by its digest, as a bundle names it.
pub(crate) fn guest_image(layout: &Path) -> String {
    let index = std::fs::read(layout.join("index.json")).expect("a layout");
    let index: Value = serde_json::from_slice(&index).expect("JSON");
    let digest = index.pointer("/manifests/0/digest").and_then(Value::as_str);
    format!("guest@{}", digest.expect("an image"))
}

/// A container of the guests' image.
pub(crate) fn container(product: &Product, name: &str, words: &[&str]) -> Value {
    let mut container = guest(name, words);
    container["image"] = json!(guest_image(&product.guests));
    container
}

/// The container `app`, which says again what it is told.
pub(crate) fn echo(product: &Product) -> Value {
    let mut container = container(product, "app", &["echo", &PORT.to_string()]);
    container["ports"] = json!([{"containerPort": PORT}]);
    container
}

/// An enclave, its controller, and its Pod.
pub(crate) struct Stage {
    pub(crate) product: Product,
    pub(crate) enclave: Enclave,
    honest: Mutex<Controller>,
    key: String,
    container_id: String,
}

impl Stage {
    /// One that nobody shares.
    pub(crate) fn start(product: &Product) -> Self {
        let enclave = Enclave::start(product, TrustPolicy::DEVELOPMENT);
        let mut honest = Controller::connect(&enclave, None);
        honest
            .apply(&bundle(&[pod(json!({
                "containers": [echo(product)], "terminationGracePeriodSeconds": 0,
            }))]))
            .expect("a good bundle");
        honest.until_running(&enclave, &product.guests, &["app"]);
        let key = honest.key.clone();
        wait_for("the Pod to listen", || {
            (echoes(&enclave, &key) == Ok(())).then_some(())
        });
        let container_id = honest.container("app").expect("it runs").container_id.clone();
        Self {
            product: product.clone(),
            enclave,
            honest: Mutex::new(honest),
            key,
            container_id,
        }
    }

    /// The session key, which the attacker of some attacks has.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// The honest controller. Whoever holds it knows that it is connected: a local enclave may be taken over without the
    /// key while nobody is.
    pub(crate) fn honest(&self) -> MutexGuard<'_, Controller> {
        self.honest.lock().expect("an attack before this one has failed")
    }

    /// The controller is answered on its old connection, and the container is the one that was started first.
    pub(crate) fn assert_unharmed(&self) {
        let mut honest = self.honest();
        honest.ping();
        assert!(honest.is_running("app"), "{:?}", honest.report);
        let app = honest.container("app").expect("it runs");
        assert_eq!((app.restart_count, &app.container_id), (0, &self.container_id));
        assert_eq!(echoes(&self.enclave, &self.key), Ok(()), "the Pod is not reached");
    }

    /// The honest host has a new connection.
    pub(crate) fn replace(&self, back: Controller) {
        let mut honest = self.honest();
        assert_eq!((&back.key, &back.boot_id), (&self.key, &honest.boot_id));
        honest
            .wire
            .expect_refused(RefusedReason::Superseded, "has taken over");
        *honest = back;
    }

    /// With the key the attacker takes over; afterwards the honest host does, and finds everything as it was.
    pub(crate) fn with_the_key(&self, attack: impl FnOnce(&Enclave, Wire)) {
        let mut honest = self.honest();
        let attacker = Controller::connect(&self.enclave, Some(&self.key));
        honest
            .wire
            .expect_refused(RefusedReason::Superseded, "has taken over");
        attack(&self.enclave, attacker.wire);
        let back = Controller::connect(&self.enclave, Some(&self.key));
        assert_eq!((&back.key, &back.boot_id), (&self.key, &honest.boot_id));
        *honest = back;
    }
}

/// Whether the Pod answers, or how the stream was refused.
pub(crate) fn echoes(enclave: &Enclave, key: &str) -> Result<(), u8> {
    let mut stream = enclave.ingress(Some(key), PORT);
    match stream.read_exact(1).as_deref() {
        Some([0]) => {}
        Some([reply]) => return Err(*reply),
        _ => return Err(u8::MAX),
    }
    stream.send(b"still there?");
    assert_eq!(stream.read_exact(12).as_deref(), Some(&b"still there?"[..]));
    Ok(())
}

static SHARED: Mutex<Weak<Stage>> = Mutex::new(Weak::new());

/// The shared stage: made for the first who asks, gone with the last; a spoiled one is replaced.
fn shared(product: &Product) -> Arc<Stage> {
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(stage) = shared.upgrade().filter(|stage| !stage.honest.is_poisoned()) {
        return stage;
    }
    let stage = Arc::new(Stage::start(product));
    *shared = Arc::downgrade(&stage);
    stage
}

/// An attack on the shared enclave, which it must leave unharmed.
pub(crate) fn against(attack: impl FnOnce(&Stage)) {
    refused(|product| {
        let stage = shared(product);
        attack(&stage);
        stage.assert_unharmed();
    });
}

/// The same with the session key, as the host.
pub(crate) fn against_with_the_key(attack: impl FnOnce(&Enclave, Wire)) {
    against(|stage| stage.with_the_key(attack));
}

/// An attack on an enclave of its own, which it must leave unharmed.
pub(crate) fn against_a_fresh_one(attack: impl FnOnce(&Stage)) {
    refused(|product| {
        let stage = Stage::start(product);
        attack(&stage);
        stage.assert_unharmed();
    });
}

static REFUSED: AtomicUsize = AtomicUsize::new(0);

/// Any attack: it returns when it has been refused as it should be. The last one prints how many there were.
pub(crate) fn refused(attack: impl FnOnce(&Product)) {
    let Some(product) = product() else { return };
    attack(&product);
    let (refused, all) = (
        REFUSED.fetch_add(1, Ordering::Relaxed) + 1,
        crate::attacks().len(),
    );
    if refused == all {
        println!("hostile: {all} attacks, {refused} refused");
    }
}

/// Hello with these bytes as the key is refused, and nobody else notices.
pub(crate) fn assert_no_key(enclave: &Enclave, key: &str) {
    let mut wire = enclave.control();
    wire.say(&hello(Some(key)));
    wire.expect_refused(RefusedReason::NotYourSession, "another controller");
}
