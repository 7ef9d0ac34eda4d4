use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use super::check::Checked;
use super::error::ConfigError;
use super::origin::Origin;
use super::pipeline::Pipeline;
use super::quantity::read_address;
use super::secret::Secret;

/// A shorter one is guessed.
const TOKEN_LENGTH_MIN: usize = 16;

/// The endpoint for status, metrics and commands.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Admin {
    /// The address to listen on.
    #[serde(deserialize_with = "read_address")]
    #[schemars(with = "String", extend("examples" = ["127.0.0.1:9644"]))]
    pub listen: SocketAddr,
    /// What whoever changes something has to show, as a bearer token; ${ENV} or ${file:path} keeps it out of the file.
    /// Without it, and without tls.client-ca, changes are allowed from this machine alone.
    pub token: Option<Secret>,
    /// Lets the endpoint speak TLS, and nothing else.
    pub tls: Option<AdminTls>,
    /// Where this stands in its file.
    #[serde(skip)]
    pub origin: Origin,
}

/// The certificates of the admin endpoint: PEM files, whose relative paths start at the configuration file, and which are
/// read again whenever they change.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AdminTls {
    /// The endpoint's certificate, and after it those that lead to its authority.
    pub certificate: PathBuf,
    /// Its private key, without a passphrase.
    pub key: PathBuf,
    /// The authorities of clients: whoever shows a certificate of theirs may change something, as with the token. Looking
    /// takes neither.
    pub client_ca: Option<PathBuf>,
}

impl Admin {
    /// One that nothing guards, here.
    pub(crate) fn at(listen: SocketAddr) -> Self {
        Admin { listen, token: None, tls: None, origin: Origin::default() }
    }

    /// Whether both are the same endpoint, guarded in the same way.
    pub(crate) fn is_same(&self, other: &Admin) -> bool {
        (self.listen, &self.token, &self.tls) == (other.listen, &other.token, &other.tls)
    }
}

impl AdminTls {
    /// Each file, by its key.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&'static str, &PathBuf)> {
        let all = [
            ("certificate", Some(&self.certificate)),
            ("key", Some(&self.key)),
            ("client-ca", self.client_ca.as_ref()),
        ];
        all.into_iter().filter_map(|(key, file)| Some((key, file?)))
    }

    /// Makes relative paths start at the folder.
    pub(super) fn resolve_paths(&mut self, folder: &Path) {
        let AdminTls { certificate, key, client_ca } = self;
        [certificate, key].into_iter().chain(client_ca).for_each(|file| *file = folder.join(&*file));
    }
}

pub(super) fn check(pipeline: &Pipeline, file: &Checked<'_>) -> Result<(), ConfigError> {
    let Some(admin) = &pipeline.admin else {
        return Ok(());
    };
    let mut files = admin.tls.iter().flat_map(AdminTls::files);
    if let Some((key, _)) = files.find(|(_, file)| file.as_os_str().is_empty()) {
        let message = format!("{key} is empty; expected the path of a PEM file");
        return Err(file.error(&["admin", "tls", key], message));
    }
    match admin.token.as_ref().map(Secret::reveal) {
        Some(token) if token.len() < TOKEN_LENGTH_MIN || !token.bytes().all(|byte| byte.is_ascii_graphic()) => {
            let message = format!(
                "a token has at least {TOKEN_LENGTH_MIN} visible ASCII characters and no space; `openssl rand -hex 32` \
                 makes one"
            );
            Err(file.error(&["admin", "token"], message))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Process, parse};

    fn read(tls: &str) -> Result<Admin, ConfigError> {
        let text = format!(
            "name: p\n\
             source: {{ local: {{ path: data, topics: in }} }}\n\
             sink: {{ local: {{ path: data, topic: out }} }}\n\
             stages: []\n\
             admin:\n  listen: 127.0.0.1:9644\n  tls: {tls}\n"
        );
        parse(&text, Path::new("conf/p.yaml"), &Process).map(|pipeline| pipeline.admin.unwrap())
    }

    #[test]
    fn files_start_at_the_configuration_and_are_told_by_their_place() {
        let admin = read("{ certificate: tls/a.pem, key: /b.pem, client-ca: ca.pem }").unwrap();
        let paths = ["conf/tls/a.pem", "/b.pem", "conf/ca.pem"].map(PathBuf::from);
        let files: Vec<_> = admin.tls.as_ref().unwrap().files().collect();
        assert_eq!(files, [("certificate", &paths[0]), ("key", &paths[1]), ("client-ca", &paths[2])]);
        let error = admin.origin.error(&["tls", "key"], "broken").to_string();
        assert!(error.starts_with("conf/p.yaml:7:34: broken\n7 |   tls: {"), "{error}");
    }

    #[test]
    fn mistakes_are_told_by_their_place() {
        for (tls, said) in [
            ("{ certificate: a.pem }", "7:3: 'tls' needs the key 'key'"),
            ("{ certificate: a.pem, key: '' }", "7:30: key is empty; expected the path of a PEM file"),
            (
                "{ certificate: a.pem, key: b.pem, client_ca: c.pem }",
                "7:42: unknown key 'client_ca' — did you mean 'client-ca'?",
            ),
        ] {
            let error = read(tls).unwrap_err().to_string();
            assert!(error.starts_with(&format!("conf/p.yaml:{said}\n")), "{error}");
        }
    }

    #[test]
    fn the_schema_knows_what_belongs_together() {
        let schema = crate::config::schema();
        let admin = schema.pointer("/$defs/AdminTls").unwrap();
        let validator = jsonschema::validator_for(admin).unwrap();
        assert!(validator.is_valid(&serde_json::json!({ "certificate": "a", "key": "b", "client-ca": "c" })));
        for wrong in [serde_json::json!({ "certificate": "a" }), serde_json::json!({ "certificate": "a", "kee": "b" })]
        {
            assert!(!validator.is_valid(&wrong), "{wrong}");
        }
    }
}
