//! `cascade-sync.yaml`: from text to a checked [`Config`](crate::config::Config).
//!
//! `yaml` reads text into a tree with positions, `decode` turns the tree into the structs of
//! [`model`](crate::config::model), `validate` checks what types cannot say. Each goes on after a problem, so that one
//! run lists them all.

mod address;
mod amend;
mod bucket;
mod decode;
mod freeze;
pub mod message;
pub mod model;
mod node;
mod pipeline;
mod problem;
mod records;
mod reference;
mod refname;
mod requests;
mod schedule;
pub mod surroundings;
mod syncs;
mod template;
mod validate;
mod variables;
mod yaml;

use std::io::{self, Read as _};
use std::path::Path;

pub use address::{Login, MailServer, Mailbox, Protection};
pub use amend::{Refusal, allowing};
pub use bucket::{BucketAddress, StoreSpec};
pub use freeze::{FreezeWindow, Frozen};
pub use message::{MessageTemplate, Placeholder};
pub use model::{
    AlertEvent, AllowedSecret, Approval, AutoMode, CheckSpec, Config, Durability, Email, Encryption, Environment,
    Expanded, Health, HistoryMode, Ledger, MessageSpec, Notify, PromoteMode, Question, RollbackMode, Sandbox, Secrets,
    SecretsMode, SignMode, Waivable, Webhook,
};
pub use problem::{Error, MAX_PROBLEMS, Problem, Problems};
pub use records::{RecordsSource, RecordsTarget};
pub use reference::{Entry, reference, reference_markdown, schema};
pub use refname::branch_problem;
pub use requests::{BodyTemplate, JsonPointer, RequestTemplate, TextTemplate, header, header_template};
pub use schedule::Schedule;
pub use surroundings::Surroundings;
pub use syncs::{DeleteMode, OnDrift, Snapshots, SyncSource, SyncSpec, SyncTarget, VaultSpec, VerifyMode};
pub use template::{EXAMPLES, TEMPLATE, example, template};
pub use variables::Variables;
pub use yaml::to_yaml;

use problem::{Position, Report};

/// Name of the configuration file, at the top of the checkout.
pub const FILE_NAME: &str = "cascade-sync.yaml";

/// Name of the file with further variables, beside the configuration.
pub const DOTENV_NAME: &str = ".env";

/// Reads and checks the configuration at the top of a checkout.
///
/// `variables` is the environment; a `.env` file in `root` adds what is not set there. Fails with
/// every problem of the file at once.
pub fn load(root: &Path, variables: &Variables) -> Result<Config, Error> {
    let path = root.join(FILE_NAME);
    let Some(bytes) = read_file(&path)? else { return Err(Error::Missing { path }) };
    let variables = self::variables(root, variables)?;
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) => text,
        Err(error) => return Err(not_text(&bytes, error.valid_up_to()).into()),
    };
    Ok(parse(text, FILE_NAME, &variables)?)
}

/// Answers what `${VAR}` stands for in a checkout: `environment`, and what its `.env` adds.
///
/// Fails when the file is there and cannot be read.
pub fn variables(root: &Path, environment: &Variables) -> Result<Variables, Error> {
    let path = root.join(DOTENV_NAME);
    // Some projects have a directory of that name, with a Python environment in it.
    let dotenv = if path.is_file() { read_file(&path)? } else { None }.unwrap_or_default();
    Ok(environment.clone().with_dotenv(&String::from_utf8_lossy(&dotenv)))
}

/// Reads and checks the text of a configuration; `source_name` names it in problems.
///
/// A channel of alerts for which a variable is not set is off, and [`Notify::lacking`] tells: nothing else waits for it.
///
/// Fails with every problem of the text, up to [`MAX_PROBLEMS`].
pub fn parse(text: &str, source_name: &str, variables: &Variables) -> Result<Config, Problems> {
    let mut report = Report::new(source_name);
    let Some((root, decoded)) = read(text, &mut report) else { return Err(report.into_problems()) };
    let Some(mut config) = decoded.value else { return Err(report.into_problems()) };
    validate::validate(&mut config, &root, decoded.refused, variables, &mut report);
    if let Some(lacking) = report.take_lacking() {
        config.notify.turn_off(lacking);
    }
    surroundings::surround(&mut config, variables);
    report.finish(config)
}

/// Reads the text of a configuration as it is written, for whoever only wants to know its rules: `${VAR}` stays, and
/// whether names and values fit together is not looked at.
///
/// Fails with every problem of the text's shape.
pub fn parse_written(text: &str, source_name: &str) -> Result<Config, Problems> {
    let mut report = Report::new(source_name);
    let decoded = read(text, &mut report).and_then(|(_, decoded)| decoded.value);
    match decoded {
        Some(config) => report.finish(config),
        None => Err(report.into_problems()),
    }
}

/// Reads the configuration at the top of a checkout as [`parse_written`] does.
///
/// Fails with every problem of the file's shape.
pub fn load_written(root: &Path) -> Result<Config, Error> {
    let path = root.join(FILE_NAME);
    let Some(bytes) = read_file(&path)? else { return Err(Error::Missing { path }) };
    let text = std::str::from_utf8(&bytes).map_err(|error| not_text(&bytes, error.valid_up_to()))?;
    Ok(parse_written(text, FILE_NAME)?)
}

/// Reads text into the structs, as far as their types can say what is good.
fn read(text: &str, report: &mut Report) -> Option<(node::Node, decode::Decoded<Config>)> {
    let document = yaml::read(text);
    for fault in document.faults {
        let key = fault.entry.and_then(|id| Some(document.root.as_ref()?.find(id)?.key));
        report.add(fault.at, key.unwrap_or_default(), fault.message);
    }
    let root = document.root?;
    let decoded = decode::decode::<Config>(&root, report);
    Some((root, decoded))
}

/// Reads what the configuration at the top of a checkout says about secrets alone: variables need not be set for that.
///
/// Answers the defaults where there is no configuration. Fails with every problem of the file's shape and of this part.
pub fn load_secrets(root: &Path) -> Result<Secrets, Error> {
    let Some(bytes) = read_file(&root.join(FILE_NAME))? else { return Ok(Secrets::default()) };
    let text = std::str::from_utf8(&bytes).map_err(|error| not_text(&bytes, error.valid_up_to()))?;
    let mut report = Report::new(FILE_NAME);
    let Some((root, decoded)) = read(text, &mut report) else { return Err(report.into_problems().into()) };
    let Some(config) = decoded.value else { return Err(report.into_problems().into()) };
    validate::validate_secrets(&config, &root, decoded.refused, &mut report);
    Ok(report.finish(config.secrets)?)
}

/// Reads a regular file, one byte further than the limit at most; nothing if there is no such file.
fn read_file(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    let unreadable = |source| Error::Unreadable { path: path.to_owned(), source };
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Err(unreadable(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    }
    let mut bytes = Vec::new();
    let limit_bytes = u64::try_from(yaml::MAX_FILE_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(limit_bytes).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(Some(bytes))
}

fn not_text(bytes: &[u8], valid_bytes: usize) -> Problems {
    // Lines end as they do in YAML: with LF, CR or both.
    let before = String::from_utf8_lossy(&bytes[..valid_bytes]).replace("\r\n", "\n").replace('\r', "\n");
    let line = before.split('\n').count();
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let mut report = Report::new(FILE_NAME);
    report.add(Position { line, column }, "", "not UTF-8 text");
    report.into_problems()
}

#[cfg(test)]
mod tests;
