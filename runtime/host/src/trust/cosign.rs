//! Signatures that lie beside an artifact in its registry, as `cosign sign --key` leaves them there. What is signed is a
//! message with the digest of the artifact's manifest, which in turn has the digest of the plugin. They are checked by the
//! key alone, without a network: what cosign may have written into a transparency log is not looked at.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sigstore_types::{Bundle, PayloadBytes, SignatureBytes, SignatureContent, Statement};

use super::key::PublicKey;
use super::signature::SignatureError;
use crate::config::Digest;

/// The type of a message of the older form (cosign's SIGNATURE_SPEC.md).
const SIMPLE_TYPE: &str = "cosign container image signature";
/// The type of a statement that is a signature. Others are about the artifact's parts, tests or origin.
const SIGNED: &str = "https://sigstore.dev/cosign/sign/v1";
const STATEMENT: &str = "application/vnd.in-toto+json";

/// The signatures beside an artifact. None of them has been checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Seal {
    /// The digest of the artifact's manifest.
    pub manifest: Digest,
    /// The signatures.
    pub signatures: Vec<Signature>,
}

/// One signature, and what it signs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Signature {
    /// Signed together with the payload in the newer form; the older one has none.
    payload_type: Option<String>,
    payload: PayloadBytes,
    signature: SignatureBytes,
}

impl Signature {
    /// Of the older form: a message, and its signature in base64. None if that is no base64.
    pub fn of_message(payload: Vec<u8>, signature: &str) -> Option<Self> {
        let signature = STANDARD.decode(signature).ok()?.into();
        Some(Signature { payload_type: None, payload: payload.into(), signature })
    }

    /// Of the newer form: a Sigstore bundle, in JSON. None if it cannot be read, or has no statement.
    pub fn of_bundle(json: &[u8]) -> Option<Self> {
        let bundle: Bundle = serde_json::from_slice(json).ok()?;
        let SignatureContent::DsseEnvelope(envelope) = bundle.content else { return None };
        let (payload_type, signature) = (Some(envelope.payload_type), envelope.signature.sig);
        Some(Signature { payload_type, payload: envelope.payload, signature })
    }

    /// The digests of the manifests that the message is about. None if it is no message of a signature.
    fn manifests(&self) -> Option<Vec<Digest>> {
        let payload = self.payload.as_bytes();
        match self.payload_type.as_deref() {
            None => {
                let Simple { critical } = serde_json::from_slice(payload).ok()?;
                (critical.kind == SIMPLE_TYPE).then(|| Digest::parse(&critical.image.digest).into_iter().collect())
            }
            Some(STATEMENT) => {
                let statement: Statement = serde_json::from_slice(payload).ok()?;
                let digests = statement.subject.iter().filter_map(|subject| subject.digest.sha256.as_ref());
                let digests = digests.filter_map(|digest| Digest::parse(&format!("sha256:{}", digest.to_hex())));
                (statement.predicate_type == SIGNED).then(|| digests.collect())
            }
            Some(_) => None,
        }
    }

    fn is_by(&self, key: &PublicKey) -> bool {
        let signed = match &self.payload_type {
            None => Cow::Borrowed(self.payload.as_bytes()),
            Some(payload_type) => Cow::Owned(sigstore_types::pae(payload_type, self.payload.as_bytes())),
        };
        key.verifies(&signed, self.signature.as_bytes())
    }
}

impl Seal {
    /// The keys that signed the manifest, at least one.
    ///
    /// # Errors
    /// None of them did.
    pub fn signers<'k>(&self, keys: &'k [PublicKey]) -> Result<Vec<&'k PublicKey>, SignatureError> {
        let (mut of_this, mut of_others) = (Vec::new(), Vec::new());
        for signature in &self.signatures {
            match signature.manifests() {
                Some(manifests) if manifests.contains(&self.manifest) => of_this.push(signature),
                Some(_) => of_others.push(signature),
                None => {}
            }
        }
        let by = |signatures: &[&Signature], key: &PublicKey| signatures.iter().any(|signature| signature.is_by(key));
        let signers: Vec<_> = keys.iter().filter(|key| by(&of_this, key)).collect();
        match keys.iter().find(|key| by(&of_others, key)) {
            _ if !signers.is_empty() => Ok(signers),
            Some(key) => Err(SignatureError::Misplaced(key.to_string())),
            None if of_this.is_empty() => Err(SignatureError::Unsigned),
            None => Err(SignatureError::Others),
        }
    }
}

/// A message of the older form, as far as it matters.
#[derive(Deserialize)]
struct Simple {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    #[serde(rename = "type")]
    kind: String,
    image: Image,
}

#[derive(Deserialize)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

#[cfg(test)]
mod tests {
    use openssl::ec::{EcGroup, EcKey};
    use openssl::hash::MessageDigest;
    use openssl::nid::Nid;
    use openssl::pkey::{PKey, Private};
    use openssl::sign::Signer;
    use serde_json::json;

    use super::*;

    struct Key(PKey<Private>);

    impl Key {
        fn new() -> Self {
            let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
            Key(PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap())
        }

        fn public(&self) -> PublicKey {
            String::from_utf8(self.0.public_key_to_pem().unwrap()).unwrap().parse().unwrap()
        }

        fn sign(&self, message: &[u8]) -> String {
            let mut signer = Signer::new(MessageDigest::sha256(), &self.0).unwrap();
            STANDARD.encode(signer.sign_oneshot_to_vec(message).unwrap())
        }

        fn message(&self, kind: &str, manifest: &Digest) -> Signature {
            let critical = json!({ "type": kind, "image": { "docker-manifest-digest": manifest.to_string() } });
            let message = json!({ "critical": critical, "optional": null }).to_string().into_bytes();
            let signature = self.sign(&message);
            Signature::of_message(message, &signature).unwrap()
        }

        fn bundle(&self, kind: &str, manifest: &Digest) -> Signature {
            let subject = json!([{ "digest": { "sha256": manifest.hex() } }]);
            let statement =
                json!({ "_type": "https://in-toto.io/Statement/v1", "subject": subject, "predicateType": kind });
            let statement = statement.to_string();
            let signature = self.sign(&sigstore_types::pae(STATEMENT, statement.as_bytes()));
            let envelope = json!({
                "payload": STANDARD.encode(&statement),
                "payloadType": STATEMENT,
                "signatures": [{ "sig": signature }]
            });
            let bundle = json!({
                "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
                "verificationMaterial": { "publicKey": { "hint": "" } },
                "dsseEnvelope": envelope
            });
            Signature::of_bundle(bundle.to_string().as_bytes()).unwrap()
        }
    }

    fn signers(signature: Signature, manifest: &Digest, keys: &[PublicKey]) -> Result<usize, SignatureError> {
        let seal = Seal { manifest: manifest.clone(), signatures: vec![signature] };
        seal.signers(keys).map(|signers| signers.len())
    }

    #[test]
    fn each_form_is_verified_by_its_key_and_for_its_manifest() {
        let (key, other, manifest) = (Key::new(), Key::new(), Digest::of(b"manifest"));
        let (keys, elsewhere) = ([other.public(), key.public()], Digest::of(b"another"));
        let forms: [fn(&Key, &Digest) -> Signature; 2] =
            [|key, of| key.message(SIMPLE_TYPE, of), |key, of| key.bundle(SIGNED, of)];
        for form in forms {
            let signature = form(&key, &manifest);
            assert_eq!(signers(signature.clone(), &manifest, &keys), Ok(1));
            assert_eq!(signers(signature.clone(), &manifest, &keys[..1]), Err(SignatureError::Others));
            let misplaced = SignatureError::Misplaced(key.public().to_string());
            assert_eq!(signers(signature.clone(), &elsewhere, &keys), Err(misplaced));
            for bit in 0..signature.payload.as_bytes().len() * 8 {
                let mut payload = signature.payload.as_bytes().to_vec();
                payload[bit / 8] ^= 1 << (bit % 8);
                let changed = Signature { payload: payload.into(), ..signature.clone() };
                assert!(signers(changed, &manifest, &keys).is_err(), "bit {bit}");
            }
            // What is signed as one form is not taken for the other.
            let payload_type = signature.payload_type.is_none().then(|| STATEMENT.to_owned());
            assert!(signers(Signature { payload_type, ..signature }, &manifest, &keys).is_err());
        }
    }

    #[test]
    fn what_says_something_else_is_no_signature() {
        let (key, manifest) = (Key::new(), Digest::of(b"manifest"));
        let keys = [key.public()];
        for signature in [key.message("a remark", &manifest), key.bundle("https://slsa.dev/provenance/v1", &manifest)] {
            assert_eq!(signers(signature, &manifest, &keys), Err(SignatureError::Unsigned));
        }
        for json in ["", "{}", "[]", r#"{"mediaType":"application/json"}"#] {
            assert_eq!(Signature::of_bundle(json.as_bytes()), None);
        }
        assert_eq!(Signature::of_message(Vec::new(), "?"), None);
    }

    #[test]
    fn keys_of_ed25519_count_here_too() {
        let secret = PKey::generate_ed25519().unwrap();
        let key: PublicKey = String::from_utf8(secret.public_key_to_pem().unwrap()).unwrap().parse().unwrap();
        let manifest = Digest::of(b"manifest");
        let mut signature = Key::new().message(SIMPLE_TYPE, &manifest);
        let signed = Signer::new_without_digest(&secret).unwrap().sign_oneshot_to_vec(signature.payload.as_bytes());
        signature.signature = signed.unwrap().into();
        assert_eq!(signers(signature, &manifest, &[key]), Ok(1));
    }
}
