//! Following where the submodules are: a commit in one changes no file of the checkout.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use notify_debouncer_full::Debouncer;

use super::{Afterwards, Hint, Id, REPOSITORY_NAMES, Shared, State, id_of};
use crate::git::submodules;

/// The directory in git's directory where it writes down each move of `HEAD`, whatever is checked out.
const LOGS: &[u8] = b"logs";

/// A watched directory of a submodule's repository.
#[derive(Debug)]
pub(super) struct Head {
    id: Id,
    /// The submodule's directory, relative to the checkout.
    submodule: Vec<u8>,
}

impl Shared {
    /// Watches what tells where the submodules are that are there now, and nothing of those that are not any more.
    pub(super) fn follow_submodules(&self, state: &mut State) {
        let found = submodules(&self.root).into_iter().filter(|found| !self.rules.is_excluded(&found.path, true));
        let places = found.flat_map(|found| {
            let logs = found.git_dir.join("logs");
            [(found.git_dir, found.path.clone()), (logs, found.path)]
        });
        let id =
            |place: &Path| fs::symlink_metadata(place).ok().filter(fs::Metadata::is_dir).map(|found| id_of(&found));
        let places: Vec<(PathBuf, Head)> = places
            .filter_map(|(place, submodule)| Some((id(&place)?, place, submodule)))
            .map(|(id, place, submodule)| (place, Head { id, submodule }))
            .collect();
        self.forget_heads(state, &places.iter().map(|(place, _)| place).collect());
        let is_fresh = |(place, head): &(PathBuf, Head)| state.heads.get(place).is_none_or(|known| known.id != head.id);
        let fresh: Vec<(PathBuf, Head)> = places.into_iter().filter(is_fresh).collect();
        let paths: Vec<PathBuf> = fresh.iter().map(|(place, _)| place.clone()).collect();
        let refused = self.add_watches(state, &paths);
        state.heads.extend(fresh.into_iter().filter(|(place, _)| !refused.contains(place)));
    }

    fn forget_heads(&self, state: &mut State, wanted: &BTreeSet<&PathBuf>) {
        let stale: Vec<PathBuf> = state.heads.keys().filter(|place| !wanted.contains(place)).cloned().collect();
        for place in stale {
            state.heads.remove(&place);
            // What is gone is not watched any more.
            let _ = state.debouncer.as_mut().map(|debouncer| Debouncer::unwatch(debouncer, &place));
        }
    }

    /// Looks at an event in the repository of a submodule; answers whether it was one.
    pub(super) fn head_event(&self, state: &mut State, after: &mut Afterwards, path: &Path) -> bool {
        let Some(head) = path.parent().and_then(|place| state.heads.get(place)) else { return false };
        let name = path.file_name().unwrap_or_default().as_bytes();
        let submodule = head.submodule.clone();
        // Its log begins with its first commit.
        after.submodules |= name == LOGS;
        if REPOSITORY_NAMES.contains(&name) {
            state.out.send_at(Hint::Path(submodule), after.at);
        }
        true
    }
}

/// Answers whether a path of the checkout tells which submodules there are.
pub(super) fn names_submodules(path: &[u8]) -> bool {
    path == b".gitmodules" || path.ends_with(b"/.git")
}
