//! Signatures as the WebAssembly tools make them: Ed25519 over the SHA-256 of all that follows the file's first section,
//! which holds the signature (<https://github.com/wasm-signatures/design>). A signed plugin is one file, wherever it goes.
//!
//! The format also signs files in parts, each with what comes before it. The last parts can then be cut off, and what is left is
//! still signed: such signatures are refused.

use std::collections::HashSet;

use sluicegate_wasm::Artifact;
use wasmsign2::{Module, PublicKeySet, WSError};

use super::cosign::Seal;
use super::key::{PublicKey, SecretKey};

/// Why a plugin is not signed by anybody who is trusted. The message says what is wrong; the caller adds the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is no signature.
    #[error("it is not signed")]
    Unsigned,
    /// There are signatures, by others.
    #[error("it is signed by key {0}, which is none of those that are trusted")]
    Stranger(String),
    /// A trusted key signed something else.
    #[error("the signature by key {0} is of other bytes: the plugin was changed after it was signed")]
    Changed(String),
    /// There are signatures beside it, by others.
    #[error("the signatures beside it in its registry are by none of the keys that are trusted")]
    Others,
    /// A trusted key's signature beside it is of something else.
    #[error("the signature by key {0} beside it in its registry is of another artifact")]
    Misplaced(String),
    /// The signature cannot be read, or the file is no component.
    #[error("{0}")]
    Malformed(String),
}

/// The keys that signed the plugin, in its file or beside it; at least one.
///
/// # Errors
/// None of them did.
pub fn signers<'k>(
    plugin: &[u8],
    seal: Option<&Seal>,
    keys: &'k [PublicKey],
) -> Result<Vec<&'k PublicKey>, SignatureError> {
    match (signers_within(plugin, keys), seal.map(|seal| seal.signers(keys))) {
        (Ok(within), Some(Ok(beside))) => {
            Ok(keys.iter().filter(|key| within.contains(key) || beside.contains(key)).collect())
        }
        (Ok(signers), _) | (Err(_), Some(Ok(signers))) => Ok(signers),
        (Err(SignatureError::Unsigned), Some(Err(error))) => Err(error),
        (Err(error), _) => Err(error),
    }
}

/// Those of the keys that signed the plugin in its file.
fn signers_within<'k>(plugin: &[u8], keys: &'k [PublicKey]) -> Result<Vec<&'k PublicKey>, SignatureError> {
    let section = signature(plugin)?;
    let set = PublicKeySet::new(keys.iter().filter_map(|key| key.within().cloned()).collect());
    let signers = match set.verify(&mut &plugin[..], None) {
        Ok(signers) => signers,
        Err(WSError::VerificationFailed) => return Err(blame(&section, keys)),
        Err(error) => return Err(malformed(&error)),
    };
    Ok(keys.iter().filter(|key| key.within().is_some_and(|key| signers.contains(key))).collect())
}

/// The ids of the keys by which a plugin says it is signed. Nothing is verified.
///
/// # Errors
/// There is no signature, or none that can be read.
pub fn said_signers(plugin: &[u8]) -> Result<Vec<String>, SignatureError> {
    let section = signature(plugin)?;
    Ok(ids(&section))
}

/// The plugin with a signature, in place of any that it had.
///
/// # Errors
/// The file is no plugin.
pub fn sign(plugin: &[u8], key: &SecretKey) -> Result<Vec<u8>, SignatureError> {
    Artifact::read(plugin).map_err(|error| SignatureError::Malformed(error.to_string()))?;
    let module = Module::deserialize(&mut &plugin[..]).map_err(|error| malformed(&error))?;
    let signed = key
        .0
        .sign(module, key.public().within().and_then(|key| key.key_id.as_ref()))
        .map_err(|error| malformed(&error))?;
    let mut bytes = Vec::with_capacity(plugin.len() + 256);
    signed.serialize(&mut bytes).map_err(|error| malformed(&error))?;
    Ok(bytes)
}

/// The content of the section that holds the signature.
fn signature(plugin: &[u8]) -> Result<Vec<u8>, SignatureError> {
    // From here on lengths in the file are no longer than the file.
    let artifact = Artifact::read(plugin).map_err(|error| SignatureError::Malformed(error.to_string()))?;
    let section = artifact.signature.ok_or(SignatureError::Unsigned)?;
    match is_sound(&section) {
        true => Ok(section),
        false => Err(malformed(&WSError::ParseError)),
    }
}

fn malformed(error: &WSError) -> SignatureError {
    SignatureError::Malformed(format!("its signature cannot be read: {error}"))
}

fn ids(section: &[u8]) -> Vec<String> {
    let info = wasmsign2::signature_info_from_detached(section);
    info.map(|info| info.key_ids().iter().map(hex::encode).collect()).unwrap_or_default()
}

fn blame(section: &[u8], keys: &[PublicKey]) -> SignatureError {
    let (said, ours): (Vec<String>, HashSet<String>) = (ids(section), keys.iter().map(PublicKey::to_string).collect());
    match said.iter().find(|id| ours.contains(*id)) {
        Some(id) => SignatureError::Changed(id.clone()),
        None if said.is_empty() => SignatureError::Stranger("without a name".into()),
        None => SignatureError::Stranger(said.join(", ")),
    }
}

/// Whether each signature is of one hash, that of the whole, and no length exceeds the bytes that follow: wasmsign2 allocates
/// what a length says before it looks.
fn is_sound(section: &[u8]) -> bool {
    fn number(rest: &mut &[u8]) -> Option<usize> {
        let mut value = 0u64;
        for shift in [0, 7, 14, 21, 28] {
            let (byte, after) = rest.split_first()?;
            *rest = after;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return usize::try_from(value).ok();
            }
        }
        None
    }
    fn slice<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
        let length = number(rest)?;
        let (slice, after) = rest.split_at_checked(length)?;
        *rest = after;
        Some(slice)
    }
    let signature = |mut rest: &[u8]| {
        slice(&mut rest)?; // The key's id.
        rest = rest.get(1..)?; // The algorithm.
        slice(&mut rest).map(drop)
    };
    let signed_hashes = |mut rest: &[u8]| {
        rest = rest.strip_prefix(&[1])?.get(32..)?;
        (0..number(&mut rest)?).try_for_each(|_| signature(slice(&mut rest)?))
    };
    let all = |mut rest: &[u8]| {
        rest = rest.get(3..)?; // The version, the type of content, the hash.
        (0..number(&mut rest)?).try_for_each(|_| signed_hashes(slice(&mut rest)?))
    };
    all(section).is_some()
}

#[cfg(test)]
mod tests {
    use wasmsign2::Section;

    use super::*;

    fn plugin() -> Vec<u8> {
        let exports =
            ["lifecycle", "transform"].map(|name| format!("(export \"sluicegate:plugin/{name}@0.1.0\" (instance $i))"));
        wat::parse_str(format!("(component (instance $i) {})", exports.concat())).unwrap()
    }

    #[test]
    fn a_signed_component_is_a_plugin_and_has_its_signer() {
        let (key, other) = (SecretKey::generate(), SecretKey::generate());
        let signed = sign(&plugin(), &key).unwrap();
        let keys = [other.public(), key.public()];
        assert_eq!(signers(&signed, None, &keys), Ok(vec![&keys[1]]));
        assert_eq!(said_signers(&signed), Ok(vec![key.public().to_string()]));
        // Signed again, by another: one signature.
        let again = sign(&signed, &other).unwrap();
        assert_eq!((signers(&again, None, &keys), again.len()), (Ok(vec![&keys[0]]), signed.len()));
    }

    #[test]
    fn each_way_not_to_be_signed_is_told_apart() {
        let (key, other) = (SecretKey::generate(), SecretKey::generate());
        let keys = [key.public()];
        assert_eq!(signers(&plugin(), None, &keys), Err(SignatureError::Unsigned));
        let strange = sign(&plugin(), &other).unwrap();
        assert_eq!(signers(&strange, None, &keys), Err(SignatureError::Stranger(other.public().to_string())));
        let mut longer = sign(&plugin(), &key).unwrap();
        longer.extend_from_slice(&[0, 2, 1, b'x']); // A custom section.
        assert_eq!(signers(&longer, None, &keys), Err(SignatureError::Changed(key.public().to_string())));
        assert!(matches!(signers(b"\0asm", None, &keys), Err(SignatureError::Malformed(_))));
        assert!(matches!(sign(b"x", &key), Err(SignatureError::Malformed(_))));
    }

    #[test]
    fn no_flipped_bit_of_a_signed_plugin_verifies_as_something_else() {
        let key = SecretKey::generate();
        let (signed, keys) = (sign(&plugin(), &key).unwrap(), [key.public()]);
        for bit in 0..signed.len() * 8 {
            let mut flipped = signed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // What the signature says of its key is not signed; what the plugin is, is.
            let verified = signers(&flipped, None, &keys).is_ok();
            assert!(!verified || flipped.ends_with(&plugin()[8..]), "bit {bit}");
        }
    }

    #[test]
    fn what_is_signed_in_parts_is_refused_as_one_can_be_cut_off() {
        let key = SecretKey::generate();
        let mut longer = plugin();
        longer.extend_from_slice(&[0, 2, 1, b'x']); // A custom section.
        let module = Module::deserialize(&mut &longer[..]).unwrap();
        let parts = module.split(|section| !matches!(section, Section::Custom(_))).unwrap();
        let (mut signed, _) = key.0.sign_multi(parts, None, false, false).unwrap();
        // The custom section and the delimiter after it.
        for cut in [0, 2] {
            signed.sections.truncate(signed.sections.len() - cut);
            let mut bytes = Vec::new();
            signed.serialize(&mut bytes).unwrap();
            assert!(matches!(signers(&bytes, None, &[key.public()]), Err(SignatureError::Malformed(_))), "{cut}");
        }
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        let whole = [1, 1, 1, 1, 40, 1].into_iter().chain([7; 32]).chain([1, 4, 1, 9, 1, 1, 8]);
        let whole: Vec<u8> = whole.collect();
        assert!(!is_sound(&whole), "a slice that is longer than its parts");
        for lying in
            [&[1, 1, 1, 1, 0xff, 0xff, 0xff, 0xff, 0x0f][..], &[1, 1, 1, 0xff, 0xff, 0xff, 0xff, 0xff], &[1, 1]]
        {
            assert!(!is_sound(lying));
        }
    }
}
