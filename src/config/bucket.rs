//! Buckets: how a configuration names one, and how it is reached.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::model::Expanded;
use crate::base::units::{ByteSize, Span};

/// Where the objects of an endpoint are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BucketAddress {
    /// `s3://NAME` or `s3://NAME/PREFIX`.
    S3 {
        /// The bucket.
        name: String,
        /// What the names of all objects begin with, without the slash after it; may be empty.
        prefix: String,
    },
    /// `fs:///PATH`: a directory of this machine, used as a bucket.
    Fs {
        /// The absolute path.
        path: String,
    },
}

const NO_ADDRESS: &str = "must be a bucket, like s3://name or s3://name/prefix, or fs:///path for a local directory";
const NO_NAME: &str = "a bucket's name has 3 to 63 lower-case letters, digits, `.`, `-` and `_`";
const NO_PREFIX: &str =
    "what follows the bucket's name must have no part that is empty, `.` or `..`, and no space around it";

impl FromStr for BucketAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("fs://") {
            let is_path = path.starts_with('/') && !path.contains('\0') && path.trim() == path;
            return if is_path { Ok(Self::Fs { path: path.to_owned() }) } else { Err(NO_ADDRESS) };
        }
        let (name, prefix) = match text.strip_prefix("s3://").ok_or(NO_ADDRESS)?.split_once('/') {
            Some((name, prefix)) => (name, prefix.strip_suffix('/').unwrap_or(prefix)),
            None => (text.strip_prefix("s3://").unwrap_or_default(), ""),
        };
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
        if !(3..=63).contains(&name.len()) || !name.chars().all(is_name) {
            return Err(NO_NAME);
        }
        let is_part = |part: &str| !matches!(part, "" | "." | "..");
        let is_prefix = prefix.is_empty() || prefix.split('/').all(is_part);
        if !is_prefix || prefix.trim() != prefix || prefix.chars().any(char::is_control) {
            return Err(NO_PREFIX);
        }
        Ok(Self::S3 { name: name.to_owned(), prefix: prefix.to_owned() })
    }
}

impl fmt::Display for BucketAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3 { name, prefix } if prefix.is_empty() => write!(f, "s3://{name}"),
            Self::S3 { name, prefix } => write!(f, "s3://{name}/{prefix}"),
            Self::Fs { path } => write!(f, "fs://{path}"),
        }
    }
}

/// How a bucket is reached and used. What is not said here comes from the variables that AWS's own programs read, and
/// without those from its profiles (`~/.aws`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StoreSpec {
    /// Address of a store that is not Amazon's. Default: `AWS_ENDPOINT_URL_S3`, else `AWS_ENDPOINT_URL`, else Amazon's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Expanded>,
    /// Region of the bucket. Default: `AWS_REGION`, else `AWS_DEFAULT_REGION`, else `us-east-1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<Expanded>,
    /// Access key; it must come from a variable. Default: `AWS_ACCESS_KEY_ID`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key: Option<Expanded>,
    /// Secret of `access_key`; it must come from a variable. Default: `AWS_SECRET_ACCESS_KEY`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key: Option<Expanded>,
    /// Token of a temporary `access_key`; it must come from a variable. Default: `AWS_SESSION_TOKEN`, where the access key is from the environment too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_token: Option<Expanded>,
    /// Ask without credentials, as anybody may. Default `false`.
    pub anonymous: bool,
    /// Ask the machine itself (EC2) for credentials where there are no others. Default `false`.
    pub instance_role: bool,
    /// Put the bucket's name into the host's name (`https://name.host/`), which a few stores insist on. Default `false`.
    pub virtual_hosts: bool,
    /// Objects that are transferred at the same time, 256 at most. Default `16`.
    pub parallel: u32,
    /// Bytes per second that are transferred at most, in both directions together. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<ByteSize>,
    /// Objects larger than this are transferred in parts of this size; 5MiB to 1GiB. Default `8MiB`.
    pub part_size: ByteSize,
    /// How long one request may take; it is tried again then. Default `1m`.
    pub timeout: Span,
}

impl StoreSpec {
    /// The most that `parallel` may be.
    pub const PARALLEL_LIMIT: u32 = 256;
    /// The least and the most that `part_size` may be.
    pub const PART_LIMITS_BYTES: [u64; 2] = [5 << 20, 1 << 30];
}

impl Default for StoreSpec {
    fn default() -> Self {
        Self {
            endpoint: None,
            region: None,
            access_key: None,
            secret_key: None,
            session_token: None,
            anonymous: false,
            instance_role: false,
            virtual_hosts: false,
            parallel: 16,
            bandwidth: None,
            part_size: ByteSize(8 << 20),
            timeout: Span::seconds(60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_written() {
        for (text, shown) in [
            ("s3://site", "s3://site"),
            ("s3://site/", "s3://site"),
            ("s3://my.site-1/a b/c/", "s3://my.site-1/a b/c"),
            ("fs:///srv/objects", "fs:///srv/objects"),
        ] {
            assert_eq!(text.parse::<BucketAddress>().map(|address| address.to_string()), Ok(shown.to_owned()));
        }
        for (text, problem) in [
            ("site", NO_ADDRESS),
            ("https://site", NO_ADDRESS),
            ("fs://relative", NO_ADDRESS),
            ("s3://", NO_NAME),
            ("s3://si te", NO_NAME),
            ("s3://key:secret@site", NO_NAME),
            ("s3://Site", NO_NAME),
            ("s3://site/a//b", NO_PREFIX),
            ("s3://site/../other", NO_PREFIX),
            ("s3://site/ a", NO_PREFIX),
        ] {
            assert_eq!(text.parse::<BucketAddress>(), Err(problem), "{text}");
        }
    }
}
