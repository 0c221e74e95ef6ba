//! What stands between notify and notify-debouncer-full, so that nothing starves and nothing is guessed.
//!
//! Left alone, debouncer-full 0.8 holds back an event while a later one of the same kind is younger than
//! its timeout: a file that is written more often than that, or replaced by renames, is not reported
//! until it gets quiet. It also merges renames and drops the events below a removed directory. Here
//! every event is rewritten before it arrives there: one path each, and a kind that says only which
//! [`Class`] it has and in which *slot* of time it happened. So it keeps the one thing that is wanted
//! of it: per path and class at most one event per slot, at the latest two slots after it happened.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use notify::event::{CreateKind, DataChange, Event, EventKind, MetadataKind, ModifyKind};
use notify::{
    Config, ErrorKind, EventHandler, PathOp, RecommendedWatcher, RecursiveMode, Result, UpdatePathsError,
    WatchPathConfig, Watcher, WatcherKind,
};

/// What an event says about its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Content or attributes changed.
    Touched,
    /// It was created; what was known about the path still holds.
    Appeared,
    /// It was removed or renamed, from here or to here: what was known about the path no longer holds.
    Replaced,
    /// The kernel dropped events; there is no path.
    Overflow,
}

impl Class {
    /// Reads the class back from the kind that [`rewritten`] chose.
    pub(super) fn of(kind: EventKind) -> Self {
        match kind {
            EventKind::Modify(ModifyKind::Metadata(
                MetadataKind::Any | MetadataKind::AccessTime | MetadataKind::WriteTime,
            )) => Self::Appeared,
            EventKind::Modify(ModifyKind::Metadata(_)) => Self::Replaced,
            EventKind::Modify(ModifyKind::Data(_)) => Self::Touched,
            _ => Self::Overflow,
        }
    }

    /// The kinds are only labels here; three slots keep neighbours in time apart.
    fn kind(self, slot: usize) -> EventKind {
        let metadata = |kinds: [MetadataKind; 3]| EventKind::Modify(ModifyKind::Metadata(kinds[slot % 3]));
        match self {
            Self::Appeared => metadata([MetadataKind::Any, MetadataKind::AccessTime, MetadataKind::WriteTime]),
            Self::Replaced => metadata([MetadataKind::Permissions, MetadataKind::Ownership, MetadataKind::Extended]),
            Self::Touched => {
                let kinds = [DataChange::Any, DataChange::Size, DataChange::Content];
                EventKind::Modify(ModifyKind::Data(kinds[slot % 3]))
            }
            Self::Overflow => {
                [EventKind::Any, EventKind::Modify(ModifyKind::Any), EventKind::Modify(ModifyKind::Other)][slot % 3]
            }
        }
    }
}

/// Rewrites an event into one event per path.
fn rewritten(event: Event, slot: usize) -> impl Iterator<Item = Event> {
    let class = match event.kind {
        _ if event.need_rescan() => Class::Overflow,
        EventKind::Create(CreateKind::File | CreateKind::Folder) => Class::Appeared,
        EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) => Class::Replaced,
        _ => Class::Touched,
    };
    let paths = if class == Class::Overflow { vec![PathBuf::new()] } else { event.paths };
    paths.into_iter().map(move |path| Event::new(class.kind(slot)).add_path(path))
}

/// The platform's watcher with its events rewritten.
#[derive(Debug)]
pub(super) struct Coalescing(RecommendedWatcher);

struct Rewriting<F> {
    inner: F,
    started: Instant,
    slot: Duration,
    overflowed: Option<u128>,
}

impl<F: EventHandler> Rewriting<F> {
    /// A lasting overflow is passed on once per slot.
    fn is_repeated(&mut self, event: &Event, slot: u128) -> bool {
        event.need_rescan() && self.overflowed.replace(slot) == Some(slot)
    }
}

impl<F: EventHandler> EventHandler for Rewriting<F> {
    fn handle_event(&mut self, event: Result<Event>) {
        let slot = self.started.elapsed().as_millis() / self.slot.as_millis().max(1);
        match event {
            Ok(event) if self.is_repeated(&event, slot) => {}
            Ok(event) => {
                let slot = usize::try_from(slot % 3).unwrap_or(0);
                rewritten(event, slot).for_each(|event| self.inner.handle_event(Ok(event)));
            }
            Err(error) => self.inner.handle_event(Err(error)),
        }
    }
}

impl Watcher for Coalescing {
    /// The slot's length comes as the poll interval, which no platform's own watcher looks at.
    fn new<F: EventHandler>(inner: F, config: Config) -> Result<Self> {
        let slot = config.poll_interval().unwrap_or_default();
        RecommendedWatcher::new(Rewriting { inner, started: Instant::now(), slot, overflowed: None }, config).map(Self)
    }

    fn watch(&mut self, path: &Path, recursive_mode: RecursiveMode) -> Result<()> {
        self.0.watch(path, recursive_mode)
    }

    fn watch_with(&mut self, path: &Path, config: WatchPathConfig) -> Result<()> {
        self.0.watch_with(path, config)
    }

    /// A watch that the kernel dropped already is fine: the debouncer then forgets the path as well.
    fn unwatch(&mut self, path: &Path) -> Result<()> {
        match self.0.unwatch(path) {
            Err(error) if matches!(error.kind, ErrorKind::WatchNotFound) => Ok(()),
            other => other,
        }
    }

    fn update_paths(&mut self, ops: Vec<PathOp>) -> std::result::Result<(), UpdatePathsError> {
        self.0.update_paths(ops)
    }

    fn kind() -> WatcherKind {
        RecommendedWatcher::kind()
    }
}

#[cfg(test)]
mod tests {
    use notify::event::{Flag, RemoveKind, RenameMode};

    use super::*;

    #[test]
    fn every_kind_comes_back_as_its_class_in_every_slot() {
        let cases = [
            (EventKind::Create(CreateKind::File), Class::Appeared),
            (EventKind::Remove(RemoveKind::Folder), Class::Replaced),
            (EventKind::Modify(ModifyKind::Name(RenameMode::Both)), Class::Replaced),
            (EventKind::Modify(ModifyKind::Data(DataChange::Any)), Class::Touched),
            (EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any)), Class::Touched),
        ];
        for (kind, class) in cases {
            for slot in 0..4 {
                let event = Event::new(kind).add_path(PathBuf::from("a")).add_path(PathBuf::from("b"));
                let classes: Vec<Class> = rewritten(event, slot).map(|event| Class::of(event.kind)).collect();
                assert_eq!(classes, [class, class], "{kind:?}");
            }
        }
        let overflow = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        let classes: Vec<Class> = rewritten(overflow, 0).map(|event| Class::of(event.kind)).collect();
        assert_eq!(classes, [Class::Overflow]);
    }
}
