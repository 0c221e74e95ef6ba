//! Holders of keyed items: what a sync reads from and writes to.
//!
//! Every kind of endpoint lists itself as [`Item`]s in byte order of their keys, so that two of them and what was agreed
//! last can be compared in one pass.

pub mod item;

pub use item::{Fingerprint, Form, Item, Key, Version};
