//! Work on many things, shared by the processors.

use std::panic::resume_unwind;
use std::thread::{self, available_parallelism};

/// Lets each processor do `work` on a part of `items`, none of fewer than `least` unless that is all; answers what came of
/// the parts, in order.
pub(super) fn in_parts<'i, T: Sync, R: Send>(
    items: &'i [T],
    least: usize,
    work: impl Fn(&'i [T]) -> R + Sync,
) -> Vec<(&'i [T], R)> {
    let processors = available_parallelism().map_or(1, usize::from);
    let parts = (items.len() / least.max(1)).clamp(1, processors);
    let mut parts = items.chunks(items.len().div_ceil(parts).max(1));
    // The first is done here, while others do the rest.
    let Some(first) = parts.next() else { return Vec::new() };
    thread::scope(|scope| {
        let work = &work;
        let others: Vec<_> = parts.map(|part| (part, scope.spawn(move || work(part)))).collect();
        let first = (first, work(first));
        let others =
            others.into_iter().map(|(part, done)| (part, done.join().unwrap_or_else(|panic| resume_unwind(panic))));
        std::iter::once(first).chain(others).collect()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn all_is_done_once_and_in_order(items: Vec<u8>, least in 0_usize..20) {
            let done = in_parts(&items, least, <[u8]>::to_vec);
            prop_assert!(done.iter().all(|(part, copy)| part == copy));
            prop_assert!(done.len() <= 1 || done.iter().all(|(part, _)| !part.is_empty()));
            prop_assert_eq!(done.into_iter().flat_map(|(_, copy)| copy).collect::<Vec<_>>(), items);
        }
    }
}
