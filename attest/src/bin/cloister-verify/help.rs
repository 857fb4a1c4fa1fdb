//! The help text.

pub(crate) const TEXT: &str = "\
Says whether a Nitro attestation document is genuine and what you expect, and what it proves.

Usage: cloister-verify [OPTIONS] [DOCUMENT]

DOCUMENT is a file with the bytes as the security module gave them, or in base64. None, or -: standard input.

What has to be true. PCR0 or PCR8 is needed, by --measurements or --pcr; a PCR that is given several times may
have any of the values.
      --measurements FILE   the PCRs of an image, as `cargo xtask eif` and `nitro-cli build-enclave` print them
      --pcr N=HEX           a PCR, 96 digits
      --nonce BYTES         the challenge that you gave out, 16 bytes at least
      --user-data BYTES     what the enclave has to have put in
      --public-key BYTES    the key that it has to have put in
      --allow-debug         accept debug mode, for development: the host reads along, and nobody measured
                            the image (PCR0, 1, 2 and 8 are zero then, and are not compared)
BYTES are hexadecimal digits, or @FILE for the content of a file.

By whom, and when:
      --root FILE           trust this root instead of AWS's (PEM or DER); repeatable
      --time TIME           verify at this time: 2026-01-31T12:00:00Z, seconds since 1970, or `document`:
                            the time that the document itself names (default: now)
      --max-age SECONDS     how old the document may be (default: 300)

  -o, --output text|json    how the report is printed (default: text)
      --version             print the version
  -h, --help                print this text

Exit codes:
  0    yes: the document is genuine, and all that you asked for is true
  1    no: the report says why
  64   a flag is wrong, or a file cannot be read
";
