//! Faults from the outside, on the local back-end, where the enclave's processes are in view: containers that end in
//! every way, that stop, that take all they can, and hands that kill at random. What the status says meanwhile is
//! recorded and checked against the rules of the model that the supervisor is compared with (`init/tests/histories`).

mod bombs;
mod busy;
mod crowd;
mod ends;
mod floods;
mod kills;
mod orphans;
mod probes;
mod restarts;
mod stuck;
