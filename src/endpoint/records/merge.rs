//! Bringing together what both sides made of a record, field by field. Pure.

use std::collections::BTreeSet;

use super::json::{Json, parse};
use super::shape::FORM;
use super::sketch::{self, Sketch};
use crate::base::digest::Digest;
use crate::endpoint::{Fingerprint, Known, Merge, Merged, Version};

/// Merges records by their fields.
#[derive(Debug, Clone, Copy)]
pub(super) struct FieldMerge;

impl Merge for FieldMerge {
    fn merge(&self, agreed: [&Fingerprint; 2], source: &[u8], target: &[u8]) -> Option<Merged> {
        let [here, there] = agreed.map(|print| sketch::read(sketch::part_of(print)));
        let (here, there) = (here?, there?);
        let (Ok(Json::Object(source)), Ok(Json::Object(target))) = (parse(source), parse(target)) else { return None };
        let mut merging = Merging::new([&here, &there]);
        let names: BTreeSet<&String> = source.iter().chain(&target).map(|(name, _)| name).collect();
        for name in names {
            merging.field(name, value_of(&source, name), value_of(&target, name));
        }
        let Merging { fields, agreed: [new_here, new_there], kept, .. } = merging;
        let content = Json::Object(fields).canonical();
        let actual = |object: &[(String, Json)]| sketch::sketched(&Json::Object(object.to_vec()), |_| true);
        let is_news = new_here != here || new_there != there;
        let here = (new_here != actual(&source)).then(|| standing_for(&new_here));
        let there = (!kept.is_empty()).then(|| standing_for(&new_there));
        Some(Merged { content, form: FORM, agreed: [here, there], kept, is_news })
    }
}

fn value_of<'o>(object: &'o [(String, Json)], name: &str) -> Option<&'o Json> {
    object.iter().find(|(known, _)| known == name).map(|(_, value)| value)
}

/// A merge under way.
struct Merging<'m> {
    /// What was agreed at the source and at the target.
    before: [&'m Sketch; 2],
    /// What is agreed from now on.
    agreed: [Sketch; 2],
    fields: Vec<(String, Json)>,
    kept: Vec<String>,
}

impl<'m> Merging<'m> {
    fn new(before: [&'m Sketch; 2]) -> Self {
        Self { before, agreed: [Sketch::new(), Sketch::new()], fields: Vec::new(), kept: Vec::new() }
    }

    fn field(&mut self, name: &str, source: Option<&Json>, target: Option<&Json>) {
        let known = sketch::name(name);
        let before = self.before.map(|sketch| sketch.get(&known).copied());
        let now = [source, target].map(|value| value.map(sketch::value));
        let is_touched = [before[0] != now[0], before[1] != now[1]];
        let (value, agreed) = match is_touched {
            _ if now[0] == now[1] => (target, now),
            // What the source says counts where nobody else touched it.
            [true, false] => (source, [now[0], now[0]]),
            [false, false] => (target, before),
            [_, true] => {
                self.kept.push(name.to_owned());
                (target, before)
            }
        };
        self.fields.extend(value.map(|value| (name.to_owned(), value.clone())));
        for (sketch, agreed) in self.agreed.iter_mut().zip(agreed) {
            sketch.extend(agreed.map(|agreed| (known, agreed)));
        }
    }
}

/// Answers something that no record is, which tells what was agreed of its fields.
fn standing_for(sketch: &Sketch) -> Known {
    let written = sketch::written(sketch);
    let digest = Digest::of(&[b"fields: ", &written[..]].concat());
    let bytes = [&digest.as_bytes()[..sketch::PREFIX_BYTES], &written].concat();
    let version = Version { digest, form: FORM, size: 0 };
    Known { version, fingerprint: Fingerprint { bytes, is_racy: false } }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::shape::{Shape, tests::shape};
    use super::*;

    type Fields = BTreeMap<String, u8>;

    fn text(fields: &Fields) -> Vec<u8> {
        let fields = fields.iter().map(|(name, value)| (name.clone(), Json::Number(value.to_string())));
        Json::Object([("id".to_owned(), Json::Number("1".to_owned()))].into_iter().chain(fields).collect()).canonical()
    }

    fn known(fields: &Fields) -> Known {
        Shape { by_field: true, ..shape() }.record(&text(fields)).unwrap().known
    }

    fn fields() -> impl Strategy<Value = Fields> {
        proptest::collection::btree_map("[a-d]", 0..3_u8, 0..4)
    }

    /// One pair of records through many syncs, as the engine brings them together.
    struct Pair {
        source: Fields,
        target: Fields,
        agreed: [Known; 2],
    }

    impl Pair {
        fn sync(&mut self) -> Vec<String> {
            let prints = [&self.agreed[0].fingerprint, &self.agreed[1].fingerprint];
            let merged = FieldMerge.merge(prints, &text(&self.source), &text(&self.target)).unwrap();
            let Json::Object(all) = parse(&merged.content).unwrap() else { panic!() };
            let number =
                |value: &Json| if let Json::Number(number) = value { number.parse().unwrap() } else { panic!() };
            self.target = all
                .iter()
                .filter(|(name, _)| name != "id")
                .map(|(name, value)| (name.clone(), number(value)))
                .collect();
            let [here, there] = merged.agreed;
            self.agreed = [here.unwrap_or_else(|| known(&self.source)), there.unwrap_or_else(|| known(&self.target))];
            merged.kept
        }
    }

    #[test]
    fn fields_flow_around_one_that_was_edited_by_hand() {
        let of =
            |pairs: &[(&str, u8)]| pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect::<Fields>();
        let before = of(&[("a", 1), ("b", 1), ("c", 1)]);
        let mut pair =
            Pair { source: before.clone(), target: before.clone(), agreed: [known(&before), known(&before)] };
        (pair.source, pair.target) = (of(&[("a", 2), ("b", 2), ("d", 1)]), of(&[("a", 9), ("b", 1), ("c", 1)]));
        assert_eq!(pair.sync(), ["a"]);
        assert_eq!(pair.target, of(&[("a", 9), ("b", 2), ("d", 1)]));
        assert_eq!(pair.sync(), ["a"], "as long as nobody decides");
        pair.target.insert("a".to_owned(), 1);
        assert_eq!(pair.sync(), [""; 0], "the edit was taken back");
        assert_eq!(pair.target, pair.source);
        let unknown = Fingerprint { bytes: vec![1; 8], is_racy: false };
        assert_eq!(FieldMerge.merge([&unknown, &unknown], b"{}", b"{}"), None);
    }

    proptest! {
        #[test]
        fn no_sequence_of_edits_loses_one_made_by_hand(
            start in fields(),
            steps in proptest::collection::vec((any::<bool>(), "[a-d]", proptest::option::of(0..3_u8)), 1..24),
        ) {
            let mut pair = Pair { source: start.clone(), target: start.clone(), agreed: [known(&start), known(&start)] };
            // What somebody did by hand, and nobody undid.
            let mut by_hand: BTreeMap<String, Option<u8>> = BTreeMap::new();
            for (is_source, name, value) in steps {
                let side = if is_source { &mut pair.source } else { &mut pair.target };
                let before = side.get(&name).copied();
                match value {
                    Some(value) => side.insert(name.clone(), value),
                    None => side.remove(&name),
                };
                if !is_source && before != value {
                    by_hand.insert(name, value);
                }
                let kept = pair.sync();
                let again = pair.target.clone();
                prop_assert_eq!(pair.sync(), kept.clone());
                prop_assert_eq!(&again, &pair.target, "a second sync changes nothing");
                by_hand.retain(|name, _| kept.contains(name));
                for (name, value) in &by_hand {
                    prop_assert_eq!(pair.target.get(name).copied(), *value, "{} was edited by hand", name);
                }
                for name in ["a", "b", "c", "d"].map(str::to_owned) {
                    if !kept.contains(&name) {
                        prop_assert_eq!(pair.target.get(&name), pair.source.get(&name), "{} flows", name);
                    }
                }
            }
        }
    }
}
