//! Who may be trusted: keys, and the signatures in plugins that are checked by them.

mod key;
mod signature;

pub use key::{PublicKey, SecretKey};
pub use signature::{SignatureError, said_signers, sign, signers};
