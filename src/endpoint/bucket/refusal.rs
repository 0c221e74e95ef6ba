//! What a store answers, in our own words: without addresses, headers and whatever else may hold a secret.

use std::io;

use opendal::ErrorKind as Kind;

use crate::base::escape::shown;
use crate::endpoint::Error;
use crate::net;

/// What OpenDAL says where a request cannot be signed.
const UNSIGNED: &str = "signing http request";
const NO_CREDENTIALS: &str = "there are no credentials for it: set `access_key` and `secret_key` under `store`, or \
    AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";

/// A store's own words are shown up to this length.
const WORDS_LIMIT_CHARS: usize = 200;

/// Answers whether a condition that came with a request was not met.
pub(super) fn is_unmet(error: &opendal::Error) -> bool {
    matches!(error.kind(), Kind::ConditionNotMatch | Kind::AlreadyExists)
}

/// Answers whether trying again may help.
pub(super) fn passes(error: &opendal::Error) -> bool {
    error.is_temporary() || error.kind() == Kind::RateLimited
}

/// Answers a store's refusal as the system would have said it.
pub(super) fn io(error: opendal::Error) -> io::Error {
    let kind = match error.kind() {
        _ if passes(&error) => io::ErrorKind::TimedOut,
        Kind::PermissionDenied => io::ErrorKind::PermissionDenied,
        Kind::NotFound => io::ErrorKind::NotFound,
        _ => net::system_error(&error).map_or(io::ErrorKind::Other, io::Error::kind),
    };
    io::Error::new(kind, words(&error))
}

/// Answers what is wrong with a store as a whole.
pub(super) fn unusable(place: &str, error: opendal::Error) -> Error {
    // Nothing else of what is asked is configuration for the store.
    if error.kind() == Kind::ConfigInvalid && code_of(error.message()) == Some("NoSuchBucket") {
        return Error::Missing { place: place.to_owned() };
    }
    Error::unusable(place)(match error.kind() {
        // A store that answers so to a listing is no store that we know.
        Kind::NotFound => io::Error::other(words(&error)),
        _ => io(error),
    })
}

fn words(error: &opendal::Error) -> String {
    let said = match (code_of(error.message()), field(error.message(), "message")) {
        (Some(code), Some(message)) if !message.is_empty() => format!("the store says {code}: {message}"),
        (Some(code), _) if !code.is_empty() => format!("the store says {code}"),
        _ => match error.kind() {
            Kind::PermissionDenied => "the store denies access".to_owned(),
            Kind::NotFound => "the store does not have it".to_owned(),
            _ if error.message() == UNSIGNED => NO_CREDENTIALS.to_owned(),
            Kind::RateLimited => "the store asks for fewer requests".to_owned(),
            _ => cause(error),
        },
    };
    shown(said.chars().take(WORDS_LIMIT_CHARS).collect::<String>().as_bytes())
}

/// Answers what lies behind a failure that is not the store's answer.
fn cause(error: &opendal::Error) -> String {
    match net::system_error(error) {
        Some(system) if is_about_files(system) => system.to_string(),
        Some(system) => net::words(system),
        None if std::error::Error::source(error).is_some() => net::deepest(error),
        None => match error.message().lines().next() {
            Some(line) if !line.trim_start().starts_with('<') => line.to_owned(),
            _ => "the store answers something that cannot be read".to_owned(),
        },
    }
}

/// Answers whether the system speaks of files, and not of another machine.
fn is_about_files(system: &io::Error) -> bool {
    use io::ErrorKind as File;
    matches!(
        system.kind(),
        File::NotADirectory
            | File::IsADirectory
            | File::DirectoryNotEmpty
            | File::AlreadyExists
            | File::NotFound
            | File::PermissionDenied
            | File::ReadOnlyFilesystem
            | File::StorageFull
            | File::QuotaExceeded
            | File::FileTooLarge
            | File::InvalidFilename
            | File::CrossesDevices
    ) || matches!(system.raw_os_error(), Some(libc::EIO | libc::EMFILE | libc::ENFILE | libc::ELOOP))
}

fn code_of(message: &str) -> Option<&str> {
    field(message, "code")
}

/// Answers a field of `S3Error { code: "NoSuchKey", message: "…", … }`, which is how a store's own words arrive.
fn field<'m>(message: &'m str, name: &str) -> Option<&'m str> {
    let fields = message.strip_prefix("S3Error {")?;
    let (_, rest) = fields.split_once(&format!(" {name}: \""))?;
    rest.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied(message: &str) -> opendal::Error {
        opendal::Error::new(Kind::PermissionDenied, message).with_context("uri", "https://key:secret@host/")
    }

    #[test]
    fn a_stores_own_words_are_told_and_nothing_else() {
        let said =
            "S3Error { code: \"AccessDenied\", message: \"Not you\\u{1b}[31m\", resource: \"/b\", request_id: \"1\" }";
        let io = io(denied(said));
        assert_eq!(io.kind(), io::ErrorKind::PermissionDenied);
        assert!(io.to_string().starts_with("the store says AccessDenied: Not you"), "{io}");
        assert!(!io.to_string().contains("secret") && !io.to_string().contains('\u{1b}'), "{io}");
        assert_eq!(super::io(denied("")).to_string(), "the store denies access");
        let page = opendal::Error::new(Kind::Unexpected, "<html>key</html>");
        assert_eq!(super::io(page).to_string(), "the store answers something that cannot be read");
    }

    #[test]
    fn what_the_system_says_of_files_is_no_word_on_a_connection() {
        let said = |kind: io::ErrorKind| {
            io(opendal::Error::new(Kind::Unexpected, "x").set_source(io::Error::from(kind))).to_string()
        };
        assert!(!said(io::ErrorKind::NotADirectory).contains("connect"), "{}", said(io::ErrorKind::NotADirectory));
        assert_eq!(said(io::ErrorKind::ConnectionRefused), "connection refused");
    }

    #[test]
    fn what_passes_by_itself_is_worth_another_try() {
        let error = || opendal::Error::new(Kind::Unexpected, "busy");
        assert_eq!(io(error().set_temporary()).kind(), io::ErrorKind::TimedOut);
        assert_eq!(io(opendal::Error::new(Kind::RateLimited, "")).kind(), io::ErrorKind::TimedOut);
        assert_eq!(io(error()).kind(), io::ErrorKind::Other);
    }

    #[test]
    fn a_bucket_that_is_not_there_is_missing() {
        let said = "S3Error { code: \"NoSuchBucket\", message: \"x\" }";
        let error = unusable("the bucket s3://b", opendal::Error::new(Kind::ConfigInvalid, said));
        assert_eq!(error.to_string(), "the bucket s3://b is not there");
        let odd = unusable("the bucket s3://b", opendal::Error::new(Kind::NotFound, ""));
        assert_eq!(odd.to_string(), "the bucket s3://b cannot be used");
    }
}
