//! What a document proves, for people and for programs.

use std::fmt::Write as _;

use attest::UnixTime;
use attest::document::{Proof, Refusal};
use attest::hex::Hex;
use attest::statement::Statement;
use serde_json::{Map, Value, json};

use crate::arguments::{Output, Request, When};

/// Most bytes of a field that are shown to people.
const SHOWN: usize = 64;

pub(crate) struct Report<'a> {
    pub(crate) request: &'a Request,
    /// The time of the verification.
    pub(crate) now: UnixTime,
    pub(crate) verdict: Result<Proof, Refusal>,
}

/// What an application of Cloister had attested, if this is such a document.
fn statement(proof: &Proof) -> Option<Statement> {
    Statement::parse(proof.user_data.as_deref()?).ok()
}

impl Report<'_> {
    pub(crate) fn print(&self, output: Output) -> String {
        match (output, &self.verdict) {
            (Output::Text, Ok(proof)) => self.text(proof),
            (Output::Text, Err(refusal)) => format!("NO: {refusal}\n"),
            (Output::Json, Ok(proof)) => format!("{:#}\n", self.json(proof)),
            (Output::Json, Err(refusal)) => format!("{:#}\n", self.refused(refusal)),
        }
    }

    fn text(&self, proof: &Proof) -> String {
        let mut text = String::from("YES: the document is genuine, and all that was asked for is true\n\n");
        let mut line = |name: &str, value: String| {
            // Writing to a text does not fail.
            let _ = writeln!(text, "{name:<13}{value}");
        };
        line("enclave", proof.module_id.clone());
        line("made", proof.time.to_string());
        line("verified at", self.now.to_string());
        let (first, last) = proof.window();
        line("valid", format!("{first} to {last}"));
        line("root", format!("SHA-256 {}", Hex(&proof.root)));
        for (index, certificate) in proof.chain.iter().enumerate() {
            let name = if index == 0 { "certificates" } else { "" };
            // From a trusted root, and still no reason to let it write to a terminal.
            line(name, certificate.subject.escape_debug().to_string());
        }
        for (index, value) in &proof.pcrs {
            let compared = self.compared(proof, *index);
            if *value != [0; 48] || compared {
                let remark = if compared { "as expected" } else { "not compared" };
                line(&format!("PCR{index}"), format!("{}  {remark}", Hex(value)));
            }
        }
        line(
            "other PCRs",
            format!("zero, or not locked; {} are locked", proof.pcrs.len()),
        );
        for (name, wanted, found) in self.fields(proof) {
            let value = match found {
                None => "none".to_owned(),
                Some([]) => "empty".to_owned(),
                Some(bytes) => {
                    let (shown, rest) = bytes.split_at_checked(SHOWN).unwrap_or((bytes, &[]));
                    let more = if rest.is_empty() { "" } else { "…" };
                    format!("{}{more} ({} bytes)", Hex(shown), bytes.len())
                }
            };
            let remark = if wanted { "as expected" } else { "not compared" };
            line(name, format!("{value}  {remark}"));
        }
        if let Some(statement) = statement(proof) {
            line("application", statement.application.as_str().to_owned());
            line("generation", statement.generation.to_string());
            line("bundle", format!("sha384:{}", Hex(&statement.bundle)));
            line("history", Hex(&statement.history).to_string());
            line("subject", statement.subject);
            line(
                "data",
                format!("{} (only the subject vouches for it)", Hex(&statement.data)),
            );
        }
        for warning in self.warnings(proof) {
            line("warning", warning);
        }
        text
    }

    fn json(&self, proof: &Proof) -> Value {
        let hex = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| Hex(bytes).to_string());
        let pcrs: Map<String, Value> = proof
            .pcrs
            .iter()
            .map(|(index, value)| (format!("PCR{index}"), Hex(value).to_string().into()))
            .collect();
        let certificates: Vec<_> = proof
            .chain
            .iter()
            .map(|certificate| {
                json!({
                    "subject": certificate.subject,
                    "notBefore": certificate.not_before.to_string(),
                    "notAfter": certificate.not_after.to_string(),
                })
            })
            .collect();
        let compared = proof.pcrs.keys().filter(|index| self.compared(proof, **index));
        let compared: Vec<String> = compared
            .map(|index| format!("PCR{index}"))
            .chain(
                [
                    ("nonce", &self.request.nonce),
                    ("userData", &self.request.user_data),
                    ("publicKey", &self.request.public_key),
                ]
                .into_iter()
                .filter(|(_, wanted)| wanted.is_some())
                .map(|(name, _)| name.to_owned()),
            )
            .collect();
        json!({
            "verified": true,
            "verifiedAt": self.now.to_string(),
            "moduleId": proof.module_id,
            "time": proof.time.to_string(),
            "timestamp": proof.time.milliseconds(),
            "debug": proof.debug,
            "pcrs": pcrs,
            "nonce": hex(&proof.nonce),
            "userData": hex(&proof.user_data),
            "publicKey": hex(&proof.public_key),
            "statement": statement(proof).map(|statement| json!({
                "application": statement.application.as_str(),
                "generation": statement.generation,
                "bundle": format!("sha384:{}", Hex(&statement.bundle)),
                "history": Hex(&statement.history).to_string(),
                "subject": statement.subject,
                "data": Hex(&statement.data).to_string(),
            })),
            "compared": compared,
            "root": Hex(&proof.root).to_string(),
            "certificates": certificates,
            "warnings": self.warnings(proof),
        })
    }

    fn refused(&self, refusal: &Refusal) -> Value {
        let check = match refusal {
            Refusal::Envelope(_) => "envelope",
            Refusal::Payload(_) => "payload",
            Refusal::Chain(_) => "chain",
            Refusal::Signature => "signature",
            Refusal::Policy(_) => "policy",
        };
        json!({
            "verified": false,
            "verifiedAt": self.now.to_string(),
            "check": check,
            "reason": refusal.to_string(),
        })
    }

    /// Whether the policy looked at this register. In debug mode it does not look at the image's.
    fn compared(&self, proof: &Proof, index: u8) -> bool {
        self.request.compared.contains(&index) && !(proof.debug && matches!(index, 0..=2 | 8))
    }

    /// Name, whether it was compared, and its content.
    fn fields<'p>(&self, proof: &'p Proof) -> [(&'static str, bool, Option<&'p [u8]>); 3] {
        [
            ("nonce", self.request.nonce.is_some(), proof.nonce.as_deref()),
            (
                "user data",
                self.request.user_data.is_some(),
                proof.user_data.as_deref(),
            ),
            (
                "public key",
                self.request.public_key.is_some(),
                proof.public_key.as_deref(),
            ),
        ]
    }

    fn warnings(&self, proof: &Proof) -> Vec<String> {
        let mut warnings = Vec::new();
        if proof.debug {
            warnings.push(
                "debug mode: the host reads along, and the image was not measured; this proves nothing about \
                 what runs"
                    .to_owned(),
            );
        }
        if matches!(self.request.when, When::Document) {
            warnings.push(
                "verified at the document's own time: it says nothing about now, and nothing about when it was \
                 received"
                    .to_owned(),
            );
        } else if self.request.nonce.is_none() {
            warnings.push(format!(
                "no nonce was compared: this may be the answer to somebody else's challenge, up to {} s old",
                self.request.max_age.as_secs()
            ));
        }
        warnings
    }
}
