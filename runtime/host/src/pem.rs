//! Certificates and private keys, from PEM files.

use std::path::Path;

use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;

use crate::files;

/// A chain has a few KiB, and all authorities of a system have a quarter of this.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The certificates of a file in their order; one at least.
///
/// # Errors
/// What is wrong, with the file's name: it cannot be read, has none, or one that is broken.
pub(crate) fn certificates(file: &Path) -> Result<Vec<X509>, String> {
    let found = X509::stack_from_pem(&read(file)?)
        .map_err(|error| format!("{}: a certificate in it is broken: {}", file.display(), reason(&error)))?;
    if found.is_empty() {
        return Err(format!("{}: there is no certificate in it; expected PEM", file.display()));
    }
    Ok(found)
}

/// The private key of a file, in any of the forms that PEM has for it.
///
/// # Errors
/// What is wrong, with the file's name: it cannot be read, has none, or one that needs a passphrase.
pub(crate) fn private_key(file: &Path) -> Result<PKey<Private>, String> {
    // With an empty passphrase, as OpenSSL would otherwise ask whoever sits at the terminal for one.
    PKey::private_key_from_pem_passphrase(&read(file)?, b"").map_err(|error| {
        let reason = reason(&error);
        format!("{}: expected a private key in PEM, without a passphrase ({reason})", file.display())
    })
}

/// What OpenSSL says, without its own places.
pub(crate) fn reason(error: &ErrorStack) -> String {
    let said = error.errors().iter().rev().find_map(|error| error.reason());
    said.map_or_else(|| error.to_string(), str::to_owned)
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    files::read(file, FILE_BYTES_MAX).map_err(|error| format!("cannot read {}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use openssl::ec::{EcGroup, EcKey};
    use openssl::nid::Nid;
    use openssl::symm::Cipher;

    use super::*;

    #[test]
    fn keys_are_read_in_every_form_but_none_that_is_locked() {
        let folder = tempfile::tempdir().unwrap();
        let read = |pem: &[u8]| {
            let file = folder.path().join("tls.key");
            std::fs::write(&file, pem).unwrap();
            private_key(&file)
        };
        let ec = EcKey::generate(&EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap()).unwrap();
        let key = PKey::from_ec_key(ec.clone()).unwrap();
        for pem in [key.private_key_to_pem_pkcs8().unwrap(), ec.private_key_to_pem().unwrap()] {
            assert!(read(&pem).unwrap().public_eq(&key));
        }
        let locked = key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"swordfish").unwrap();
        for pem in [locked, b"nothing".to_vec(), key.public_key_to_pem().unwrap()] {
            let error = read(&pem).unwrap_err();
            assert!(error.contains("tls.key: expected a private key in PEM, without a passphrase"), "{error}");
        }
    }

    #[test]
    fn what_is_no_certificate_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tls.crt");
        let error = || certificates(&file).unwrap_err();
        assert!(error().contains("cannot read") && error().contains("No such file"), "{}", error());
        std::fs::write(&file, "nothing").unwrap();
        assert!(error().contains("tls.crt: there is no certificate in it"), "{}", error());
        std::fs::write(&file, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        assert!(error().contains("tls.crt: a certificate in it is broken"), "{}", error());
    }
}
