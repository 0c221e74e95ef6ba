//! How other machines are asked: one way to make an HTTP client, and words for what the network answers.
//!
//! Nothing here shows an address: it may hold a secret.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::net::IpAddr;

use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use rustls::crypto::{CryptoProvider, ring};

/// Makes a client that asks `target`: through the system's proxy unless it is this machine, trusting the system's
/// certificate authorities.
///
/// # Errors
/// The system has none, and `target` is encrypted.
pub fn http_client(target: &Url, redirects: impl Fn() -> Policy) -> reqwest::Result<Client> {
    if CryptoProvider::get_default().is_none() {
        // Another thread may have been faster, with the same provider.
        let _ = ring::default_provider().install_default();
    }
    let builder = || {
        let agent = concat!("cascade/", env!("CARGO_PKG_VERSION"));
        let builder = Client::builder().redirect(redirects()).user_agent(agent);
        if target.host_str().is_some_and(is_this_machine) { builder.no_proxy() } else { builder }
    };
    builder().build().or_else(|error| match target.scheme() {
        // A machine without certificate authorities can still ask without encryption.
        "http" => builder().tls_certs_only([]).build(),
        _ => Err(error),
    })
}

/// Answers whether a host's name or address, an IPv6 one in brackets or without, is certainly this machine's own.
#[must_use]
pub fn is_this_machine(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// Answers the innermost cause: the outer layers of a network error say only where it happened.
#[must_use]
pub fn deepest(error: &(dyn Error + 'static)) -> String {
    causes(error).last().map_or_else(|| error.to_string(), ToString::to_string)
}

/// Answers what the system said, where it said anything.
#[must_use]
pub fn system_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).last()
}

/// Answers why the other side's certificate is not trusted, where that is what is wrong.
#[must_use]
pub fn distrust(error: &(dyn Error + 'static)) -> Option<String> {
    let wrapped = |cause: &'_ (dyn Error + 'static)| -> Option<rustls::Error> {
        let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let found = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
        found.or_else(|| cause.downcast_ref::<rustls::Error>()).cloned()
    };
    let found = causes(error).find_map(wrapped)?;
    matches!(found, rustls::Error::InvalidCertificate(_)).then(|| found.to_string())
}

/// Answers words for why there is no connection, or no more.
#[must_use]
pub fn words(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
            "connection reset".to_owned()
        }
        ErrorKind::TimedOut => "connection timed out".to_owned(),
        _ => format!("cannot connect: {error}"),
    }
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(error.source(), |cause| (*cause).source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_known_by_its_own_names_only() {
        for own in ["localhost", "127.0.0.1", "127.1.2.3", "::1", "[::1]"] {
            assert!(is_this_machine(own), "{own}");
        }
        for other in ["", "localhost.example.org", "10.0.0.1", "[::2]", "127.0.0.1.example.org", "0.0.0.0"] {
            assert!(!is_this_machine(other), "{other}");
        }
    }
}
