//! E-mail: a letter to everybody that the configuration names, in one conversation with the mail server.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use lettre::transport::smtp;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use tokio::time::{Instant, timeout, timeout_at};

use super::error::{Error, Result};
use super::letter::letter;
use super::outbox::Parcel;
use crate::base::escape::shown;
use crate::base::units::Span;
use crate::config::{self, Expanded, Login, MailServer, Mailbox, Protection};
use crate::net;

/// Longest answer of a mail server that is passed on.
const REPLY_LIMIT_CHARS: usize = 200;
/// Longest time that is waited for the server's last word.
const GOODBYE_LIMIT: Duration = Duration::from_secs(1);

/// A mail server, and who gets messages through it.
pub(super) struct Email {
    server: MailServer,
    from: Mailbox,
    to: Vec<Mailbox>,
    /// The recipients as the configuration has them: what may be shown.
    written: Vec<Expanded>,
    limit: Span,
}

/// What became of the recipients in one conversation.
#[derive(Debug, Default)]
struct Answers {
    accepted: Vec<usize>,
    /// Why one of them is to be tried again.
    postponed: Option<Error>,
}

impl Email {
    /// Makes what the configuration asks for; nothing where it is switched off.
    pub fn new(spec: &config::Email) -> Option<Self> {
        let (Ok(Some(server)), Ok(from), Ok(to)) = (spec.server(), spec.sender(), spec.recipients()) else {
            return None;
        };
        Some(Self { server, from, to, written: spec.to.clone(), limit: spec.timeout })
    }

    /// Sends a message once, to those who have neither got nor refused it yet.
    ///
    /// One address that is refused does not keep the message from the others.
    pub async fn send(&self, parcel: &mut Parcel) -> Result<()> {
        let (deadline, silent) = (Instant::now() + self.limit.0, || Error::Silent { limit: self.limit });
        let connected = timeout_at(deadline, self.connect()).await.map_err(|_| silent())?;
        let mut connection = connected.map_err(|error| self.error(&error))?;
        let sent = timeout_at(deadline, self.transact(&mut connection, parcel)).await;
        // Whether the server says goodbye changes nothing.
        let _ = timeout(GOODBYE_LIMIT, connection.abort()).await;
        sent.unwrap_or_else(|_| Err(silent()))
    }

    /// Connects, and says nothing about us before the connection is as protected as it must be.
    async fn connect(&self) -> Result<AsyncSmtpConnection, smtp::Error> {
        let MailServer { host, port, protection, login } = &self.server;
        let protected = || TlsParameters::new(host.clone());
        let wrapper = if *protection == Protection::Tls { Some(protected()?) } else { None };
        let (place, limit, hello) = ((host.as_str(), *port), Some(self.limit.0), ClientId::default());
        let mut connection = AsyncSmtpConnection::connect_tokio1(place, limit, &hello, wrapper, None).await?;
        if *protection == Protection::StartTls {
            connection.starttls(protected()?, &hello).await?;
        }
        if let Some(Login { user, password }) = login {
            let credentials = Credentials::new(user.clone(), password.clone());
            connection.auth(&[Mechanism::Plain, Mechanism::Login], &credentials).await?;
        }
        Ok(connection)
    }

    async fn transact(&self, connection: &mut AsyncSmtpConnection, parcel: &mut Parcel) -> Result<()> {
        let error = |error: smtp::Error| self.error(&error);
        connection.command(Mail::new(Some(self.from.address.clone()), Vec::new())).await.map_err(error)?;
        let answers = self.ask_recipients(connection, parcel).await?;
        if !answers.accepted.is_empty() {
            connection.command(Data).await.map_err(error)?;
            let text = letter(&parcel.message, &self.from, &self.to);
            connection.message(text.as_bytes()).await.map_err(error)?;
            parcel.settled.extend(answers.accepted);
        }
        match answers.postponed {
            Some(reason) => Err(reason),
            None if parcel.refused.is_empty() => Ok(()),
            None => Err(Error::Recipients { refused: parcel.refused.clone(), of: self.to.len() }),
        }
    }

    async fn ask_recipients(&self, connection: &mut AsyncSmtpConnection, parcel: &mut Parcel) -> Result<Answers> {
        let mut answers = Answers::default();
        for (index, (recipient, written)) in self.to.iter().zip(&self.written).enumerate() {
            if parcel.settled.contains(&index) {
                continue;
            }
            let answer = connection.command(Rcpt::new(recipient.address.clone(), Vec::new())).await;
            match answer.map_err(|error| self.error(&error)) {
                Ok(_) => answers.accepted.push(index),
                Err(Error::Reply { code: code @ 500.., text }) => {
                    parcel.settled.push(index);
                    parcel.refused.push(format!("{written} ({code} {text})"));
                }
                Err(postponed @ Error::Reply { .. }) => answers.postponed = Some(postponed),
                Err(broken) => return Err(broken),
            }
        }
        Ok(answers)
    }

    fn error(&self, error: &smtp::Error) -> Error {
        let said = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        if let Some(code) = error.status() {
            let code = code.to_string().parse().unwrap_or_default();
            return Error::Reply { code, text: self.harmless(&said) };
        }
        if error.is_client() || error.is_tls() {
            return Error::Unusable { reason: self.harmless(&said) };
        }
        if let Some(reason) = net::distrust(error) {
            return Error::Untrusted { reason: self.harmless(&reason) };
        }
        let reason = net::system_error(error).map_or_else(|| net::deepest(error), net::words);
        Error::Unreachable { reason: self.harmless(&reason) }
    }

    /// A mail server may repeat whatever it was told, and complaints about certificates repeat its name.
    fn harmless(&self, text: &str) -> String {
        let mut secrets = vec![(self.server.host.clone(), "the host")];
        if let Some(Login { user, password }) = &self.server.login {
            let forms = [BASE64.encode(format!("\0{user}\0{password}")), BASE64.encode(password), password.clone()];
            secrets.extend(forms.into_iter().map(|form| (form, "***")));
        }
        let text = secrets.iter().fold(text.to_owned(), |text, (secret, word)| text.replace(secret, word));
        shown(text.as_bytes()).chars().take(REPLY_LIMIT_CHARS).collect()
    }
}

impl std::fmt::Debug for Email {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Email").field("protection", &self.server.protection).finish_non_exhaustive()
    }
}
