//! What can go wrong with a vault as such.

use std::io;
use std::path::PathBuf;

use crate::base::escape::shown;
use crate::base::{ErrorKind, Kinded};

/// Answer of what a vault alone can refuse.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a vault cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is nothing yet.
    #[error("{place} has not been initialised")]
    NotInitialised {
        /// The vault.
        place: String,
    },
    /// There is one already.
    #[error("{place} is initialised already")]
    Initialised {
        /// The vault.
        place: String,
    },
    /// Something else is where a vault was to be made.
    #[error("{place} cannot be initialised: something else is there")]
    Occupied {
        /// The vault.
        place: String,
    },
    /// The passphrase, or the key file, is not the one that the vault was closed with.
    #[error("the {key} does not open {place}")]
    WrongKey {
        /// The vault.
        place: String,
        /// What was tried.
        key: &'static str,
    },
    /// It is opened by another kind of key than the one that is configured.
    #[error("{place} is opened by a {needs}, and not by a {given}")]
    OtherKey {
        /// The vault.
        place: String,
        /// What opens it.
        needs: &'static str,
        /// What is configured.
        given: &'static str,
    },
    /// A passphrase is too easy to guess.
    #[error("a vault's passphrase has {} characters at least", super::key::PASSPHRASE_CHARS_MIN)]
    Weak,
    /// A key file cannot be used.
    #[error("the key file {} cannot be used", shown(.path.as_os_str().as_encoded_bytes()))]
    KeyFile {
        /// Its path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Others may read a key file.
    #[error("the key file {} is open to others (mode {mode:03o})", shown(.path.as_os_str().as_encoded_bytes()))]
    OpenKeyFile {
        /// Its path.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// An object is not what was put there.
    #[error("{object} in {place} is damaged: {reason}")]
    Damaged {
        /// The vault.
        place: String,
        /// The object.
        object: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An object is gone.
    #[error("{object} in {place} is missing")]
    Missing {
        /// The vault.
        place: String,
        /// The object.
        object: String,
    },
    /// An object was written by a later version of cascade.
    #[error("{object} in {place} has format {version}: this cascade reads formats up to {}", super::seal::VERSION)]
    Newer {
        /// The vault.
        place: String,
        /// The object.
        object: String,
        /// Its format.
        version: u64,
    },
    /// The vault is older than it was when this machine saw it last.
    #[error("{place} is at {is}, and was at {was} before: somebody put an older state back")]
    RolledBack {
        /// The vault.
        place: String,
        /// The newest state that was seen here.
        was: u64,
        /// Its state now.
        is: u64,
    },
    /// Somebody else removed what is not referenced while it was written to.
    #[error("{place} was cleaned up while it was written to")]
    CleanedUp {
        /// The vault.
        place: String,
    },
    /// Others change it all the time.
    #[error("{place} is changed by others all the time")]
    Contended {
        /// The vault.
        place: String,
    },
    /// Content could not be brought into the vault, so that nothing that came with it counts.
    #[error("{place} cannot be written to: {reason}")]
    Unwritten {
        /// The vault.
        place: String,
        /// Why not.
        reason: String,
    },
    /// The system has no randomness.
    #[error("the system gives no randomness for keys")]
    NoRandomness,
    /// What this machine remembers of a vault cannot be used.
    #[error("what is remembered of {place} cannot be used")]
    Memory {
        /// The vault.
        place: String,
        /// Why not.
        source: io::Error,
    },
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotInitialised { .. }
            | Self::OtherKey { .. }
            | Self::Weak
            | Self::KeyFile { .. }
            | Self::OpenKeyFile { .. } => ErrorKind::Config,
            Self::Initialised { .. } | Self::Occupied { .. } => ErrorKind::Usage,
            Self::WrongKey { .. } => ErrorKind::Denied,
            Self::Damaged { .. } | Self::Missing { .. } | Self::RolledBack { .. } => ErrorKind::Integrity,
            Self::CleanedUp { .. } | Self::Contended { .. } => ErrorKind::Conflict,
            Self::Newer { .. } | Self::Unwritten { .. } | Self::NoRandomness | Self::Memory { .. } => {
                ErrorKind::Unavailable
            }
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotInitialised { .. } => {
                "nothing was changed; `cascade vault init NAME` makes the vault of the sync NAME, once"
            }
            Self::Initialised { .. } => "nothing was changed; `cascade vault check NAME` looks at it",
            Self::Occupied { .. } => "nothing was changed; give the vault a directory or a prefix of its own",
            Self::WrongKey { .. } => "nothing was changed; set the one that it was initialised, or last rekeyed, with",
            Self::OtherKey { .. } => "change `vault` in cascade-sync.yaml, or `cascade vault rekey NAME`",
            Self::Weak => "nothing was changed; several words that do not belong together are good",
            Self::KeyFile { .. } => "`cascade vault init NAME` makes one where there is none",
            Self::OpenKeyFile { .. } => "`chmod 600` it; whoever read it before can open the vault",
            Self::Damaged { .. } | Self::Missing { .. } => {
                "`cascade vault check NAME --read-data` lists what cannot be read; everything else can"
            }
            Self::Newer { .. } => "install a later cascade",
            Self::RolledBack { .. } => {
                "nothing was changed; if you did that yourself, `cascade vault check NAME --accept-older`"
            }
            Self::CleanedUp { .. } => "what was not finished is lost; run it again",
            Self::Contended { .. } => "run it again when the others are done",
            Self::Unwritten { .. } => "what came before stays as it was; run it again when that is mended",
            Self::NoRandomness | Self::Memory { .. } => return None,
        };
        Some(hint.to_owned())
    }
}
