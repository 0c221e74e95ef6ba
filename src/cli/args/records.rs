//! Arguments of `cascade records`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

/// What to do with records.
#[derive(Debug, Clone, Subcommand)]
pub enum Records {
    /// List the tables, or the records of TABLE in the order of their ids
    List(ListRecords),
    /// Show a record as it is now
    Show(NamedRecord),
    /// Show what a record was, the newest first
    History(NamedRecord),
    /// Put a record into a table by hand, in place of what is there under its id
    ///
    /// A sync sees that somebody else did this: what it does then is for its `on_drift` to say.
    Set(SetRecord),
}

/// Options of `records list`.
#[derive(Debug, Clone, ClapArgs)]
pub struct ListRecords {
    /// The table [default: list the tables]
    #[arg(value_name = "TABLE")]
    pub table: Option<String>,
    /// List so many records at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    /// List those after this id
    #[arg(long, value_name = "ID")]
    pub after: Option<String>,
}

/// A record.
#[derive(Debug, Clone, ClapArgs)]
pub struct NamedRecord {
    /// The table
    #[arg(value_name = "TABLE")]
    pub table: String,
    /// The record's id
    #[arg(value_name = "ID")]
    pub id: String,
}

/// Options of `records set`.
#[derive(Debug, Clone, ClapArgs)]
pub struct SetRecord {
    /// The table
    #[arg(value_name = "TABLE")]
    pub table: String,
    /// A file with one record as JSON
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The field that names it [default: as the sync into TABLE has it, else id]
    #[arg(long, value_name = "FIELD")]
    pub id: Option<String>,
}
