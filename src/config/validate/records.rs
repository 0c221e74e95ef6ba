//! What the types cannot say about records.

use std::path::PathBuf;

use url::Url;

use super::notify::{NOT_A_VARIABLE, is_written_out};
use super::syncs::normal;
use super::{AT_LEAST_ONE, Checker, NOT_ZERO, is_environment_name, is_inside};
use crate::config::model::Expanded;
use crate::config::records::{RecordsSource, RecordsTarget};
use crate::config::requests::{BodyTemplate, JsonPointer, RequestTemplate, header};
use crate::config::syncs::{OnDrift, SyncSpec};
use crate::config::variables::{Variables, is_name};

const NO_TABLE: &str = "a table's name starts with a-z or 0-9 and goes on with those, `-` and `_`";
const NO_URL: &str = "must be an address like https://host/path, without a password in it";
const NO_HEADER: &str = "must be a header, like `Accept: application/json`";
const NO_PATH: &str = "must be the path of a file";
/// What only has a meaning for a target that is an HTTP API.
const OF_URL: [&str; 12] =
    ["items", "next", "item", "headers", "body", "ignore", "read", "create", "update", "delete", "parallel", "timeout"];
/// Headers that carry secrets.
const SECRET_HEADERS: [&str; 4] = ["authorization", "cookie", "x-api-key", "proxy-authorization"];

impl Checker<'_> {
    pub(super) fn expand_records(&mut self, name: &str, sync: &mut SyncSpec, variables: &Variables) {
        if let Some(records) = &mut sync.from.records {
            let RecordsSource { files, url, headers, .. } = records;
            self.expand_places([name, "from"], [("files", files), ("url", url)], headers, variables);
        }
        if let Some(records) = &mut sync.to.records {
            let RecordsTarget { file, url, headers, .. } = records;
            self.expand_places([name, "to"], [("file", file), ("url", url)], headers, variables);
        }
    }

    fn expand_places(
        &mut self,
        [name, side]: [&str; 2],
        fields: [(&str, &mut Option<Expanded>); 2],
        headers: &mut [Expanded],
        variables: &Variables,
    ) {
        for (field, text) in fields {
            if let Some(text) = text {
                self.replace(&["syncs", name, side, "records", field], text, variables.expand(text.written()));
            }
        }
        let places = self.texts(&["syncs", name, side, "records", "headers"]);
        for (text, (place, _)) in headers.iter_mut().zip(places) {
            match variables.expand(text.written()) {
                Ok(value) => *text = Expanded::new(text.written(), value),
                Err(message) => self.report.add(place.at, place.key, message),
            }
        }
    }

    /// Checks what is said of records on either side; answers where those of the source and those of the target are, for
    /// comparison with others.
    pub(super) fn check_records(&mut self, name: &str, sync: &SyncSpec) -> [Option<PathBuf>; 2] {
        if sync.to.records.is_some() && sync.from.records.is_none() && self.is_set(&["syncs", name, "from"]) {
            self.report_key(&["syncs", name, "to", "records"], "records come from records: `from: { records: … }`");
        }
        let by_field = sync.on_drift == OnDrift::FlagField;
        if by_field && (sync.to.records.is_none() || sync.from.records.is_none()) {
            self.report_value(
                &["syncs", name, "on_drift"],
                "only records have fields: it needs `records` on both sides",
            );
        }
        let source = sync.from.records.as_ref().and_then(|records| self.check_records_source(name, records));
        let target = sync.to.records.as_ref().and_then(|records| self.check_records_target(name, records));
        [source, target]
    }

    fn check_records_source(&mut self, name: &str, records: &RecordsSource) -> Option<PathBuf> {
        let base = ["syncs", name, "from", "records"];
        let at = |field| [base[0], base[1], base[2], base[3], field];
        self.check_one_of(&base, "a source of records", &["files", "command", "url", "table"]);
        if records.id.is_empty() {
            self.report_value(&at("id"), "must be the name of a field");
        }
        if records.command.as_ref().is_some_and(|command| command.trim().is_empty() || command.contains('\0')) {
            self.report_value(&at("command"), "must be a command");
        }
        if records.schema.as_deref().is_some_and(|schema| !is_inside(schema)) {
            self.report_value(&at("schema"), "must be a relative path that stays inside (no `..`)");
        }
        if !(1..=RecordsSource::RECORD_LIMIT_BYTES).contains(&records.max_record.0) {
            self.report_value(&at("max_record"), "must be between 1B and 256MiB");
        }
        for (place, variable) in self.texts(&at("env")) {
            if !is_name(&variable) {
                self.report.add(place.at, place.key, "is no name of a variable");
            }
        }
        if records.timeout.0.is_zero() {
            self.report_value(&at("timeout"), NOT_ZERO);
        }
        self.check_pointers(&base, [("items", &records.items), ("next", &records.next)]);
        if self.is_set(&at("items")) && self.is_set(&at("table")) {
            self.report_key(&at("items"), "has no meaning beside `table`");
        }
        if records.max_answer.0 == 0 {
            self.report_value(&at("max_answer"), NOT_ZERO);
        } else if self.is_set(&at("max_answer")) && !self.is_set(&at("url")) && !self.is_set(&at("command")) {
            self.report_key(&at("max_answer"), "only has a meaning beside `command` or `url`");
        }
        for (field, beside) in [("headers", "url"), ("next", "url"), ("env", "command")] {
            if self.is_set(&at(field)) && !self.is_set(&at(beside)) {
                self.report_key(&at(field), &format!("only has a meaning beside `{beside}`"));
            }
        }
        self.check_place(&base, "files", records.files.as_ref());
        self.check_address(&base, records.url.as_ref(), &records.headers);
        self.check_table(&base, records.table.as_deref());
        let files = records.files.as_ref().filter(|_| self.find(&at("files")).is_some());
        let table = records.table.as_ref().map(|table| PathBuf::from(format!("table:/{table}")));
        files.map(|files| normal(files.value())).or(table)
    }

    fn check_records_target(&mut self, name: &str, records: &RecordsTarget) -> Option<PathBuf> {
        let base = ["syncs", name, "to", "records"];
        let at = |field| [base[0], base[1], base[2], base[3], field];
        self.check_one_of(&base, "a target of records", &["file", "url", "table"]);
        self.check_requests(&base, records);
        if records.parallel == 0 {
            self.report_value(&at("parallel"), AT_LEAST_ONE);
        } else if records.parallel > RecordsTarget::PARALLEL_LIMIT {
            self.report_value(&at("parallel"), "must be 64 at most");
        }
        if records.timeout.0.is_zero() {
            self.report_value(&at("timeout"), NOT_ZERO);
        }
        for field in OF_URL {
            if self.is_set(&at(field)) && !self.is_set(&at("url")) {
                self.report_key(&at(field), "only has a meaning beside `url`");
            }
        }
        self.check_place(&base, "file", records.file.as_ref());
        self.check_address(&base, records.url.as_ref(), &records.headers);
        self.check_table(&base, records.table.as_deref());
        let file = records.file.as_ref().filter(|_| self.find(&at("file")).is_some());
        let table = records.table.as_ref().map(|table| PathBuf::from(format!("table:/{table}")));
        file.map(|file| normal(file.value())).or(table)
    }

    fn check_requests(&mut self, base: &[&str], records: &RecordsTarget) {
        let at = |field| [base, &[field]].concat();
        let RecordsTarget { items, next, item, read, create, update, delete, body, .. } = records;
        for (field, text) in [("read", read), ("create", create), ("update", update), ("delete", delete)] {
            match text.parse::<RequestTemplate>() {
                Err(problem) => self.report_value(&at(field), problem),
                Ok(request) if field != "create" && !request.path.has_id() => {
                    self.report_value(&at(field), "must say where the id goes: `{id}`");
                }
                Ok(request) if field == "read" && request.path.placeholders().any(|name| name != "id") => {
                    self.report_value(&at(field), "knows nothing but the id: only `{id}` is filled in");
                }
                Ok(_) => {}
            }
        }
        self.check_pointers(base, [("items", items), ("next", next), ("item", item)]);
        let Some(body) = body else { return };
        if body.any_text(|text| text.contains("${")) {
            self.report_value(&at("body"), "takes no variables: what is secret belongs in a header");
        } else if !body.any_text(|text| BodyTemplate::placeholder(text).is_some()) {
            self.report_value(&at("body"), "must say where the record goes: `{record}`, or its fields");
        }
    }

    fn check_pointers<const N: usize>(&mut self, base: &[&str], pointers: [(&str, &Option<String>); N]) {
        for (field, pointer) in pointers {
            if let Some(Err(problem)) = pointer.as_ref().map(|pointer| pointer.parse::<JsonPointer>()) {
                self.report_value(&[base, &[field]].concat(), problem);
            }
        }
    }

    fn check_one_of(&mut self, base: &[&str], what: &str, things: &[&str]) {
        let at = |thing| [base, &[thing]].concat();
        let set: Vec<&&str> = things.iter().filter(|thing| self.is_set(&at(thing))).collect();
        match set[..] {
            [] => {
                let things = things.iter().map(|thing| format!("`{thing}`")).collect::<Vec<_>>().join(", ");
                self.report_key(base, &format!("{what} is one of {things}"));
            }
            [one, other, ..] => {
                self.report_key(&at(other), &format!("{what} is one thing, and this one has `{one}` already"));
            }
            [_] => {}
        }
    }

    fn check_place(&mut self, base: &[&str], field: &str, path: Option<&Expanded>) {
        if path.is_some_and(|path| path.value().trim().is_empty() || path.value().contains('\0')) {
            self.report_value(&[base, &[field]].concat(), NO_PATH);
        }
    }

    fn check_table(&mut self, base: &[&str], table: Option<&str>) {
        if table.is_some_and(|table| !is_environment_name(table)) {
            self.report_value(&[base, &["table"]].concat(), NO_TABLE);
        }
    }

    fn check_address(&mut self, base: &[&str], url: Option<&Expanded>, headers: &[Expanded]) {
        if url.is_some_and(|url| !is_address(url.value())) {
            self.report_value(&[base, &["url"]].concat(), NO_URL);
        }
        let places = self.texts(&[base, &["headers"]].concat());
        for (text, (place, _)) in headers.iter().zip(places) {
            match header(text.value()) {
                None => self.report.add(place.at, place.key, NO_HEADER),
                Some((name, _)) => {
                    let is_secret = SECRET_HEADERS.contains(&name.to_ascii_lowercase().as_str());
                    if is_secret && is_written_out(text) {
                        self.report.add(place.at, place.key, NOT_A_VARIABLE);
                    }
                }
            }
        }
    }
}

fn is_address(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    let is_open = url.username().is_empty() && url.password().is_none();
    matches!(url.scheme(), "http" | "https") && url.host_str().is_some() && is_open && url.fragment().is_none()
}
