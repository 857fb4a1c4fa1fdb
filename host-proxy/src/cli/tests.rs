//! Command lines and what becomes of them.

use manifest_sync::plan::Protocol;
use manifest_sync::protocol::GateCondition;

use super::*;
use crate::cli::{Backend, Image, Print, Serve, Source, Up};

fn run(line: &str) -> Result<Command, UsageError> {
    parse(line.split_whitespace().map(OsString::from))
}

fn mistakes(line: &str) -> Vec<String> {
    run(line).expect_err("the line is wrong").mistakes
}

#[test]
fn up_has_the_documented_defaults() {
    let Ok(Command::Up(up)) = run("up -f pod.yaml --file more.yaml --images images") else {
        panic!("not up")
    };
    let files = vec![PathBuf::from("pod.yaml"), PathBuf::from("more.yaml")];
    assert_eq!(up.source, Source::Manifests(files));
    assert_eq!(up.images, Some(PathBuf::from("images")));
    assert_eq!(up.serving.ingress_address.to_string(), "127.0.0.1");
    assert_eq!(
        up.serving.http_address.map(|a| a.to_string()).as_deref(),
        Some("127.0.0.1:9090")
    );
    assert_eq!(up.serving.log_format, LogFormat::Text);
    assert_eq!(up.target, Target::default());
}

#[test]
fn serve_has_the_documented_defaults() {
    let Ok(Command::Serve(serve)) = run("serve --enclave vsock:16") else {
        panic!("not serve")
    };
    assert_eq!(serve.enclave, "vsock:16");
    assert_eq!(
        serve.serving.http_address.map(|a| a.to_string()).as_deref(),
        Some("0.0.0.0:9090")
    );
    assert_eq!(serve.serving.log_format, LogFormat::Json);
}

#[test]
fn every_value_is_read() {
    let line = "up -fpod.yaml --name=web --backend local --init ./init -p 8080:80 --publish 0:443 -p 5353:53/udp --ingress-when connected \
                --ingress-address ::1 --http-address none --log-format json --state-dir /run/x";
    let Ok(Command::Up(up)) = run(line) else {
        panic!("not up")
    };
    assert_eq!(
        up.serving.publish,
        [
            Publish {
                host: 8080,
                container: 80,
                protocol: Protocol::Tcp
            },
            Publish {
                host: 0,
                container: 443,
                protocol: Protocol::Tcp
            },
            Publish {
                host: 5353,
                container: 53,
                protocol: Protocol::Udp
            }
        ]
    );
    assert_eq!(up.serving.http_address, None);
    assert_eq!(up.target.name.as_deref(), Some("web"));
    assert_eq!(up.target.state_dir, Some(PathBuf::from("/run/x")));
}

#[test]
fn a_policy_is_for_the_local_back_end_only() {
    let Ok(Command::Up(up)) = run("up -f pod.yaml --policy policy.json") else {
        panic!("not up")
    };
    let policy = Some(PathBuf::from("policy.json"));
    assert_eq!(up.backend, Backend::Local { init: None, policy });
    assert_eq!(
        mistakes("up -f pod.yaml --backend qemu --eif x.eif --policy policy.json"),
        ["--policy: the back-end qemu does not have it"]
    );
}

#[test]
fn client_commands() {
    let target = Target {
        name: Some("web".to_owned()),
        state_dir: None,
    };
    assert_eq!(
        run("logs -f app --name web"),
        Ok(Command::Logs {
            target: target.clone(),
            container: Some("app".to_owned()),
            follow: true
        })
    );
    assert_eq!(
        run("status -o yaml --name web"),
        Ok(Command::Status {
            target: target.clone(),
            output: Output::Yaml,
            watch: false
        })
    );
    assert_eq!(
        run("condition example.com/ready False --reason Draining --name web"),
        Ok(Command::Condition {
            target: target.clone(),
            condition: GateCondition {
                r#type: "example.com/ready".to_owned(),
                status: ConditionStatus::False,
                reason: Some("Draining".to_owned()),
                message: None,
            }
        })
    );
    assert_eq!(
        mistakes("condition ready yes"),
        ["`yes` is not one of: True, False, Unknown"]
    );
    assert_eq!(
        mistakes("condition ready"),
        ["expected the type of a condition and True, False or Unknown"]
    );
    assert_eq!(
        run("stop --grace 3 --name web"),
        Ok(Command::Stop {
            target,
            grace: Some(3)
        })
    );
}

#[test]
fn all_mistakes_are_reported_at_once() {
    assert_eq!(
        mistakes("up --imagse x --publish 80 --http-address nine --backend xen pod.yaml"),
        [
            "`--imagse` is not an option of `up`; did you mean `--images`?",
            "unexpected argument `x`; a manifest is given as `-f x`",
            "--publish: `80` is not HOST:CONTAINER, for instance 8080:80 or 5353:53/udp",
            "--http-address: `nine` is not IP:PORT, for instance 127.0.0.1:9090, or none",
            "--backend: `xen` is not one of: local, qemu, nitro",
            "unexpected argument `pod.yaml`; a manifest is given as `-f pod.yaml`",
            "a manifest is missing: add `-f FILE`, or `--bundle FILE`",
        ]
    );
    assert_eq!(
        mistakes("serve"),
        ["the enclave is missing: add `--enclave vsock:CID`"]
    );
    assert_eq!(
        mistakes("stop --grace soon"),
        ["--grace: `soon` is not a number of seconds"]
    );
    assert_eq!(
        mistakes("up -f a -p 1:2 -p 1:3"),
        ["--publish: port 1 outside is given twice"]
    );
    assert_eq!(
        mistakes("up -f a --name ../b"),
        ["--name: `../b` is not a name: use a-z, 0-9 and -"]
    );
    assert_eq!(
        mistakes("up -f a --eif b --debug-mode"),
        [
            "--eif: the back-end local does not have it",
            "--debug-mode: the back-end local does not have it"
        ]
    );
    assert_eq!(
        mistakes("up -f a --backend nitro --init b --cpus 0"),
        [
            "--cpus: `0` is not a number above 0",
            "--init: the back-end nitro does not have it",
            "the enclave image is missing: the back-end nitro needs `--eif FILE`"
        ]
    );
    assert_eq!(
        mistakes("up -f"),
        [
            "--file: a value is missing",
            "a manifest is missing: add `-f FILE`, or `--bundle FILE`"
        ]
    );
}

#[test]
fn a_bundle_that_is_ready_takes_the_place_of_manifests() {
    let bundle = Source::Bundle(PathBuf::from("web.bundle"));
    assert!(matches!(run("up --bundle web.bundle"), Ok(Command::Up(Up { source, .. })) if source == bundle));
    assert!(matches!(
        run("serve --enclave vsock:16 --bundle web.bundle"),
        Ok(Command::Serve(Serve { source: Some(source), .. })) if source == bundle
    ));
    assert!(
        matches!(run("apply --bundle web.bundle"), Ok(Command::Apply { source, .. }) if source == bundle)
    );
    assert_eq!(
        mistakes("up -f pod.yaml --bundle web.bundle"),
        ["give either manifests (`-f`) or a bundle (`--bundle`), not both"]
    );
}

#[test]
fn sign_and_inspect() {
    let Ok(Command::Sign(sign)) = run(
        "sign -f pod.yaml --key a.pem --key b.pem --images l --application web --generation 7 --out web.bundle",
    ) else {
        panic!("not sign")
    };
    assert_eq!(sign.keys, [PathBuf::from("a.pem"), PathBuf::from("b.pem")]);
    assert_eq!(
        (sign.application.as_deref(), sign.generation),
        (Some("web"), Some(7))
    );
    assert_eq!(
        mistakes("sign --bundle web.bundle --generation 7 --images l"),
        [
            "the key is missing: add `--key FILE` (a private key, PEM)",
            "--generation: a bundle that is ready cannot be changed",
            "--images: a bundle that is ready cannot be changed",
        ]
    );
    assert_eq!(
        mistakes("sign --key a --generation -1"),
        [
            "--generation: `-1` is not a number from 0 to 9223372036854775807",
            "what to sign is missing: add `-f FILE` for manifests, or `--bundle FILE`",
        ]
    );
    let Ok(Command::Inspect(inspect)) = run("inspect web.bundle --policy p.json --key a.pub -o json") else {
        panic!("not inspect")
    };
    assert_eq!(inspect.source, Source::Bundle(PathBuf::from("web.bundle")));
    assert_eq!(inspect.print, Print::Report(Output::Json));
    let Ok(Command::Inspect(inspect)) =
        run("inspect web.bundle --policy p.json --broker-policy --init /init")
    else {
        panic!("not inspect")
    };
    assert_eq!(inspect.print, Print::BrokerPolicy(Image::Local("/init".into())));
    assert_eq!(
        mistakes("inspect web.bundle --broker-policy"),
        [
            "--broker-policy needs --policy: the broker asks who may say what runs",
            "--broker-policy needs the image: --measurements FILE (as `cargo xtask eif` writes it), or --init PATH for \
             the local back-end",
        ]
    );
    assert_eq!(
        mistakes("inspect web.bundle --measurements pcrs.json"),
        ["--measurements and --init go with --broker-policy"]
    );
    assert_eq!(mistakes("inspect a b"), ["unexpected argument `b`"]);
    assert_eq!(
        mistakes("inspect"),
        ["what to inspect is missing: add the file, or `-f FILE` for manifests"]
    );
}

#[test]
fn commands_are_suggested() {
    assert_eq!(
        mistakes("statsu"),
        ["`statsu` is not a command; did you mean `status`?"]
    );
    assert_eq!(mistakes("frobnicate"), ["`frobnicate` is not a command"]);
    assert_eq!(mistakes(""), ["a command is missing"]);
}

#[test]
fn what_is_behind_a_command_of_exec_is_its_own() {
    let exec = |line: &str| match run(line) {
        Ok(Command::Exec { target, request }) => (target.name, request),
        other => panic!("{other:?}"),
    };
    let (name, request) = exec("exec -i -c web --name pod -- sh -c id -- --name other");
    assert_eq!(name.as_deref(), Some("pod"));
    assert_eq!(request.container.as_deref(), Some("web"));
    assert!(request.stdin);
    assert_eq!(request.command, ["sh", "-c", "id", "--", "--name", "other"]);
    let (name, request) = exec("exec ls -i --name x");
    assert_eq!((name, request.stdin, request.container), (None, false, None));
    assert_eq!(request.command, ["ls", "-i", "--name", "x"]);
    assert_eq!(exec("exec -- -x").1.command, ["-x"]);
    assert_eq!(
        mistakes("exec -i --"),
        ["the command is missing: `host-proxy exec -- COMMAND`"]
    );
    assert!(mistakes("exec -it sh")[0].contains("no terminals"));
}

#[test]
fn help_is_there_for_every_command() {
    for verb in Verb::ALL {
        assert_eq!(
            run(&format!("{} --help", verb.name())),
            Ok(Command::Help(Some(verb)))
        );
        for flag in long_flags(verb).iter().filter(|flag| **flag != "help") {
            let text = crate::cli::help_text(Some(verb));
            assert!(
                text.contains(&format!("--{flag}")) || text.contains("-f FILE") || text.contains("-o "),
                "{flag}"
            );
        }
    }
    assert_eq!(run("help"), Ok(Command::Help(None)));
}

#[test]
fn log_sinks_take_the_place_of_standard_output() {
    use crate::sink::{Format, Target};
    let logs = |line: &str| match run(line) {
        Ok(Command::Up(up)) => up.serving.logs,
        other => panic!("{other:?}"),
    };
    let names = |line: &str| -> Vec<String> { logs(line).sinks.into_iter().map(|spec| spec.name).collect() };
    let plain = logs("up -f a");
    assert_eq!(plain.sinks[0].target, Target::Stdout(Format::Text));
    assert_eq!((plain.spool, plain.spool_bytes), (None, 16 << 20));
    assert_eq!(
        names("up -f a --log-sink file:/x --log-sink file:/y"),
        ["file", "file-2"]
    );
    assert_eq!(
        names("up -f a --log-sink file:/x --log-format json"),
        ["stdout", "file"]
    );
    let spool = logs("up -f a --log-spool /s --log-spool-bytes 1Gi");
    assert_eq!(
        (spool.spool, spool.spool_bytes),
        (Some(PathBuf::from("/s")), 1 << 30)
    );
    assert_eq!(
        mistakes("up -f a --log-sink kafka --log-spool-bytes 5 --log-sink stdout --log-format json"),
        [
            "--log-sink: `kafka` is not a kind of sink; there are stdout, file:DIR, syslog+tcp://HOST:PORT, \
             syslog+tls://HOST:PORT, otlp+http[s]://HOST[:PORT] and loki+http[s]://HOST[:PORT]",
            "--log-spool-bytes: `5` is not a number of bytes from 262144 to 1099511627776, for instance 64Mi",
            "--log-sink: standard output is one sink; give its format once (`--log-sink stdout,format=json`)",
        ]
    );
}
