//! Help texts.

use crate::arguments::Verb;

/// The help of a command, or of the program.
pub(crate) fn text(verb: Option<Verb>) -> &'static str {
    match verb {
        None => PROGRAM,
        Some(Verb::Serve) => SERVE,
        Some(Verb::Check) => CHECK,
        Some(Verb::PublicKey) => PUBLIC_KEY,
    }
}

const PROGRAM: &str = "\
cloister-broker gives secrets to enclaves that prove what they are, and to nobody else.

Usage: cloister-broker COMMAND [OPTIONS]

Commands:
  serve       answer enclaves
  check       check a policy file, and say what it means
  public-key  print the public key that enclaves have to know
  version     print the version
  help        print this text, or `cloister-broker help COMMAND`

Exit codes:
  0    done; serve: ended by SIGTERM or SIGINT
  64   a flag or an argument is wrong
  65   the policy file is wrong, or the state is damaged
  66   a file cannot be read, or is not what it should be
  71   this machine refused something that the broker cannot do without
  73   an address or the state directory is in use
";

const SERVE: &str = "\
Answer enclaves until SIGTERM. The audit log goes to standard output, one JSON object on each line.

Usage: cloister-broker serve --policy FILE --secrets DIR --state DIR --key FILE --listen ADDRESS [OPTIONS]

Options:
      --policy FILE            who gets what (JSON)
      --secrets DIR            one file for each secret, named like it; read again for every request
      --state DIR              where the highest generations are remembered; keep it, and back it up
      --key FILE               the broker's private key (PEM, `openssl genpkey -algorithm ed25519`)
      --listen IP:PORT         where enclaves ask for secrets
      --http-address IP:PORT   health and metrics: /livez /readyz /metrics (default: 127.0.0.1:9090; `none`: off)
      --root FILE              trust this root instead of AWS's, in rules without `roots` (PEM or DER);
                               repeatable
      --rate N                 requests for each second and peer, four times as many at once (default: 10).
                               Behind a proxy all enclaves are one peer
  -h, --help                   print this text
";

const CHECK: &str = "\
Check a policy file, and say what it means.

Usage: cloister-broker check --policy FILE [--root FILE]... [--secrets DIR]

Options:
      --policy FILE            who gets what (JSON)
      --root FILE              as for `serve`
      --secrets DIR            say which secrets of the policy are missing there
  -h, --help                   print this text

Exit codes: 0; 64 a flag is wrong; 65 the policy file is wrong; 66 a file cannot be read, or a secret is missing.
";

const PUBLIC_KEY: &str = "\
Print the public key (PEM) that enclaves have to know, so that they take secrets from this broker only.

Usage: cloister-broker public-key --key FILE
";
