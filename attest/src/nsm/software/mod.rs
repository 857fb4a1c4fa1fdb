//! A security module without hardware, for development and tests: the rules and the bytes of the real one, and documents of
//! the real shape under a root that is made with it and that nobody trusts who was not handed it. It proves nothing.
//!
//! The feature `software` has to be asked for. The image of an enclave is built without it.

mod codec;
mod pcr;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::measure::extended;
use super::message::{Description, ErrorCode, PCR_BYTES, PcrValue, Request, Response};
use super::{MAX_PUBLIC_KEY, MAX_RESPONSE, SecurityModule};
use crate::base64;
use crate::document::issue::{Authority, Draft, IssueError, Signer};
use crate::hex::Hex;
use crate::random::random_bytes;
use crate::time::UnixTime;
pub(super) use codec::{read_request, write_answer};
use pcr::{COUNT, Pcrs};

/// Random bytes of one answer, as on Nitro.
const RANDOM: usize = 256;
/// Most bytes of each field of a document. The real module takes as much in `user_data` and `nonce`, too, though verifiers
/// accept half of it; [`super::Nsm::attest`] is what keeps to that.
const MAX_FIELD: usize = MAX_PUBLIC_KEY;
/// A signer is replaced when it is valid for less than this. On Nitro, leaves were up to 100 minutes old when used.
const RENEW: Duration = Duration::from_secs(3600);

/// Bytes of a line of PEM, which has 64 characters (RFC 7468 section 2).
const PEM_LINE: usize = 48;

const ZERO: PcrValue = [0; PCR_BYTES];

/// What the platform measures before the enclave starts.
#[derive(Debug, Clone)]
pub struct Platform {
    /// PCR0, 1 and 2: the image. Zeros are an enclave in debug mode.
    pub image: [PcrValue; 3],
    /// PCR3: the parent's role; zeros when it has none.
    pub role: PcrValue,
    /// PCR8: the certificate that signed the image; zeros when none did.
    pub signer: PcrValue,
    /// What time it is. Documents say so, and certificates are issued by it.
    pub clock: fn() -> UnixTime,
}

impl Platform {
    /// An image without a signer, on a parent without a role, now.
    pub fn of_image(image: [PcrValue; 3]) -> Self {
        Self {
            image,
            role: ZERO,
            signer: ZERO,
            clock: now,
        }
    }

    /// An enclave in debug mode: its image is not measured.
    pub fn debug() -> Self {
        Self::of_image([ZERO; 3])
    }
}

fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    UnixTime::from_seconds(0).plus(since.unwrap_or_default())
}

/// A module with its own root.
#[derive(Debug)]
pub struct SoftwareModule {
    module_id: String,
    authority: Authority,
    clock: fn() -> UnixTime,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    pcrs: Pcrs,
    signer: Signer,
}

impl SoftwareModule {
    /// Boots a module with a new identity and a new root.
    ///
    /// # Errors
    ///
    /// The kernel gave no random bytes.
    pub fn boot(platform: &Platform) -> Result<Self, IssueError> {
        Self::boot_under(Authority::new((platform.clock)())?, platform)
    }

    /// As [`SoftwareModule::boot`], under a root that was made before, so that a verifier can know it.
    ///
    /// # Errors
    ///
    /// The kernel gave no random bytes.
    pub fn boot_under(authority: Authority, platform: &Platform) -> Result<Self, IssueError> {
        // The shape of real ones: seventeen digits of the instance, sixteen of the enclave.
        let (instance, enclave) = (random_bytes::<9>()?, random_bytes::<8>()?);
        let instance = Hex(&instance).to_string();
        let instance = format!("i-{}", instance.get(1..).unwrap_or_default());
        let module_id = format!("{instance}-enc{}", Hex(&enclave));
        let [pcr0, pcr1, pcr2] = platform.image;
        let pcrs = Pcrs::boot(&[
            (0, pcr0),
            (1, pcr1),
            (2, pcr2),
            (3, platform.role),
            (4, extended(&ZERO, instance.as_bytes())),
            (8, platform.signer),
        ]);
        let signer = authority.signer(&module_id, (platform.clock)())?;
        Ok(Self {
            module_id,
            authority,
            clock: platform.clock,
            state: Mutex::new(State { pcrs, signer }),
        })
    }

    /// The root's certificate in PEM (RFC 7468): what a verifier has to be given.
    pub fn root_pem(&self) -> String {
        let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
        for bytes in self.authority.root().chunks(PEM_LINE) {
            pem.push_str(&base64::encode(bytes));
            pem.push('\n');
        }
        pem + "-----END CERTIFICATE-----\n"
    }

    /// The root, to keep it: the next module under it is accepted by the same verifiers.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Instance and enclave.
    pub fn module_id(&self) -> &str {
        &self.module_id
    }

    fn answer(&self, request: &Request<'_>) -> Result<Response, ErrorCode> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let pcrs = &mut state.pcrs;
        Ok(match *request {
            Request::DescribeNsm => Response::DescribeNsm(Description {
                version: [1, 0, 0],
                module_id: self.module_id.clone(),
                max_pcrs: COUNT.into(),
                locked_pcrs: pcrs.locked().map(|(index, _)| index.into()).collect(),
                digest: "SHA384".to_owned(),
            }),
            Request::DescribePcr { index } => Response::DescribePcr(pcrs.describe(index)?.clone()),
            Request::ExtendPcr { index, data } => Response::ExtendPcr(pcrs.extend(index, data)?),
            Request::LockPcr { index } => {
                pcrs.lock(index)?;
                Response::LockPcr
            }
            Request::LockPcrs { range } => {
                pcrs.lock_below(range)?;
                Response::LockPcrs
            }
            Request::Attestation {
                user_data,
                nonce,
                public_key,
            } => {
                let fields = [user_data, nonce, public_key];
                if fields.into_iter().flatten().any(|field| field.len() > MAX_FIELD) {
                    return Err(ErrorCode::InputTooLarge);
                }
                let document = self.document(&mut state, fields);
                Response::Attestation(document.map_err(|_| ErrorCode::InternalError)?)
            }
            Request::GetRandom => {
                let random = random_bytes::<RANDOM>().map_err(|_| ErrorCode::InternalError)?;
                Response::GetRandom(random.to_vec())
            }
        })
    }

    fn document(&self, state: &mut State, fields: [Option<&[u8]>; 3]) -> Result<Vec<u8>, IssueError> {
        let time = (self.clock)();
        if state.signer.not_after().since(time) < RENEW {
            state.signer = self.authority.signer(&self.module_id, time)?;
        }
        let locked = state.pcrs.locked();
        let pcrs: BTreeMap<u8, PcrValue> = locked
            .filter_map(|(index, value)| Some((u8::try_from(index).ok()?, *value)))
            .collect();
        let [user_data, nonce, public_key] = fields;
        state.signer.document(&Draft {
            time,
            pcrs: &pcrs,
            public_key,
            user_data,
            nonce,
        })
    }
}

impl SecurityModule for SoftwareModule {
    fn exchange(&self, request: &[u8]) -> io::Result<Vec<u8>> {
        let answer = write_answer(&read_request(request).and_then(|request| self.answer(&request)));
        if answer.len() > MAX_RESPONSE {
            return Ok(write_answer(&Err(ErrorCode::BufferTooSmall)));
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests;
