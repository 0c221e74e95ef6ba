//! Where alerts go: mail servers, people, and the keys that sign. What is wrong with one is said without repeating it.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use lettre::Address;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use url::Url;

use super::model::{Email, Encryption, Expanded, Webhook};
use crate::net::is_this_machine;

/// How a key that signs begins, by the Standard Webhooks specification.
const KEY_PREFIX: &str = "whsec_";
const NOT_A_KEY: &str =
    "must be `whsec_` and 24 to 64 bytes in base64: make one with `echo whsec_$(openssl rand -base64 32)`";
const NOT_A_WEBHOOK: &str = "must be an address like https://hooks.example.org/cascade";
const NOT_A_SERVER: &str = "must be an address like smtps://user:${SMTP_PASSWORD}@mail.example.org:465, or smtp:// and \
    port 587 for STARTTLS";
const NOT_A_MAILBOX: &str = "must be an e-mail address like ops@example.org or Ops <ops@example.org>";
const SMTPS_PORT: u16 = 465;
const SUBMISSION_PORT: u16 = 587;
const SMTP_PORT: u16 = 25;
/// Longer names of people are refused.
const NAME_LIMIT_CHARS: usize = 100;

/// A mail server, and how it is talked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailServer {
    /// Name or address, an IPv6 one without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// How the connection is protected.
    pub protection: Protection,
    /// Who sends, where the server asks.
    pub login: Option<Login>,
}

/// How a connection to a mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// Encrypted from its beginning.
    Tls,
    /// Encrypted after the greeting, or given up.
    StartTls,
    /// Not at all.
    None,
}

/// Who sends.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// Name of the user.
    pub user: String,
    /// Never show it.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(not shown)")
    }
}

/// Somebody with an e-mail address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    /// What people call it.
    pub name: Option<String>,
    /// The address, in ASCII.
    pub address: Address,
}

impl Webhook {
    /// Answers where alerts are posted to; nothing where the variables say that they are not.
    ///
    /// # Errors
    /// What the address must look like.
    pub fn target(&self) -> Result<Option<Url>, &'static str> {
        if is_off(&self.url) {
            return Ok(None);
        }
        let parsed = Url::parse(self.url.value()).ok();
        let fitting = parsed.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        fitting.map(Some).ok_or(NOT_A_WEBHOOK)
    }

    /// Answers the key that signs what is posted. It is a secret.
    ///
    /// # Errors
    /// What a key must look like.
    pub fn key(&self) -> Result<Option<Vec<u8>>, &'static str> {
        let Some(secret) = self.secret.as_ref().filter(|secret| !is_off(secret)) else { return Ok(None) };
        let encoded = secret.value().strip_prefix(KEY_PREFIX).ok_or(NOT_A_KEY)?;
        let bytes = BASE64.decode(encoded).map_err(|_| NOT_A_KEY)?;
        if (24..=64).contains(&bytes.len()) { Ok(Some(bytes)) } else { Err(NOT_A_KEY) }
    }
}

impl Email {
    /// Answers the mail server; nothing where the variables say that there is none.
    ///
    /// # Errors
    /// What the address must look like, or why that server cannot be talked to that way.
    pub fn server(&self) -> Result<Option<MailServer>, &'static str> {
        if is_off(&self.smtp) {
            return Ok(None);
        }
        let url = Url::parse(self.smtp.value()).map_err(|_| NOT_A_SERVER)?;
        let is_bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
        let host = url.host_str().filter(|host| is_bare && is_host(host)).ok_or(NOT_A_SERVER)?;
        let (protection, port) = match (url.scheme(), self.tls) {
            ("smtps", Encryption::Required) => (Protection::Tls, SMTPS_PORT),
            ("smtp", Encryption::Required) => (Protection::StartTls, SUBMISSION_PORT),
            ("smtp", Encryption::Off) if is_this_machine(host) => (Protection::None, SMTP_PORT),
            ("smtp", Encryption::Off) => return Err("may do without TLS only on this machine (localhost)"),
            ("smtps", Encryption::Off) => return Err("smtps:// is TLS, which `tls: off` forbids"),
            _ => return Err(NOT_A_SERVER),
        };
        let port = url.port().unwrap_or(port);
        Ok(Some(MailServer {
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            protection,
            login: login(&url).ok_or(NOT_A_SERVER)?,
        }))
    }

    /// Answers who sends.
    ///
    /// # Errors
    /// What an address must look like.
    pub fn sender(&self) -> Result<Mailbox, &'static str> {
        mailbox(self.from.value())
    }

    /// Answers who gets the messages.
    ///
    /// # Errors
    /// What an address must look like.
    pub fn recipients(&self) -> Result<Vec<Mailbox>, &'static str> {
        self.to.iter().map(|to| mailbox(to.value())).collect()
    }
}

/// A variable that is set to nothing switches a channel off; nothing at all was forgotten.
fn is_off(text: &Expanded) -> bool {
    text.value().is_empty() && !text.written().is_empty()
}

fn is_host(host: &str) -> bool {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    host.starts_with('[') || host.starts_with(|c: char| c.is_ascii_alphanumeric()) && host.chars().all(is_name)
}

/// Answers who sends, if anybody; nothing where that makes no sense.
fn login(url: &Url) -> Option<Option<Login>> {
    let decoded = |text: &str| Some(percent_decode_str(text).decode_utf8().ok()?.into_owned());
    match (url.username(), url.password()) {
        ("", None) => Some(None),
        ("", Some(_)) | (_, None) => None,
        (user, Some(password)) => {
            let login = Login { user: decoded(user)?, password: decoded(password)? };
            (!login.password.is_empty()).then_some(Some(login))
        }
    }
}

/// Makes the value of a variable one word of an address, whatever characters it has.
pub(super) fn address_word(value: &str) -> Cow<'_, str> {
    utf8_percent_encode(value, NON_ALPHANUMERIC).into()
}

pub(super) fn mailbox(text: &str) -> Result<Mailbox, &'static str> {
    let text = text.trim();
    let (name, address) = match text.strip_suffix('>').and_then(|text| text.rsplit_once('<')) {
        Some((name, address)) => (name.trim().trim_matches('"'), address),
        None => ("", text),
    };
    let is_safe = |c: char| c.is_ascii_graphic() && !"<>()[],;:\\\"".contains(c);
    let is_good = address.chars().all(is_safe) && name.chars().count() <= NAME_LIMIT_CHARS;
    if !is_good || text.chars().any(char::is_control) {
        return Err(NOT_A_MAILBOX);
    }
    let name = (!name.is_empty()).then(|| name.to_owned());
    Ok(Mailbox { name, address: address.parse().map_err(|_| NOT_A_MAILBOX)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::units::Span;

    fn email(smtp: &str, tls: Encryption) -> Email {
        let text = |text: &str| Expanded::new(text, text);
        let (smtp, from, to) = (text(smtp), text("a@example.org"), vec![text("b@example.org")]);
        Email { smtp, from, to, tls, on: None, timeout: Span::seconds(1) }
    }

    fn check(smtp: &str, tls: Encryption, host: &str, port: u16, protection: Protection) {
        let server = email(smtp, tls).server().unwrap().unwrap();
        assert_eq!((server.host.as_str(), server.port, server.protection), (host, port, protection), "{smtp}");
    }

    #[test]
    fn scheme_decides_how_a_server_is_talked_to() {
        check("smtps://mail.example.org", Encryption::Required, "mail.example.org", 465, Protection::Tls);
        check("smtps://[::1]:4650/", Encryption::Required, "::1", 4650, Protection::Tls);
        check("smtp://mail.example.org", Encryption::Required, "mail.example.org", 587, Protection::StartTls);
        check("smtp://localhost", Encryption::Off, "localhost", 25, Protection::None);
        check("smtp://127.0.0.1:2525", Encryption::Off, "127.0.0.1", 2525, Protection::None);
    }

    #[test]
    fn without_encryption_nothing_leaves_this_machine() {
        for smtp in ["smtp://mail.example.org", "smtps://localhost", "smtp://localhost.example.org"] {
            assert!(email(smtp, Encryption::Off).server().is_err(), "{smtp}");
        }
    }

    #[test]
    fn addresses_that_are_none_are_refused() {
        let bad = [
            "",
            "mail.example.org",
            "http://x",
            "smtps://",
            "smtps://x/path",
            "smtps://x?y",
            "smtps://u@x",
            "smtps://:p@x",
            "smtps://u:@x",
            "smtps://x y",
            "smtps://u:%ff@x",
        ];
        for smtp in bad {
            assert!(email(smtp, Encryption::Required).server().is_err(), "{smtp}");
        }
    }

    #[test]
    fn any_password_can_be_a_word_of_an_address() {
        for password in ["p@ss:w/rd#?", "50%41", "pässwörd", "[::1]"] {
            let smtp = format!("smtps://{}:{}@x", address_word("ada@example.org"), address_word(password));
            let login = email(&smtp, Encryption::Required).server().unwrap().unwrap().login.unwrap();
            assert_eq!((login.user.as_str(), login.password.as_str()), ("ada@example.org", password));
            assert_eq!(format!("{login:?}"), "Login(not shown)");
        }
    }

    #[test]
    fn mailboxes_have_an_address_and_may_have_a_name() {
        let read = |text: &str| mailbox(text).map(|mailbox| (mailbox.name, mailbox.address.to_string()));
        assert_eq!(read(" ops@example.org "), Ok((None, "ops@example.org".to_owned())));
        assert_eq!(read("Öps, team <ops@x.org>"), Ok((Some("Öps, team".to_owned()), "ops@x.org".to_owned())));
        assert_eq!(read("\"Ops\" <ops@x.org>"), Ok((Some("Ops".to_owned()), "ops@x.org".to_owned())));
        let bad = [
            "",
            "ops",
            "a@b@c",
            "a b@x.org",
            "ops@x.org\r\nBcc: y@x.org",
            "a\n <a@x.org>",
            "ö@x.org",
            "a@x.org, b@x.org",
        ];
        for text in bad {
            assert_eq!(read(text), Err(NOT_A_MAILBOX), "{text}");
        }
    }

    #[test]
    fn keys_have_their_prefix_and_enough_bytes() {
        let key = |secret: &str| {
            let url = Expanded::new("https://x", "https://x");
            let secret = Some(Expanded::new("${SECRET}", secret));
            Webhook { url, secret, on: None, timeout: Span::seconds(1) }.key().map(|key| key.map(|key| key.len()))
        };
        assert_eq!(key(concat!("whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")), Ok(Some(24)));
        assert_eq!(key(""), Ok(None));
        for bad in ["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_", "whsec_c2hvcnQ=", "whsec_not base64"] {
            assert_eq!(key(bad), Err(NOT_A_KEY), "{bad}");
        }
    }
}
