//! Help texts. One page per command, with the exit codes where they matter.

use super::Verb;

/// The help of `verb`, or of the whole program.
pub fn text(verb: Option<Verb>) -> &'static str {
    match verb {
        None => PROGRAM,
        Some(Verb::Up) => UP,
        Some(Verb::Serve) => SERVE,
        Some(Verb::Apply) => APPLY,
        Some(Verb::Update) => UPDATE,
        Some(Verb::Status) => STATUS,
        Some(Verb::Logs) => LOGS,
        Some(Verb::Exec) => EXEC,
        Some(Verb::Stop) => STOP,
        Some(Verb::Condition) => CONDITION,
        Some(Verb::Sign) => SIGN,
        Some(Verb::Inspect) => INSPECT,
        Some(Verb::Unseal) => UNSEAL,
    }
}

const PROGRAM: &str = "\
host-proxy runs a Kubernetes Pod in an enclave and connects it to this machine.

Usage: host-proxy COMMAND [OPTIONS]

Commands:
  up         start an enclave, run a Pod in it, serve until it ends
  serve      attach to a running enclave and serve it (sidecar)
  apply      hand a bundle to the running proxy
  update     change the running Pod
  status     show the Pod
  logs       show the logs of the Pod
  exec       execute a command in a container, where the trust policy allows it
  stop       stop the Pod
  condition  set a condition that the Pod has a readiness gate for
  sign       sign a bundle, or add a signature to one
  inspect    show what a bundle is, who signed it, and what it will measure
  unseal     open sealed logs, at the log back-end
  version    print the version
  help       print this text, or `host-proxy help COMMAND`

Exit codes of up and serve:
  0    the Pod succeeded or was stopped cleanly
  1..  the exit code of the Pod's first container that failed
  64   a flag or an argument is wrong
  65   the bundle was rejected
  66   an input file or an image was not found
  69   the enclave could not be started or reached
  70   the enclave died
  71   this machine refused something that host-proxy needs
  73   a local port or socket is in use
  76   the enclave refused us (another controller, another protocol)
";

const UP: &str = "\
Start an enclave, run a Pod in it and serve it until it ends. Ctrl-C stops the Pod gracefully, a second
Ctrl-C at once. If an enclave of that name is already running, it is picked up.

Usage: host-proxy up (-f FILE [-f FILE]... | --bundle FILE) [--images DIR] [OPTIONS]

Options:
  -f, --file FILE              manifest (YAML or JSON, several documents); - reads standard input
      --bundle FILE            instead of manifests: a bundle, as `host-proxy sign` writes it; sent unchanged
      --images DIR             OCI image layout that holds the images
      --name NAME              name of the enclave (default: the Pod's name)
      --backend BACKEND        where the enclave runs: local (namespaces, for development; the default),
                               qemu (an emulated machine), nitro (EC2, with nitro-cli)
      --init PATH              local: the cloister-init binary (default: beside host-proxy)
      --policy FILE            local: trust policy (default: every bundle may run); other back-ends have it in
                               their image
      --eif FILE               qemu, nitro: the enclave image
      --cpus N                 qemu, nitro: vCPUs (default: 2; on nitro from the Pod's limits)
      --memory MIB             qemu, nitro: memory (default: 1024; on nitro from the Pod's limits)
      --accel tcg|kvm          qemu: software emulation (default), or KVM where it can boot a kernel
      --cid N                  nitro: CID of the enclave (default: nitro-cli chooses)
      --debug-mode             nitro: readable console, and PCRs of zeros: nothing is confidential then
  -p, --publish HOST:CONTAINER[/udp]
                               listen on port HOST for port CONTAINER of the Pod; repeatable;
                               replaces the port outside that the Pod declares for CONTAINER
      --broker HOST:PORT       secret service that the enclave is connected with when its Pod needs secrets
      --egress-allow WHAT      let the Pod connect to this and nothing else, as far as its own policy allows it:
                               NAME[:PORT], PATTERN[:PORT], NETWORK, [NETWORK]:PORT, or none; repeatable
      --egress-local NETWORK   let the Pod reach these addresses of this machine: otherwise never loopback, link-local,
                               metadata and the machine's own addresses; repeatable
      --resolve NAME:PORT:IP   where the Pod's connections to NAME:PORT go, instead of asking DNS; repeatable
      --ingress-address IP     address to listen on for the Pod's ports (default: 127.0.0.1)
      --ingress-when ready|connected
                               when clients are let in: while the Pod is ready (default), or while the enclave is connected
      --http-address IP:PORT   health, status and metrics (default: 127.0.0.1:9090; `none`: off)
      --log-format text|json   how logs are printed on standard output (default: text)
      --log-sink SINK          where logs go instead; repeatable. stdout, file:DIR, syslog+tcp://HOST:PORT,
                               syslog+tls://HOST:PORT, otlp+http[s]://HOST:PORT, loki+http[s]://HOST:PORT, each
                               with options: docs/logs.md
      --log-spool DIR          keep logs there until every sink has them (default: in memory)
      --log-spool-bytes N      drop the oldest above this, and say how many (default: 256Mi; in memory 16Mi)
      --state-dir DIR          where the state of this enclave is kept
  -h, --help                   print this text
";

const SERVE: &str = "\
Attach to a running enclave and serve it: blobs, ingress, logs, health. For a launcher Pod.

Usage: host-proxy serve --enclave ADDRESS [-f FILE... | --bundle FILE] [--images DIR] [OPTIONS]

Options:
      --enclave ADDRESS        vsock:CID, hybrid:PATH or unix:DIRECTORY
  -f, --file FILE              manifest to apply when the enclave has none; none: wait for `apply`
      --bundle FILE            instead of manifests: a bundle, as `host-proxy sign` writes it; sent unchanged
      --images DIR             OCI image layout that holds the images
      --name NAME              name of this proxy for the other commands (default: enclave)
  -p, --publish HOST:CONTAINER[/udp]
                               listen on port HOST for port CONTAINER of the Pod; repeatable
      --broker HOST:PORT       secret service that the enclave is connected with when its Pod needs secrets
      --egress-allow WHAT      let the Pod connect to this and nothing else, as far as its own policy allows it:
                               NAME[:PORT], PATTERN[:PORT], NETWORK, [NETWORK]:PORT, or none; repeatable
      --egress-local NETWORK   let the Pod reach these addresses of this machine: otherwise never loopback, link-local,
                               metadata and the machine's own addresses; repeatable
      --resolve NAME:PORT:IP   where the Pod's connections to NAME:PORT go, instead of asking DNS; repeatable
      --ingress-address IP     address to listen on for the Pod's ports (default: ::, which takes IPv4 too)
      --ingress-when ready|connected
                               when clients are let in: while the Pod is ready (default), or while the enclave is connected
      --http-address IP:PORT   health, status and metrics (default: 0.0.0.0:9090; `none`: off)
      --log-format text|json   how logs are printed on standard output (default: json)
      --log-sink SINK          where logs go instead; repeatable. stdout, file:DIR, syslog+tcp://HOST:PORT,
                               syslog+tls://HOST:PORT, otlp+http[s]://HOST:PORT, loki+http[s]://HOST:PORT, each
                               with options: docs/logs.md
      --log-spool DIR          keep logs there until every sink has them (default: in memory)
      --log-spool-bytes N      drop the oldest above this, and say how many (default: 256Mi; in memory 16Mi)
      --state-dir DIR          where the session key and the socket are kept
  -h, --help                   print this text
";

const APPLY: &str = "\
Hand a bundle to the running proxy, which applies it to its enclave.

Usage: host-proxy apply (-f FILE [-f FILE]... [--images DIR] | --bundle FILE)
                        [--name NAME | --state-dir DIR]
";

const UPDATE: &str = "\
Hand another bundle to the running proxy: its enclave changes the Pod in place, if its trust policy says
`updates: InPlace` and the bundle changes only what may change (images, labels, annotations, ConfigMaps and
Secrets, ...: docs/updates.md). The generation of a signed bundle has to be higher.

Usage: host-proxy update (-f FILE [-f FILE]... [--images DIR] | --bundle FILE)
                         [--name NAME | --state-dir DIR]

A proxy that was started with the same files reads them again and does the same on SIGHUP.

Exit codes:
  0    the enclave has accepted it (or runs it already)
  65   the bundle was rejected; every reason is printed with its field
  69   no proxy runs, or the enclave does not answer
  76   there is no Pod to change
";

const STATUS: &str = "\
Show the Pod: phase, containers, latest events.

Usage: host-proxy status [-o table|json|yaml] [--watch] [--name NAME | --state-dir DIR]

Without --name and --state-dir the only running proxy of this user is meant.
";

const LOGS: &str = "\
Show the logs of the Pod, or of one container.

Usage: host-proxy logs [-f] [CONTAINER] [--name NAME | --state-dir DIR]

Options:
  -f, --follow                 go on until the Pod ends
";

const CONDITION: &str = "\
Set a condition of the Pod from outside. The Pod is Ready when its containers are and every condition that
spec.readinessGates names is True; other conditions cannot be set.

Usage: host-proxy condition TYPE True|False|Unknown [OPTIONS]

Options:
      --reason REASON   why, as one CamelCase word
      --message TEXT    why, in words
      --name NAME       which enclave
      --state-dir DIR   which enclave, by its state directory
  -h, --help            print this text

Exit codes: 0 set, 65 the Pod has no such readiness gate.
";

const EXEC: &str = "\
Execute a command in a running container, as `kubectl exec` does: with the container's user, environment and limits, this
program's standard input (-i) and outputs, and the exit code of the command. The enclave refuses it unless its trust policy
says `allowDebugExec: true`; every command is an event of the Pod, and part of the history that it attests.

Usage: host-proxy exec [-i] [-c CONTAINER] [--name NAME | --state-dir DIR] [--] COMMAND [ARGUMENT...]

Options:
  -i, --stdin                  give it standard input; otherwise it reads an end at once
  -t, --tty                    refused: there are no terminals in the enclave
  -c, --container CONTAINER    which container (default: the one that the annotation
                               kubectl.kubernetes.io/default-container names, or the first)
      --name NAME              which enclave
      --state-dir DIR          which enclave, by its state directory
  -h, --help                   print this text

The command ends, with everything that it has started, when this program does, when
it has ended itself, or when the container ends.

Exit codes: those of the command (128 and the number of the signal that ended it); 126 it cannot be executed, 127 it is not
there; 64 a flag is wrong, or the Pod has no such container; 69 no proxy runs, the container does not run, or the
connection was lost; 76 the trust policy does not allow it. A message says which.
";

const STOP: &str = "\
Stop the Pod gracefully; the proxy and the enclave end with it.

Usage: host-proxy stop [--grace SECONDS] [--name NAME | --state-dir DIR]
";

const SIGN: &str = "\
Make a bundle of manifests and sign it, or add signatures to a bundle. The result is what `up`, `serve` and
`apply` take as `--bundle FILE`.

Usage: host-proxy sign (-f FILE [-f FILE]... [--images DIR] | --bundle FILE) --key FILE... [OPTIONS]

Options:
  -f, --file FILE              manifest (YAML or JSON, several documents); - reads standard input
      --bundle FILE            a bundle, signed or not, that gets further signatures; its content stays as it is
      --images DIR             OCI image layout: image tags become the digests that they have there
      --key FILE               private key to sign with; repeatable. PEM without a passphrase: Ed25519 or P-256,
                               from `openssl genpkey` (PKCS #8) or `openssl ecparam -genkey` (SEC 1)
      --application NAME       sets spec.application of the EnclavePolicy; it must be there or here, as a policy
                               takes bundles for its own application only
      --generation N           sets spec.generation of the EnclavePolicy: higher for each release, so that a
                               policy's minGeneration can refuse old ones
      --broker-key FILE        sets parameters.brokerKey of SecretProviderClasses that have none: the public key (PEM)
                               that `cloister-broker public-key` prints
      --out FILE               where the envelope goes (default: standard output)
  -h, --help                   print this text

A key that has signed already signs anew. Look at what others made before you add your name to it:
`host-proxy inspect FILE`.

Exit codes: 0; 64 a flag is wrong; 65 the bundle cannot run; 66 a file or an image was not found, or is no key;
71 the result cannot be written.
";

const INSPECT: &str = "\
Show what a bundle is: digest, application, generation, images, signatures, and the PCRs that it will leave.

Usage: host-proxy inspect (FILE | -f FILE [-f FILE]... [--images DIR]) [OPTIONS]

Options:
      --bundle FILE            the same as FILE: a bundle, signed or not; - reads standard input
  -f, --file FILE              manifest (YAML or JSON, several documents): shows the digest to pin
      --images DIR             OCI image layout: image tags become the digests that they have there
      --policy FILE            trust policy of the image (JSON): checks signatures, says whether the enclave will
                               take the bundle, and predicts PCR16
      --key FILE               public key (PEM, from openssl or cosign) to check signatures with; repeatable
  -o, --output FORMAT          table (default), json or yaml
      --broker-policy          instead: print a policy for cloister-broker that gives this bundle's secrets to enclaves
                               of this image and policy (needs --policy, and --measurements or --init)
      --measurements FILE      the image, as `cargo xtask eif --measurements FILE` describes it
      --init PATH              the cloister-init of the local back-end, instead of an image
  -h, --help                   print this text

PCR16 is who may say what runs (needs --policy), PCR17 the bundle. Both mean something together with the image's
PCR0 only.

Exit codes: 0; 64 a flag is wrong; 65 the bundle cannot run, or the policy refuses it; 66 a file or an image was
not found, or is no policy or key.
";

const UNSEAL: &str = "\
Open sealed logs (docs/logs.md) and print what the containers wrote. Runs where the private key is: at the log back-end,
not beside the enclave.

Usage: host-proxy unseal --key FILE [FILE]...

Options:
      --key FILE               the private key of spec.logs.sealTo (PEM, from `openssl genpkey -algorithm X25519`)
      --log-format text|json   how lines are printed (default: json)
  -h, --help                   print this text

FILE is what any sink has written: JSON lines, CRI files, syslog, an export of Loki; without one, standard input is
read. Give all files of a time in their order. Lines without a sealed batch are passed over. What is missing, late,
repeated, changed or sealed to another key is reported on standard error.

Exit codes: 0 everything opened and nothing is missing; 1 something is missing or does not open; 64 a flag is wrong; 66
a file was not found, or is no key.
";
