//! Who may be trusted: keys, and the signatures in plugins that are checked by them.

mod cosign;
mod key;
mod signature;

pub use cosign::{Seal, Signature};
pub use key::{PublicKey, SecretKey};
pub use signature::{SignatureError, said_signers, sign, signers};
