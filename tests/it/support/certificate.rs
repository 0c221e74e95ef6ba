//! A certificate for `localhost` that nobody trusts who is not told to.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A connection that is encrypted.
pub type Encrypted = StreamOwned<ServerConnection, TcpStream>;

/// A certificate with its key.
#[derive(Clone)]
pub struct Certificate {
    config: Arc<ServerConfig>,
    der: Vec<u8>,
}

impl Certificate {
    /// Makes one.
    pub fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let config = builder.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        Self { config: Arc::new(config), der: made.cert.der().to_vec() }
    }

    /// Writes the file that `SSL_CERT_FILE` names for those who trust it.
    pub fn write(&self, directory: &Path) -> PathBuf {
        let path = directory.join("localhost.pem");
        let encoded = BASE64.encode(&self.der);
        let lines: Vec<&str> = encoded.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
        let text = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"));
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Encrypts the server's side of a connection.
    pub fn encrypt(&self, connection: TcpStream) -> Encrypted {
        StreamOwned::new(ServerConnection::new(Arc::clone(&self.config)).unwrap(), connection)
    }
}
