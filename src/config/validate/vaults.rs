//! What the types cannot say about vaults.

use std::path::Path;

use super::Checker;
use super::buckets::Side;
use super::notify::{NOT_A_VARIABLE, is_written_out};
use super::syncs::{is_path, normal};
use crate::config::model::Expanded;
use crate::config::syncs::VaultSpec;
use crate::config::variables::Variables;

impl Checker<'_> {
    /// Gives what opens a vault its values.
    pub(super) fn expand_vault(&mut self, side: Side<'_>, vault: &mut Option<VaultSpec>, variables: &Variables) {
        let [syncs, name, key] = side;
        let Some(VaultSpec { passphrase, key_file }) = vault else { return };
        for (field, text) in [("passphrase", passphrase), ("key_file", key_file)] {
            if let Some(text) = text {
                self.replace(&[syncs, name, key, "vault", field], text, variables.expand(text.written()));
            }
        }
    }

    /// Checks what opens a vault; `place` is where it is, as far as that is known.
    pub(super) fn check_vault(&mut self, side: Side<'_>, vault: Option<&VaultSpec>, place: Option<&Path>) {
        let [syncs, name, key] = side;
        let Some(vault) = vault else { return };
        let whole = [syncs, name, key, "vault"];
        if !["directory", "bucket"].iter().any(|thing| self.is_set(&[syncs, name, key, thing])) {
            self.report_key(&whole, "only has a meaning beside `directory` or `bucket`");
        }
        let at = |field| [syncs, name, key, "vault", field];
        match (self.is_set(&at("passphrase")), self.is_set(&at("key_file"))) {
            (false, false) => self.report_key(&whole, "a vault is opened by a `passphrase` or a `key_file`"),
            (true, true) => self.report_key(&at("key_file"), "it is opened by a `passphrase` already"),
            _ => {}
        }
        if vault.passphrase.as_ref().is_some_and(is_written_out) {
            self.report_value(&at("passphrase"), NOT_A_VARIABLE);
        }
        let key_file = vault.key_file.as_ref().filter(|_| self.find(&at("key_file")).is_some()).map(Expanded::value);
        match key_file {
            Some(path) if !is_path(path) => self.report_value(&at("key_file"), "must be the path of a file"),
            Some(path) if place.is_some_and(|place| normal(path).starts_with(place)) => {
                self.report_value(&at("key_file"), "must not lie in the vault that it opens");
            }
            _ => {}
        }
    }
}
