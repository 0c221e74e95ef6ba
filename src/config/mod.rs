//! `cascade-sync.yaml`: from text to a checked [`Config`] (stand-in for the config engineer's module).

pub mod model;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

pub use model::{
    AlertEvent, Approval, CheckSpec, Config, Environment, Expanded, Health, Notify, PromoteMode, Question,
    RollbackMode, Sandbox,
};

use crate::base::{ErrorKind, Kinded};

/// Name of the configuration file, at the top of the checkout.
pub const FILE_NAME: &str = "cascade-sync.yaml";

/// The commented reference configuration.
pub const TEMPLATE: &str = "\
# The pipeline of this project; `cascade config schema` describes every field.
version: 1
project: PROJECT
sandbox:
  branch: develop
environments:
  staging:
    from: develop
    branch: staging
  production:
    from: staging
    branch: PRODUCTION
    approval: { required: 1 }
";

/// What `${VAR}` may stand for.
#[derive(Clone, Default)]
pub struct Variables(BTreeMap<String, String>);

impl Variables {
    /// Collects names and values.
    #[must_use]
    pub fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(variables.into_iter().collect())
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file says something that does not fit.
    #[error("{}: {message}", .path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        message: String,
    },
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Config
    }
}

/// Loads the configuration at the top of a checkout.
///
/// # Errors
/// The file is missing or does not fit.
pub fn load(root: &Path, variables: &Variables) -> Result<Config, Error> {
    let _ = &variables.0;
    let path = root.join(FILE_NAME);
    let text = std::fs::read_to_string(&path).map_err(|source| Error::Io { path: path.clone(), source })?;
    serde_yaml::from_str(&text).map_err(|problem| Error::Invalid { path, message: problem.to_string() })
}

/// Answers the JSON schema of the file.
#[must_use]
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Config).to_value()
}

/// Answers the commented configuration that a new project starts with.
#[must_use]
pub fn template(project: &str, production_branch: &str) -> String {
    TEMPLATE.replace("PROJECT", project).replace("PRODUCTION", production_branch)
}

/// Answers the whole configuration, defaults included, as YAML.
#[must_use]
pub fn to_yaml(config: &Config) -> String {
    serde_yaml::to_string(config).unwrap_or_default()
}
