//! `cascade-sync.yaml`: from text to a checked [`Config`].

pub mod model;

pub use model::{
    AlertEvent, Approval, CheckSpec, Config, Environment, Expanded, Health, Notify, PromoteMode, Question,
    RollbackMode, Sandbox,
};

/// Name of the configuration file, at the top of the checkout.
pub const FILE_NAME: &str = "cascade-sync.yaml";
