//! Small content that was read to know what it is, until it is asked for: then it costs no second request.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::endpoint::Key;

/// Bytes that are kept at most; what comes when there is no room is read again.
const KEPT_LIMIT_BYTES: usize = 16 << 20;

/// Contents that were read, each with the ETag that it has.
#[derive(Default)]
pub(super) struct Recent(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    contents: HashMap<Key, (String, Vec<u8>)>,
    bytes: usize,
}

impl Recent {
    /// Keeps content, where there is room.
    pub fn keep(&self, key: &Key, etag: &str, content: &[u8]) {
        let kept = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.bytes + content.len() > KEPT_LIMIT_BYTES {
            return;
        }
        kept.bytes += content.len();
        if let Some((_, old)) = kept.contents.insert(key.clone(), (etag.to_owned(), content.to_vec())) {
            kept.bytes -= old.len();
        }
    }

    /// Gives content away, where it is kept as it is with that ETag.
    pub fn take(&self, key: &Key, etag: &str) -> Option<Vec<u8>> {
        let kept = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (of, content) = kept.contents.remove(key)?;
        kept.bytes -= content.len();
        (of == etag).then_some(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::new(text.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn content_is_given_away_once_and_only_as_it_is_now() {
        let recent = Recent::default();
        recent.keep(&key("a"), "\"1\"", b"one");
        recent.keep(&key("a"), "\"2\"", b"two");
        assert_eq!(recent.take(&key("b"), "\"2\""), None);
        assert_eq!(recent.take(&key("a"), "\"2\"").as_deref(), Some(&b"two"[..]));
        assert_eq!(recent.take(&key("a"), "\"2\""), None);
        recent.keep(&key("a"), "\"1\"", b"one");
        assert_eq!(recent.take(&key("a"), "\"2\""), None, "it was changed since");
    }

    #[test]
    fn there_is_room_for_so_much_and_no_more() {
        let recent = Recent::default();
        let half = vec![1; KEPT_LIMIT_BYTES / 2];
        for name in ["a", "b", "c"] {
            recent.keep(&key(name), "1", &half);
        }
        assert!(recent.take(&key("c"), "1").is_none());
        assert!(recent.take(&key("a"), "1").is_some());
        recent.keep(&key("c"), "1", &half);
        assert!(recent.take(&key("b"), "1").is_some() && recent.take(&key("c"), "1").is_some());
    }
}
