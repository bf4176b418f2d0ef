//! TLS configurations of both ends, from PEM files, and the arguments that tell them.

use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::ValueEnum;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, KeyLogFile, RootCertStore, ServerConfig, SupportedProtocolVersion};

/// What gRPC offers and chooses (RFC 9113 section 3.2).
pub const ALPN: &[u8] = b"h2";

/// The one TLS version offered and accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Version {
    /// RFC 5246.
    #[value(name = "1.2")]
    Tls12,
    /// RFC 8446.
    #[value(name = "1.3")]
    Tls13,
}

/// What the server asks of its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ClientCertificate {
    /// Refuse a client without a certificate of the authority.
    Required,
    /// Ask for a certificate and go on without one.
    Optional,
    /// Do not ask.
    None,
}

/// Certificate files of one end.
#[derive(Debug, clap::Args)]
pub struct Files {
    /// The authority the other end must be certified by, PEM.
    #[arg(long, value_name = "FILE")]
    pub ca: PathBuf,
    /// This end's certificate, PEM.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub certificate: Option<PathBuf>,
    /// Its private key, PEM.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub key: Option<PathBuf>,
}

/// How a server is reached and what it asks for.
#[derive(clap::Args)]
pub struct Serving {
    /// Address and port to listen on; port 0 takes a free one. Both are printed once it listens.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: SocketAddr,
    #[command(flatten)]
    files: Files,
    /// TLS version.
    #[arg(long, value_enum, default_value = "1.3")]
    tls: Version,
    /// Client certificates.
    #[arg(long, value_enum, default_value = "required")]
    client_certificate: ClientCertificate,
}

/// Which server a client calls, and how.
#[derive(clap::Args)]
pub struct Calling {
    /// Address and port of the server.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub connect: SocketAddr,
    /// Name to ask for and to find in the server's certificate.
    #[arg(long, value_name = "NAME")]
    pub server_name: String,
    #[command(flatten)]
    files: Files,
    /// TLS version.
    #[arg(long, value_enum, default_value = "1.3")]
    tls: Version,
}

impl Serving {
    /// The server's configuration, with the one protocol it chooses by ALPN.
    pub fn config(&self, protocol: &[u8]) -> Result<Arc<ServerConfig>, Box<dyn Error>> {
        let Some((chain, key)) = identity(&self.files)? else {
            return Err("a server needs --certificate and --key".into());
        };
        let builder =
            ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[supported(self.tls)])?;
        let verifier = WebPkiClientVerifier::builder_with_provider(roots(&self.files.ca)?, provider());
        let builder = match self.client_certificate {
            ClientCertificate::Required => builder.with_client_cert_verifier(verifier.build()?),
            ClientCertificate::Optional => {
                builder.with_client_cert_verifier(verifier.allow_unauthenticated().build()?)
            }
            ClientCertificate::None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key)?;
        config.alpn_protocols = vec![protocol.to_vec()];
        config.key_log = Arc::new(KeyLogFile::new());
        Ok(Arc::new(config))
    }
}

impl Calling {
    /// The client's configuration, with the one protocol it offers by ALPN.
    pub fn config(&self, protocol: &[u8]) -> Result<Arc<ClientConfig>, Box<dyn Error>> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[supported(self.tls)])?
            .with_root_certificates(roots(&self.files.ca)?);
        let mut config = match identity(&self.files)? {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        config.key_log = Arc::new(KeyLogFile::new());
        Ok(Arc::new(config))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn supported(version: Version) -> &'static SupportedProtocolVersion {
    match version {
        Version::Tls12 => &TLS12,
        Version::Tls13 => &TLS13,
    }
}

fn roots(file: &Path) -> Result<Arc<RootCertStore>, Box<dyn Error>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate)?;
    }
    Ok(Arc::new(roots))
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn identity(files: &Files) -> Result<Option<Identity>, Box<dyn Error>> {
    let (Some(certificate), Some(key)) = (&files.certificate, &files.key) else {
        return Ok(None);
    };
    let chain = certificates(certificate)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| named(key, &error))?;
    Ok(Some((chain, key)))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_file_iter(file).and_then(Iterator::collect).map_err(|error| named(file, &error))
}

fn named(file: &Path, error: &dyn std::fmt::Display) -> String {
    format!("{}: {error}", file.display())
}
