//! TLS of the listener: certificate and key from files, and renewed ones without a restart.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::files::{self, FileError};

/// Where certificate and key are.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// Certificate of the server, then those between it and the authority, as PEM.
    pub certificate: PathBuf,
    /// Its private key, as PEM: PKCS #8, PKCS #1 or SEC 1, not encrypted.
    pub key: PathBuf,
}

/// TLS with the newest certificate that could be used.
pub struct Tls {
    files: TlsFiles,
    current: RwLock<Current>,
}

struct Current {
    /// What the files held.
    content: (Vec<u8>, Vec<u8>),
    config: Arc<ServerConfig>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// Files that cannot be read or are no PEM, and a key that is not the certificate's.
    pub fn load(files: TlsFiles) -> Result<Self, FileError> {
        let content = contents(&files)?;
        let config = config(&files, &content)?;
        Ok(Self { files, current: RwLock::new(Current { content, config }) })
    }

    /// Takes the newest certificate for a connection.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.current.read().config))
    }

    /// Looks at the files again; whether they were others.
    fn renew(&self) -> Result<bool, FileError> {
        let content = contents(&self.files)?;
        if self.current.read().content == content {
            return Ok(false);
        }
        let config = config(&self.files, &content)?;
        *self.current.write() = Current { content, config };
        Ok(true)
    }

    /// Looks at the files again and again, until `shutdown`.
    pub(crate) async fn follow(self: Arc<Self>, every: Duration, shutdown: CancellationToken) {
        files::follow("tls", every, shutdown, move || self.renew()).await;
    }
}

fn contents(files: &TlsFiles) -> Result<(Vec<u8>, Vec<u8>), FileError> {
    Ok((files::read(&files.certificate)?, files::read(&files.key)?))
}

fn config(files: &TlsFiles, (certificate, key): &(Vec<u8>, Vec<u8>)) -> Result<Arc<ServerConfig>, FileError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
    let chain = chain.map_err(|error| FileError::new(&files.certificate, format!("is no PEM: {error}")))?;
    if chain.is_empty() {
        return Err(FileError::new(&files.certificate, "has no certificate (`BEGIN CERTIFICATE`)"));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| {
        let reason = match error {
            PemError::NoItemsFound => {
                "has no private key that is not encrypted (`BEGIN PRIVATE KEY`, `BEGIN RSA PRIVATE KEY` or `BEGIN EC PRIVATE KEY`)"
                    .to_owned()
            }
            error => format!("is no PEM: {error}"),
        };
        FileError::new(&files.key, reason)
    })?;
    // Named, not the default of the process: a library must not depend on what was installed.
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| FileError::new(&files.certificate, error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| {
            let key = files.key.display();
            FileError::new(&files.certificate, format!("cannot be used with the key {key}: {error}"))
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (String, String) {
        let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        (pair.cert.pem(), pair.signing_key.serialize_pem())
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named_with_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let files = TlsFiles { certificate: folder.path().join("c.pem"), key: folder.path().join("k.pem") };
        let ((certificate, key), (_, other)) = (pair(), pair());
        let wrong = |certificate: Option<&str>, key: Option<&str>, parts: [&str; 2]| {
            for (path, text) in [(&files.certificate, certificate), (&files.key, key)] {
                let _ = std::fs::remove_file(path);
                if let Some(text) = text {
                    std::fs::write(path, text).unwrap();
                }
            }
            let message = Tls::load(files.clone()).unwrap_err().to_string();
            assert!(parts.iter().all(|part| message.contains(part)), "{message}");
        };
        wrong(None, Some(&key), ["c.pem", "cannot be read"]);
        wrong(Some(&certificate), None, ["k.pem", "cannot be read"]);
        wrong(Some("nothing"), Some(&key), ["c.pem", "no certificate"]);
        wrong(Some("-----BEGIN CERTIFICATE-----\nAAAA"), Some(&key), ["c.pem", "is no PEM"]);
        wrong(Some(&certificate), Some(&certificate), ["k.pem", "no private key"]);
        wrong(Some(&certificate), Some(&other), ["c.pem", "k.pem"]);
        wrong(Some(&"x".repeat((1 << 20) + 1)), Some(&key), ["c.pem", "larger than 1 MiB"]);
    }

    #[test]
    fn what_is_renewed_is_taken_and_what_is_broken_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let files = TlsFiles { certificate: folder.path().join("c.pem"), key: folder.path().join("k.pem") };
        let write = |(certificate, key): &(String, String)| {
            std::fs::write(&files.certificate, certificate).unwrap();
            std::fs::write(&files.key, key).unwrap();
        };
        write(&pair());
        let tls = Tls::load(files.clone()).unwrap();
        let first = Arc::clone(&tls.current.read().config);
        assert!(!tls.renew().unwrap());
        // Half of a renewal: the key is not the certificate's yet.
        let renewed = pair();
        std::fs::write(&files.certificate, &renewed.0).unwrap();
        assert!(tls.renew().is_err());
        assert!(Arc::ptr_eq(&first, &tls.current.read().config));
        write(&renewed);
        assert!(tls.renew().unwrap());
        assert!(!Arc::ptr_eq(&first, &tls.current.read().config));
    }
}
