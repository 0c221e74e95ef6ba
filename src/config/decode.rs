//! From a located tree to typed values, going on after each problem.
//!
//! Serde stops at the first refusal. [`decode`] notes it, marks the value it came from, and reads
//! again as if that value were absent, until nothing new turns up.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, Expected, IntoDeserializer, MapAccess,
    SeqAccess, Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::node::{Entry, Kind, Node, NodeId, Number, dotted};
use super::problem::{Position, Report, brief, nearest, quoted_message};

/// Identifier of the value that stands for missing ones.
const FILLER_ID: NodeId = NodeId::MAX;

/// What decoding made of a tree.
#[derive(Debug)]
pub(super) struct Decoded<T> {
    /// The value; values that were refused are left out or empty in it. Nothing where too much is wrong.
    pub value: Option<T>,
    /// Values that were refused.
    pub refused: HashSet<NodeId>,
}

/// Reads `root` as a `T`, reporting every unknown key, missing key and unsuitable value.
pub(super) fn decode<T: DeserializeOwned>(root: &Node, report: &mut Report) -> Decoded<T> {
    let mut recovery = Recovery { root, refused: HashSet::new(), filled: HashSet::new(), unknown: HashSet::new() };
    loop {
        let filler = Node { id: FILLER_ID, at: root.at, kind: Kind::Filler };
        let pass = Pass { filler, refused: &recovery.refused, filled: &recovery.filled, unknown: RefCell::default() };
        let result = T::deserialize(Reader { node: root, pass: &pass });
        let unknown = pass.unknown.into_inner();
        recovery.report_unknown(unknown, report);
        let refusal = match result {
            Ok(value) => return Decoded { value: Some(value), refused: recovery.refused },
            Err(refusal) => refusal,
        };
        if report.is_full() || !recovery.note(&refusal, report) {
            return Decoded { value: None, refused: recovery.refused };
        }
    }
}

struct Recovery<'a> {
    root: &'a Node,
    refused: HashSet<NodeId>,
    filled: HashSet<(NodeId, &'static str)>,
    unknown: HashSet<NodeId>,
}

impl Recovery<'_> {
    fn report_unknown(&mut self, unknown: Vec<UnknownKey>, report: &mut Report) {
        for key in unknown {
            if report.is_full() || !self.unknown.insert(key.entry) {
                continue;
            }
            let path = self.root.find(key.entry).map(|place| place.key).unwrap_or_default();
            let near = nearest(&key.name, key.allowed.iter().copied()).map(str::to_owned);
            report.add_choice(key.at, path, "unknown key", owned(key.allowed), near);
        }
    }

    /// Notes a refusal; answers whether reading again can get any further.
    fn note(&mut self, refusal: &Refusal, report: &mut Report) -> bool {
        let node = refusal.node.unwrap_or(self.root.id);
        match &refusal.reason {
            Reason::Missing(field) => self.note_missing(node, field, report),
            Reason::Unsuitable { message, allowed, found } => {
                if let Some(place) = self.root.find(node) {
                    let near = found.as_ref().and_then(|found| nearest(found, allowed.iter().copied()));
                    report.add_choice(place.at, place.key, message, owned(allowed), near.map(str::to_owned));
                }
                self.refused.insert(node) && node != FILLER_ID && node != self.root.id
            }
        }
    }

    /// A key that is there with a refused value is not reported as missing.
    fn note_missing(&mut self, map: NodeId, field: &'static str, report: &mut Report) -> bool {
        if let Some(place) = self.root.find(map) {
            let entry = find_node(self.root, map).and_then(|map| map.entry(field));
            if !entry.is_some_and(|entry| self.refused.contains(&entry.value.id)) {
                let at = entry.map_or(place.key_at, |entry| entry.at);
                let message = if entry.is_some() { "a value is required" } else { "this key is required" };
                report.add(at, dotted(&place.key, field), message);
            }
        }
        self.filled.insert((map, field)) && map != FILLER_ID
    }
}

fn find_node(node: &Node, id: NodeId) -> Option<&Node> {
    if node.id == id {
        return Some(node);
    }
    match &node.kind {
        Kind::List(items) => items.iter().find_map(|item| find_node(item, id)),
        Kind::Map(entries) => entries.iter().find_map(|entry| find_node(&entry.value, id)),
        _ => None,
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// One reading of the tree.
struct Pass<'a> {
    filler: Node,
    refused: &'a HashSet<NodeId>,
    filled: &'a HashSet<(NodeId, &'static str)>,
    unknown: RefCell<Vec<UnknownKey>>,
}

struct UnknownKey {
    entry: NodeId,
    at: Position,
    name: String,
    allowed: &'static [&'static str],
}

/// Why a value was refused, and which one: the innermost that was being read.
#[derive(Debug)]
struct Refusal {
    node: Option<NodeId>,
    reason: Reason,
}

#[derive(Debug)]
enum Reason {
    Missing(&'static str),
    Unsuitable { message: String, allowed: &'static [&'static str], found: Option<String> },
}

impl Refusal {
    fn because(message: String) -> Self {
        Self { node: None, reason: Reason::Unsuitable { message, allowed: &[], found: None } }
    }

    fn located(mut self, node: &Node) -> Self {
        self.node.get_or_insert(node.id);
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Reason::Missing(field) => write!(f, "`{field}` is missing"),
            Reason::Unsuitable { message, .. } => f.write_str(message),
        }
    }
}

impl std::error::Error for Refusal {}

impl serde::de::Error for Refusal {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::because(quoted_message(&message.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::because(format!("expected {}, found {}", wanted(expected), named(&found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let message = format!("`{}` is not one of the choices", brief(variant));
        let reason = Reason::Unsuitable { message, allowed: expected, found: Some(variant.to_owned()) };
        Self { node: None, reason }
    }

    fn missing_field(field: &'static str) -> Self {
        Self { node: None, reason: Reason::Missing(field) }
    }
}

/// Words for what serde expects, without the names of our types.
fn wanted(expected: &dyn Expected) -> String {
    let text = expected.to_string();
    match text.as_str() {
        "a string" => "text".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => MAPPING.to_owned(),
        "a boolean" => "true or false".to_owned(),
        "u16" => format!("a whole number up to {}", u16::MAX),
        "u32" => "a whole number, 0 or more".to_owned(),
        other if other.starts_with("struct ") => MAPPING.to_owned(),
        _ => text,
    }
}

const MAPPING: &str = "keys with values";

fn named(found: &Unexpected<'_>) -> String {
    match found {
        Unexpected::Str(text) => format!("the text `{}`", brief(text)),
        Unexpected::Bool(value) => format!("`{value}`"),
        Unexpected::Unsigned(value) => format!("the number `{value}`"),
        Unexpected::Signed(value) => format!("the number `{value}`"),
        Unexpected::Float(value) => format!("the number `{value}`"),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => MAPPING.to_owned(),
        Unexpected::Unit => "nothing".to_owned(),
        other => other.to_string(),
    }
}

/// Reads one value.
#[derive(Clone, Copy)]
struct Reader<'a> {
    node: &'a Node,
    pass: &'a Pass<'a>,
}

impl<'a> Reader<'a> {
    fn unexpected(self) -> Unexpected<'a> {
        match &self.node.kind {
            Kind::Null | Kind::Filler => Unexpected::Unit,
            Kind::Bool(value) => Unexpected::Bool(*value),
            Kind::Number(Number::Unsigned(value), _) => Unexpected::Unsigned(*value),
            Kind::Number(Number::Signed(value), _) => Unexpected::Signed(*value),
            Kind::Number(Number::Float(value), _) => Unexpected::Float(*value),
            Kind::Text(text) => Unexpected::Str(text),
            Kind::List(_) => Unexpected::Seq,
            Kind::Map(_) => Unexpected::Map,
        }
    }

    fn number<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        if matches!(self.node.kind, Kind::Filler) { visitor.visit_u64(0) } else { self.deserialize_any(visitor) }
    }

    /// A map with the keys of a struct; nothing stands for a map without keys.
    fn fields<'de, V>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Refusal>
    where
        V: Visitor<'de>,
    {
        match &self.node.kind {
            Kind::Map(_) | Kind::Null | Kind::Filler => {}
            _ => return Err(Refusal::invalid_type(self.unexpected(), &visitor)),
        }
        let filled = fields.iter().copied().filter(|field| self.pass.filled.contains(&(self.node.id, *field)));
        let access = Fields {
            pass: self.pass,
            allowed: Some(fields),
            entries: self.node.entries().iter(),
            filled: filled.collect(),
            value: None,
        };
        visitor.visit_map(access)
    }
}

macro_rules! numbers {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
            self.number(visitor).map_err(|refusal: Refusal| refusal.located(self.node))
        })*
    };
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Refusal;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        let result = match &self.node.kind {
            Kind::Null | Kind::Filler => visitor.visit_unit(),
            Kind::Bool(value) => visitor.visit_bool(*value),
            Kind::Number(Number::Unsigned(value), _) => visitor.visit_u64(*value),
            Kind::Number(Number::Signed(value), _) => visitor.visit_i64(*value),
            Kind::Number(Number::Float(value), _) => visitor.visit_f64(*value),
            Kind::Text(text) => visitor.visit_str(text),
            Kind::List(items) => visitor.visit_seq(Items { pass: self.pass, items: items.iter() }),
            Kind::Map(entries) => visitor.visit_map(Fields {
                pass: self.pass,
                allowed: None,
                entries: entries.iter(),
                filled: Vec::new(),
                value: None,
            }),
        };
        result.map_err(|refusal: Refusal| refusal.located(self.node))
    }

    /// Numbers are text too where text is asked for, exactly as they were written.
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        let result = match &self.node.kind {
            Kind::Number(_, text) | Kind::Text(text) => visitor.visit_str(text),
            Kind::Filler => visitor.visit_str(""),
            _ => return self.deserialize_any(visitor),
        };
        result.map_err(|refusal: Refusal| refusal.located(self.node))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.deserialize_string(visitor)
    }

    numbers! { deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        if self.node.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        self.fields(fields, visitor).map_err(|refusal| refusal.located(self.node))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        let result = match self.node.as_text() {
            Some(text) => visitor.visit_enum(Variant(text)),
            None => {
                let message = format!("{} is not one of the choices", named(&self.unexpected()));
                Err(Refusal { node: None, reason: Reason::Unsuitable { message, allowed: variants, found: None } })
            }
        };
        result.map_err(|refusal| refusal.located(self.node))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u128 f32 f64 char bytes byte_buf unit unit_struct seq tuple tuple_struct map
        identifier ignored_any
    }
}

/// The values of a list, without refused ones.
struct Items<'a> {
    pass: &'a Pass<'a>,
    items: std::slice::Iter<'a, Node>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Refusal;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Refusal> {
        let pass = self.pass;
        let next = self.items.find(|item| !pass.refused.contains(&item.id));
        next.map(|node| seed.deserialize(Reader { node, pass }).map_err(|refusal| refusal.located(node))).transpose()
    }
}

/// The entries of a map, without unknown keys and refused values; with fillers for missing ones.
struct Fields<'a> {
    pass: &'a Pass<'a>,
    /// The only keys there are; any key is good without.
    allowed: Option<&'static [&'static str]>,
    entries: std::slice::Iter<'a, Entry>,
    filled: Vec<&'static str>,
    value: Option<&'a Node>,
}

impl<'a> Fields<'a> {
    fn next_entry(&mut self) -> Option<&'a Entry> {
        loop {
            let entry = self.entries.next()?;
            if !self.is_known(entry) || self.pass.refused.contains(&entry.value.id) {
                continue;
            }
            // A key without a value says the same as no key; in a map of names the name counts.
            if self.allowed.is_none() || !entry.value.is_null() {
                return Some(entry);
            }
        }
    }

    fn is_known(&self, entry: &Entry) -> bool {
        let Some(allowed) = self.allowed.filter(|allowed| !allowed.contains(&&*entry.key)) else {
            return true;
        };
        let name = entry.key.chars().take(100).collect();
        self.pass.unknown.borrow_mut().push(UnknownKey { entry: entry.id, at: entry.at, name, allowed });
        false
    }
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Refusal;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Refusal> {
        let key: StrDeserializer<'_, Refusal> = if let Some(entry) = self.next_entry() {
            self.value = Some(&entry.value);
            (*entry.key).into_deserializer()
        } else if let Some(field) = self.filled.pop() {
            self.value = Some(&self.pass.filler);
            field.into_deserializer()
        } else {
            return Ok(None);
        };
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Refusal> {
        let node = self.value.take().ok_or_else(|| Refusal::custom("a value was asked for before its key"))?;
        // A type may refuse text after it was read, outside of the reader.
        seed.deserialize(Reader { node, pass: self.pass }).map_err(|refusal| refusal.located(node))
    }
}

/// A choice without content.
struct Variant<'a>(&'a str);

impl<'de> EnumAccess<'de> for Variant<'_> {
    type Error = Refusal;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Refusal> {
        let name: StrDeserializer<'_, Refusal> = self.0.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = Refusal;

    fn unit_variant(self) -> Result<(), Refusal> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _seed: T) -> Result<T::Value, Refusal> {
        Err(Refusal::custom("this choice needs content"))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, _visitor: V) -> Result<V::Value, Refusal> {
        Err(Refusal::custom("this choice needs content"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Refusal> {
        Err(Refusal::custom("this choice needs content"))
    }
}
