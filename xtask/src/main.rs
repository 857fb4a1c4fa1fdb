//! `cargo xtask …`: every command of a developer or a build pipeline. Nothing here is needed at run time.
#![forbid(unsafe_code)]

mod bench;
mod build;
mod ci;
mod conformance;
mod debian;
mod eif;
mod fuzz;
mod image;
mod kernel;
mod oracle;
mod qemu;
mod soak;
mod system;
mod test;
mod up;
mod vm;

use anyhow::{Result, bail};
use std::process::ExitCode;

const HELP: &str = "\
cargo xtask COMMAND

  up EXAMPLE [FLAGS] build everything, build the images of the example (`web`, or `examples/web/pod.yaml`), run
                     its Pod in an enclave; FLAGS go to `host-proxy up`, such as --backend qemu
  image NAME         build the images of examples/NAME into target/images/NAME (an OCI image layout)
  image --from-dir DIR --name REF --out LAYOUT [--entrypoint PROGRAM]...
                     build an image of one layer from a directory
  build              build cloister-init (static), host-proxy, cloister-broker and cloister-verify into
                     target/cloister
  eif [FLAGS]        build an enclave image and print its PCRs as JSON:
      --out FILE                    default target/cloister/cloister.eif
      --config FILE                 the enclave's configuration (JSON); default: docs/build-pipeline.md
      --policy FILE                 which bundles it may run (JSON, docs/signing.md); default: any, for development
      --images LAYOUT               images that need not be fetched from the host
      --file SOURCE:/PATH           a further file, such as the program of a base service
      --kernel FILE, --module FILE  another kernel, and modules to load (nsm.ko)
      --init FILE                   another cloister-init
      --cmdline TEXT                the kernel's command line
      --compression none|lz4        of the ramdisks; default none
      --name NAME                   for people
      --signing-key FILE --signing-certificate FILE
                                    sign PCR0 (P-384, PEM); adds PCR8
      --measurements FILE           the JSON goes there too
      --check FILE                  build again and compare with FILE instead
  inspect FILE       print what an enclave image holds, and its PCRs
  kernel [--modular] build the enclave's kernel into target/vm/bzImage, or the variant with the security module's driver
                     as a module into target/vm/bzImage-modular and target/vm/nsm.ko
  vm                 find or build what an emulated enclave needs: QEMU, kernel, vhost-device-vsock;
                     CLOISTER_VM_CACHE names a directory of ready-built ones
  oracle [FILE]      compare what the reference implementation says of an enclave image with what we say; without FILE,
                     of one that is built first
  fuzz [TARGET] [--seconds N]
                     random input for what reads hostile files: eif_inspect, layer; default both, 60 s each
  test [FILTER]      run all tests that need no virtual machine; prints one summary
  test --vm [FILTER] run the end-to-end tests in emulated enclaves; prints one summary
  test --vm --modular
                     build the modular kernel and run what concerns it: that the security module works all the same
  test --histories   compare the supervisor with its model over 100,000 random histories, optimised; the seed is printed
  conformance [--local]
                     run the tests of Kubernetes' conformance cases, print what came of each, and write it to
                     docs/conformance.md; --local leaves out those that need a virtual machine, and writes nothing
  soak [SECONDS] [nginx|redis|logs]...
                     all of it, or these parts alone: Debian's nginx under wrk and its Redis under redis-benchmark, through
                     the ingress, for 300 s; then 1,000,000 log lines of 20 containers into rsyslog while host-proxy is
                     killed five times. Fails when a request is lost, host-proxy has counted anything else than clients
                     and servers, or a line is missing without being reported or comes twice without being marked
  ci                 fmt, clippy, doc, deny, test, then test --vm
  bench [relay|logs|runtime|lifecycle|trust|boot]... [--short] [--write]
                     measure against the budgets, or these groups alone; --write updates docs/performance.md with its
                     plots (relay, logs) and docs/benchmarks.md (the others); --short: see that relay and logs work;
                     `trust` verifies a real document, too, where CLOISTER_VECTORS names the vectors
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<ExitCode> {
    let (command, rest) = match arguments {
        [command, rest @ ..] => (command.as_str(), rest),
        [] => ("help", arguments),
    };
    match command {
        "up" => up::up(rest),
        "image" => image::image(rest).map(|()| ExitCode::SUCCESS),
        "build" => build::product().map(|product| {
            for path in [product.init, product.proxy, product.broker, product.verify] {
                println!("{}", path.display());
            }
            ExitCode::SUCCESS
        }),
        "eif" => eif::eif(rest),
        "inspect" => eif::show(rest),
        "oracle" => oracle::oracle(rest),
        "fuzz" => fuzz::fuzz(rest),
        "kernel" => kernel::kernel(rest).map(|()| ExitCode::SUCCESS),
        "vm" => vm::vm(rest).map(|()| ExitCode::SUCCESS),
        "test" => test::test(rest),
        "conformance" => conformance::conformance(rest),
        "ci" => ci::ci(),
        "soak" => soak::soak(rest),
        "bench" => bench::bench(rest).map(|()| ExitCode::SUCCESS),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        other => bail!("no command {other:?}\n\n{HELP}"),
    }
}
