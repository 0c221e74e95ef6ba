//! From what is configured to a store that can be asked.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use opendal::layers::TimeoutLayer;
use opendal::services::{Fs, S3};
use opendal::{HttpTransporter, OperationContext, Operator};
use opendal_http_transport_reqwest::ReqwestTransport;
use reqwest::Url;
use reqwest::redirect::Policy;
use tokio::sync::{OnceCell, Semaphore};

use super::courtesy::Courteous;
use super::pace::Pace;
use super::recent::Recent;
use super::{Bucket, Store};
use crate::base::Clock;
use crate::base::escape::shown;
use crate::config::{BucketAddress, Expanded, StoreSpec};
use crate::endpoint::{Error, Result};
use crate::net;

/// Where new objects of a local directory are until they are complete, within it.
pub(super) const NEW_DIRECTORY: &str = ".cascade-new/";

/// Redirects that are followed, as within a store that moves buckets.
const REDIRECTS_LIMIT: usize = 3;
/// The region of stores that have none.
const USUAL_REGION: &str = "us-east-1";

/// What a store is made of.
pub(super) enum Source {
    /// An object store; all of it is made when it is opened.
    S3,
    /// A directory.
    Fs(PathBuf, Duration),
}

impl Source {
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::S3 => None,
            Self::Fs(path, _) => Some(path),
        }
    }
}

impl Bucket {
    /// Opens a bucket; it is not asked yet.
    ///
    /// # Errors
    /// The directory that is used as one is not there, or the configuration makes no sense to the store.
    pub fn open(address: &BucketAddress, spec: &StoreSpec, clock: Arc<dyn Clock>) -> Result<Self> {
        let endpoint = spec.endpoint.as_ref().map(Expanded::value);
        let place = match endpoint {
            Some(endpoint) => format!("the bucket {} at {}", shown_address(address), shown(endpoint.as_bytes())),
            None => format!("the bucket {}", shown_address(address)),
        };
        let refused = |refused: opendal::Error| super::refusal::unusable(&place, refused);
        let (source, operator) = match address {
            BucketAddress::S3 { name, prefix } => {
                let operator = s3(name, prefix, spec, &place)?.map_err(refused)?;
                (Source::S3, patient(operator, spec.timeout.0))
            }
            BucketAddress::Fs { path } => {
                let path = directory(path).map_err(Error::unusable(&place))?;
                let operator = fs(&path, None, spec.timeout.0).map_err(refused)?;
                (Source::Fs(path, spec.timeout.0), operator)
            }
        };
        let parallel = usize::try_from(spec.parallel.clamp(1, StoreSpec::PARALLEL_LIMIT)).unwrap_or(1);
        Ok(Self(Arc::new(Store {
            source,
            operator,
            writing: OnceCell::new(),
            parallel,
            permits: Semaphore::new(parallel),
            pace: Pace::new(spec.bandwidth.map(|limit| limit.0)),
            recent: Recent::default(),
            part_bytes: usize::try_from(spec.part_size.0).unwrap_or(usize::MAX),
            clock,
            place,
        })))
    }

    /// Answers the store for writing: what is written to a directory needs a place there until it is complete.
    pub(super) fn writer(&self) -> Result<Operator> {
        match &self.0.source {
            Source::S3 => Ok(self.0.operator.clone()),
            Source::Fs(path, timeout) => {
                let new = path.join(NEW_DIRECTORY);
                fs(path, Some(&new), *timeout).map_err(|refused| super::refusal::unusable(&self.0.place, refused))
            }
        }
    }
}

fn shown_address(address: &BucketAddress) -> String {
    shown(address.to_string().as_bytes())
}

/// Answers a directory that exists: OpenDAL would make it.
fn directory(path: &str) -> io::Result<PathBuf> {
    let path = Path::new(path).canonicalize()?;
    if path.is_dir() { Ok(path) } else { Err(io::ErrorKind::NotADirectory.into()) }
}

fn fs(path: &Path, new: Option<&Path>, timeout: Duration) -> opendal::Result<Operator> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let builder = Fs::default().root(&text(path));
    let builder = match new {
        Some(new) => builder.atomic_write_dir(&text(new)),
        None => builder,
    };
    Ok(patient(Operator::new(builder)?, timeout))
}

fn s3(name: &str, prefix: &str, spec: &StoreSpec, place: &str) -> Result<opendal::Result<Operator>> {
    let value = |text: &Option<Expanded>| text.as_ref().map(|text| text.value().to_owned());
    let endpoint = value(&spec.endpoint).unwrap_or_else(|| "https://s3.amazonaws.com".to_owned());
    let region = value(&spec.region).unwrap_or_else(|| USUAL_REGION.to_owned());
    let mut builder = S3::default().bucket(name).root(prefix).endpoint(&endpoint).region(&region);
    if spec.anonymous {
        builder = builder.skip_signature();
    }
    if let (Some(access), Some(secret)) = (value(&spec.access_key), value(&spec.secret_key)) {
        builder = builder.access_key_id(&access).secret_access_key(&secret).disable_config_load();
    }
    if let Some(token) = value(&spec.session_token) {
        builder = builder.session_token(&token);
    }
    if !spec.instance_role {
        builder = builder.disable_ec2_metadata();
    }
    if spec.virtual_hosts {
        builder = builder.enable_virtual_host_style();
    }
    let transport = transport(&endpoint, spec.timeout.0).map_err(Error::unusable(place))?;
    let context = OperationContext::new().with_http_transport(transport);
    Ok(Operator::new(builder).map(|operator| operator.with_context(context)))
}

fn transport(endpoint: &str, timeout: Duration) -> io::Result<HttpTransporter> {
    let url =
        Url::parse(endpoint).map_err(|problem| io::Error::new(io::ErrorKind::InvalidInput, problem.to_string()))?;
    let client = net::http_client(&url, || Policy::limited(REDIRECTS_LIMIT));
    let client = client.map_err(|refused| io::Error::other(net::deepest(&refused)))?;
    Ok(HttpTransporter::new(Courteous::new(ReqwestTransport::new(client), timeout)))
}

/// Gives up on a store that begins to answer and stops; how long an answer may take to begin is seen to before.
fn patient(operator: Operator, timeout: Duration) -> Operator {
    let longest = Courteous::<ReqwestTransport>::longest(timeout);
    operator.layer(TimeoutLayer::new().with_timeout(longest).with_io_timeout(longest))
}
