use std::path::{Path, PathBuf};

use clap::Args;
use openssl::error::ErrorStack;
use openssl::x509::X509;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig, TlsProvider};

use crate::exit::Exit;
use crate::pem;

/// Whom to trust at an https:// endpoint, and what to show there: PEM files.
#[derive(Args)]
pub(super) struct Tls {
    /// The authorities that may have signed the endpoint's certificate, in PEM; by default the system's.
    #[arg(long, value_name = "FILE", env = "SLUICEGATE_ADMIN_CA")]
    ca: Option<PathBuf>,
    /// The client certificate to show, in PEM, followed by those that lead to its authority.
    #[arg(long, value_name = "FILE", env = "SLUICEGATE_ADMIN_CERT", requires = "key")]
    cert: Option<PathBuf>,
    /// The private key of the client certificate, in PEM, without a passphrase.
    #[arg(long, value_name = "FILE", env = "SLUICEGATE_ADMIN_KEY", requires = "cert")]
    key: Option<PathBuf>,
}

impl Tls {
    /// The same for a client. TLS is OpenSSL's, as that of librdkafka is.
    pub(super) fn config(&self) -> Result<TlsConfig, Exit> {
        let roots = match &self.ca {
            Some(file) => RootCerts::from(as_der(&certificates(file, "--ca")?)?),
            None => RootCerts::PlatformVerifier,
        };
        let shown = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => Some(client(cert, key)?),
            _ => None,
        };
        Ok(TlsConfig::builder().provider(TlsProvider::NativeTls).root_certs(roots).client_cert(shown).build())
    }
}

/// The certificate to show, and its key: in the one form that the client takes, whatever form the file has.
fn client(cert: &Path, key: &Path) -> Result<ClientCert, Exit> {
    let chain = certificates(cert, "--cert")?;
    let found = pem::private_key(key).map_err(|error| Exit::usage(format!("--key: {error}")))?;
    let own = chain.first().map(|own| own.public_key()).transpose().map_err(anyhow::Error::from)?;
    if own.is_none_or(|own| !own.public_eq(&found)) {
        return Err(Exit::usage(format!(
            "--key: {} is not the key of the certificate in {}",
            key.display(),
            cert.display()
        )));
    }
    let plain = found.private_key_to_pem_pkcs8().map_err(anyhow::Error::from)?;
    let plain = PrivateKey::from_pem(&plain).map_err(anyhow::Error::from)?;
    Ok(ClientCert::new_with_certs(&as_der(&chain)?, plain))
}

fn certificates(file: &Path, option: &str) -> Result<Vec<X509>, Exit> {
    pem::certificates(file).map_err(|error| Exit::usage(format!("{option}: {error}")))
}

fn as_der(certificates: &[X509]) -> Result<Vec<Certificate<'static>>, Exit> {
    let plain = |found: &X509| Ok(Certificate::from_der(&found.to_der()?).to_owned());
    let plain: Result<_, ErrorStack> = certificates.iter().map(plain).collect();
    Ok(plain.map_err(anyhow::Error::from)?)
}
