//! The engine on records in files, whose fields are edited on both sides.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::plan::Policy;
use super::run::Sync;
use super::run_tests::{World, world};
use super::saved::SavedPlan;
use crate::config::OnDrift;
use crate::endpoint::{Origin, RecordFile, RecordTexts, Shape};

/// A field of one of the records.
type Place = (u8, &'static str);
type Values = BTreeMap<Place, u8>;

const RECORDS: [u8; 2] = [1, 2];
const FIELDS: [&str; 3] = ["a", "b", "c"];

#[derive(Debug, Clone)]
enum Edit {
    Source(Place, Option<u8>),
    Target(Place, Option<u8>),
    Run,
    /// Writes a plan down and carries it out, then runs.
    Saved,
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let place = || (proptest::sample::select(&RECORDS[..]), proptest::sample::select(&FIELDS[..]));
    let value = || proptest::option::of(0_u8..3);
    let edit = prop_oneof![
        3 => (place(), value()).prop_map(|(place, value)| Edit::Source(place, value)),
        3 => (place(), value()).prop_map(|(place, value)| Edit::Target(place, value)),
        2 => Just(Edit::Run),
        1 => Just(Edit::Saved),
    ];
    proptest::collection::vec(edit, 0..12)
}

/// What must come of edits, said as plainly as it can be.
#[derive(Default)]
struct Expected {
    source: Values,
    target: Values,
    /// What was agreed last of each field, at the source and at the target.
    agreed: BTreeMap<Place, [Option<u8>; 2]>,
    /// Fields that were edited by hand and are left alone.
    kept: BTreeSet<Place>,
}

impl Expected {
    fn sync(&mut self) {
        self.kept.clear();
        for place in RECORDS.into_iter().flat_map(|record| FIELDS.map(|field| (record, field))) {
            let now = [&self.source, &self.target].map(|side| side.get(&place).copied());
            let agreed = self.agreed.entry(place).or_default();
            if now[0] == now[1] {
                *agreed = now;
            } else if now[1] != agreed[1] {
                self.kept.insert(place);
            } else if now[0] != agreed[0] {
                *agreed = [now[0]; 2];
                set(&mut self.target, place, now[0]);
            }
        }
    }
}

fn set(values: &mut Values, place: Place, value: Option<u8>) {
    match value {
        Some(value) => drop(values.insert(place, value)),
        None => drop(values.remove(&place)),
    }
}

/// A sync between two files of records.
struct Files {
    _directory: tempfile::TempDir,
    _world: World,
    source: PathBuf,
    target: PathBuf,
    sync: Sync,
}

impl Files {
    async fn new() -> Self {
        let (directory, world) = (tempfile::tempdir().unwrap(), world().await);
        let [source, target] = ["source.ndjson", "target.json"].map(|name| directory.path().join(name));
        let shape = Shape { id: "id".to_owned(), ignore: Vec::new(), schema: None, limit: 1 << 20, by_field: true };
        let texts = RecordTexts::open(Origin::Files(source.clone()), shape.clone(), None);
        let sync = Sync {
            source: Arc::new(texts),
            target: Arc::new(RecordFile::open(&target, shape).unwrap()),
            policy: Policy { on_drift: OnDrift::FlagField, ..world.sync.policy },
            ..world.sync.clone()
        };
        Self { _directory: directory, _world: world, source, target, sync }
    }

    fn write(&self, expected: &Expected) {
        let lines: String = objects(&expected.source).iter().map(|record| format!("{record}\n")).collect();
        std::fs::write(&self.source, lines).unwrap();
        if self.target.exists() {
            std::fs::write(&self.target, Value::from(objects(&expected.target)).to_string()).unwrap();
        }
    }

    async fn apply_saved(&self) {
        let prepared = self.sync.prepare().await.unwrap();
        let text = self.sync.saved(&prepared).unwrap().to_text();
        let report = self.sync.apply(&SavedPlan::from_text(text.as_bytes()).unwrap()).await.unwrap();
        assert!(report.failed.is_empty() && report.unverified.is_empty(), "{report:?}");
        assert_eq!(report.changed(), prepared.plan.actions.iter().filter(|action| action.touches_target()).count());
    }
}

fn objects(values: &Values) -> Vec<Value> {
    let object = |record: u8| {
        let fields = values.iter().filter(|((other, _), _)| *other == record);
        let fields = fields.map(|((_, field), value)| ((*field).to_owned(), Value::from(*value)));
        Value::Object([("id".to_owned(), Value::from(record))].into_iter().chain(fields).collect())
    };
    RECORDS.map(object).to_vec()
}

fn held(path: &Path) -> Values {
    let records: Vec<Map<String, Value>> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let mut values = Values::new();
    for record in records {
        let id = u8::try_from(record["id"].as_u64().unwrap()).unwrap();
        let fields = FIELDS.into_iter().filter_map(|field| Some((field, record.get(field)?)));
        values.extend(fields.map(|(field, value)| ((id, field), u8::try_from(value.as_u64().unwrap()).unwrap())));
    }
    values
}

async fn play(edits: Vec<Edit>) -> Result<(), TestCaseError> {
    let (files, mut expected) = (Files::new().await, Expected::default());
    for edit in [Edit::Run].into_iter().chain(edits).chain([Edit::Run]) {
        match edit {
            Edit::Source(place, value) => set(&mut expected.source, place, value),
            Edit::Target(place, value) => set(&mut expected.target, place, value),
            Edit::Run | Edit::Saved => {
                files.write(&expected);
                expected.sync();
                if matches!(edit, Edit::Saved) {
                    files.apply_saved().await;
                    prop_assert_eq!(&held(&files.target), &expected.target, "by a plan that was saved");
                }
                files.sync.run().await.unwrap();
                prop_assert_eq!(&held(&files.target), &expected.target);
                let again = files.sync.prepare().await.unwrap().plan;
                prop_assert!(again.actions.is_empty(), "a second plan is empty: {:?}", again);
                let kept = again.flags.iter().flat_map(|flag| flag.parts.iter().map(|part| (&flag.key, part)));
                let kept: BTreeSet<String> = kept.map(|(key, part)| format!("{key} {part}")).collect();
                let told: BTreeSet<String> =
                    expected.kept.iter().map(|(record, field)| format!("{record} {field}")).collect();
                prop_assert_eq!(kept, told, "what is left alone is told");
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn no_sequence_of_edits_of_fields_loses_one_made_by_hand(edits in edits()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(play(edits))?;
    }
}
