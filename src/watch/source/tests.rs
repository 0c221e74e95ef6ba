use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);
const SETTLE: Duration = Duration::from_millis(120);

struct Watched {
    dir: tempfile::TempDir,
    source: Source,
    hints: mpsc::Receiver<Told>,
    marks: usize,
}

impl Watched {
    /// A checkout with these files, watched.
    fn with(files: &[&str], exclude: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(".git")).unwrap();
        files.iter().for_each(|path| write(dir.path(), path, "old"));
        Self::at(dir, exclude)
    }

    fn at(dir: tempfile::TempDir, exclude: &[&str]) -> Self {
        let git_dir = dir.path().join(".git");
        let exclude: Vec<String> = exclude.iter().map(|text| (*text).to_owned()).collect();
        let rules = Arc::new(Rules::load(dir.path(), &git_dir, &exclude, None).unwrap());
        let (source, hints) = Source::start(dir.path(), &git_dir, rules, SETTLE).unwrap();
        Self { dir, source, hints, marks: 0 }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn write(&self, path: &str) {
        write(self.dir.path(), path, "new");
    }

    /// Everything that was told because of what happened so far.
    ///
    /// An event may be held back for one slot behind a later event of the same path. So the second mark is
    /// made after the first was told: nothing older can come behind it.
    async fn all_told(&mut self) -> Vec<Told> {
        let mut all = Vec::new();
        for _ in 0..2 {
            self.marks += 1;
            let mark = format!("mark {}", self.marks);
            self.write(&mark);
            loop {
                let told = tokio::time::timeout(PATIENCE, self.hints.recv()).await.unwrap().unwrap();
                match &told.hint {
                    Hint::Path(path) if path == mark.as_bytes() => break,
                    Hint::Path(path) if path.starts_with(b"mark ") => {}
                    _ => all.push(told),
                }
            }
        }
        all
    }

    async fn caught_up(&mut self) -> Vec<Hint> {
        self.all_told().await.into_iter().map(|told| told.hint).collect()
    }

    async fn paths(&mut self) -> BTreeSet<String> {
        let path = |hint| match hint {
            Hint::Path(path) => Some(String::from_utf8(path).unwrap()),
            _ => None,
        };
        self.caught_up().await.into_iter().filter_map(path).collect()
    }

    async fn next(&mut self) -> Hint {
        tokio::time::timeout(PATIENCE, self.hints.recv()).await.unwrap().unwrap().hint
    }

    #[track_caller]
    fn check_watched(&self, expected: usize) {
        assert_eq!(self.source.watched_directories(), expected);
    }
}

fn write(root: &Path, path: &str, content: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn set<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

#[tokio::test]
async fn files_created_modified_deleted_and_renamed_are_hinted() {
    let mut watched = Watched::with(&["a/modified", "deleted", "from"], &[]);
    watched.write("created");
    watched.write("a/modified");
    fs::remove_file(watched.path("deleted")).unwrap();
    fs::rename(watched.path("from"), watched.path("a/to")).unwrap();
    assert_eq!(watched.paths().await, set(["a/modified", "a/to", "created", "deleted", "from"]));
    assert_eq!(watched.caught_up().await, []);
}

#[tokio::test]
async fn a_hint_says_when_it_happened_and_not_when_it_was_told() {
    let mut watched = Watched::with(&["a"], &[]);
    let before = Instant::now();
    watched.write("a");
    let after = Instant::now();
    let told = watched.all_told().await.remove(0);
    let slot = watched.source.shared.slot;
    assert!((before..after + slot).contains(&told.at), "{:?} after it", told.at.duration_since(after));
    assert!(told.at < Instant::now() - slot, "what was held back for a slot is older than that");
}

#[tokio::test]
async fn nothing_written_into_new_directories_is_missed() {
    let mut watched = Watched::with(&[], &[]);
    let mut expected = BTreeSet::new();
    for top in 0..20 {
        for leaf in 0..10 {
            let path = format!("new{top}/a/b{leaf}/c/file");
            watched.write(&path);
            expected.insert(path);
        }
    }
    let seen = watched.paths().await;
    assert!(expected.is_subset(&seen), "missed: {:?}", expected.difference(&seen).collect::<Vec<_>>());
    watched.check_watched(1 + 20 * (1 + 1 + 10 * 2));
    watched.write("new7/a/b7/c/later");
    assert_eq!(watched.paths().await, set(["new7/a/b7/c/later"]));
}

#[tokio::test]
async fn excluded_directories_cost_no_watch_and_hint_nothing() {
    let files = ["node_modules/x/y/z.js", "src/main.rs", "src/node_modules/q", ".gitignore"];
    let mut watched = Watched::with(&files, &["node_modules/", "*.tmp"]);
    watched.check_watched(2);
    watched.write("node_modules/x/y/new.js");
    watched.write("lib/node_modules/deep/er/new.js");
    watched.write("src/a.tmp");
    assert_eq!(watched.paths().await, set(["lib"]));
    watched.check_watched(3);
}

#[tokio::test]
async fn reading_hints_nothing() {
    let mut watched = Watched::with(&["a/b", "c"], &[]);
    for _ in 0..100 {
        fs::read(watched.path("a/b")).unwrap();
        fs::read_dir(watched.path("a")).unwrap().for_each(drop);
    }
    assert_eq!(watched.caught_up().await, []);
}

#[tokio::test]
async fn a_changed_gitignore_is_applied_to_watches_and_asks_for_a_rescan() {
    let mut watched = Watched::with(&["out/x/y", "src/a", ".gitignore"], &[]);
    watched.check_watched(4);
    fs::write(watched.path(".gitignore"), "out/\n").unwrap();
    let hints = watched.caught_up().await;
    assert!(hints.contains(&Hint::Path(b".gitignore".to_vec())) && hints.contains(&Hint::Rescan), "{hints:?}");
    watched.check_watched(2);
    watched.write("out/x/y");
    assert_eq!(watched.paths().await, set([]));
    fs::remove_file(watched.path(".gitignore")).unwrap();
    assert!(watched.caught_up().await.contains(&Hint::Rescan));
    watched.check_watched(4);
    watched.write("out/x/y");
    assert_eq!(watched.paths().await, set(["out/x/y"]));
}

#[tokio::test]
async fn only_the_state_of_the_repository_is_told_of_git() {
    let mut watched = Watched::with(&[".git/HEAD"], &[]);
    watched.write(".git/objects/aa/bb");
    assert_eq!(watched.caught_up().await, []);
    watched.write(".git/index.lock");
    fs::rename(watched.path(".git/index.lock"), watched.path(".git/index")).unwrap();
    assert_eq!(watched.caught_up().await, [Hint::Index]);
    watched.write(".git/HEAD.lock");
    fs::rename(watched.path(".git/HEAD.lock"), watched.path(".git/HEAD")).unwrap();
    assert_eq!(watched.caught_up().await, [Hint::Repository]);
    fs::create_dir(watched.path(".git/rebase-merge")).unwrap();
    assert_eq!(watched.caught_up().await, [Hint::Repository]);
}

#[tokio::test]
async fn directories_moved_removed_and_replaced_are_followed() {
    let mut watched = Watched::with(&["a/b/file", "c/d/file", "e/file"], &[]);
    fs::rename(watched.path("a"), watched.path("moved")).unwrap();
    fs::remove_dir_all(watched.path("c")).unwrap();
    fs::remove_dir_all(watched.path("e")).unwrap();
    watched.write("e/other");
    let seen = watched.paths().await;
    assert!(seen.is_superset(&set(["a", "moved/b/file", "c", "e", "e/other"])), "{seen:?}");
    watched.check_watched(4);
    watched.write("moved/b/file");
    watched.write("e/other");
    assert_eq!(watched.paths().await, set(["moved/b/file", "e/other"]));
}

#[tokio::test]
async fn linked_directories_are_not_followed() {
    let outside = tempfile::tempdir().unwrap();
    let mut watched = Watched::with(&["a"], &[]);
    std::os::unix::fs::symlink(outside.path(), watched.path("link")).unwrap();
    assert_eq!(watched.paths().await, set(["link"]));
    watched.check_watched(1);
    write(outside.path(), "file", "new");
    assert_eq!(watched.caught_up().await, []);
}

#[tokio::test]
async fn a_file_that_never_gets_quiet_is_hinted_all_the_time() {
    let mut watched = Watched::with(&["rewritten", "replaced"], &[]);
    let stop = Arc::new(AtomicBool::new(false));
    let (root, stopped) = (watched.dir.path().to_owned(), stop.clone());
    let writer = std::thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            write(&root, "rewritten", "again");
            write(&root, "tmp", "again");
            fs::rename(root.join("tmp"), root.join("replaced")).unwrap();
        }
    });
    let mut seen = HashMap::<Hint, usize>::new();
    while !["rewritten", "replaced"].iter().all(|path| seen.get(&Hint::Path(path.as_bytes().to_vec())) >= Some(&5)) {
        *seen.entry(watched.next().await).or_default() += 1;
    }
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
}

#[tokio::test]
async fn more_hints_than_fit_become_a_rescan() {
    let mut watched = Watched::with(&[], &[]);
    fs::create_dir(watched.path("many")).unwrap();
    for n in 0..HINT_CAPACITY + 500 {
        fs::write(watched.path(&format!("many/{n}")), "").unwrap();
    }
    while watched.hints.len() <= HINT_CAPACITY {
        tokio::time::sleep(watched.source.shared.slot).await;
    }
    // What is told from now on finds room again.
    let full = std::iter::from_fn(|| watched.hints.try_recv().ok()).take(HINT_CAPACITY + 1);
    assert_eq!(full.last().map(|told| told.hint), Some(Hint::Rescan));
    watched.write("after");
    assert!(watched.paths().await.contains("after"));
}

#[tokio::test]
async fn after_an_overflow_everything_is_watched_again() {
    let mut watched = Watched::with(&["a/b/file"], &[]);
    watched.source.shared.start_over(&mut watched.source.shared.state());
    assert_eq!(watched.next().await, Hint::Rescan);
    watched.check_watched(3);
    watched.write("a/b/file");
    assert_eq!(watched.paths().await, set(["a/b/file"]));
}

#[tokio::test]
async fn a_checkout_that_goes_is_told_and_ends_the_watching() {
    let mut watched = Watched::with(&["a/file"], &[]);
    let elsewhere = watched.dir.path().with_extension("moved");
    fs::rename(watched.dir.path(), &elsewhere).unwrap();
    while watched.next().await != Hint::RootGone {}
    watched.check_watched(0);
    fs::remove_dir_all(elsewhere).unwrap();
}

#[tokio::test]
async fn dropping_the_source_ends_the_hints() {
    let mut watched = Watched::with(&["a"], &[]);
    drop(watched.source);
    assert_eq!(tokio::time::timeout(PATIENCE, watched.hints.recv()).await.unwrap(), None);
}

#[test]
fn the_limit_is_named_with_its_remedy() {
    assert!(limit_message(1).contains("reached after 1 directory:"));
    let message = limit_message(7);
    assert!(message.contains("fs.inotify.max_user_watches") && message.contains("sudo sysctl"), "{message}");
}

/// Makes a submodule as git does, at its first commit.
fn add_submodule(root: &Path) {
    write(root, ".git/modules/s/HEAD", "ref: refs/heads/main\n");
    write(root, ".git/modules/s/logs/HEAD", "one\n");
    write(root, "sub/.git", "gitdir: ../.git/modules/s\n");
    write(root, ".gitmodules", "[submodule \"s\"]\n\tpath = sub\n\turl = x\n");
}

#[tokio::test]
async fn a_commit_in_a_submodule_is_hinted_and_nothing_else_of_its_repository() {
    let dir = tempfile::tempdir().unwrap();
    add_submodule(dir.path());
    let mut watched = Watched::at(dir, &[]);
    watched.write(".git/modules/s/index");
    watched.write(".git/modules/s/objects/aa");
    assert_eq!(watched.caught_up().await, []);
    watched.write(".git/modules/s/logs/HEAD");
    assert_eq!(watched.paths().await, set(["sub"]));
    watched.write(".git/modules/s/HEAD.lock");
    fs::rename(watched.path(".git/modules/s/HEAD.lock"), watched.path(".git/modules/s/HEAD")).unwrap();
    assert_eq!(watched.paths().await, set(["sub"]));
}

#[tokio::test]
async fn a_submodule_that_comes_or_is_made_anew_is_followed() {
    let mut watched = Watched::with(&["sub/other"], &[]);
    for _ in 0..2 {
        add_submodule(watched.dir.path());
        watched.caught_up().await;
        watched.write(".git/modules/s/logs/HEAD");
        assert_eq!(watched.paths().await, set(["sub"]));
        fs::remove_dir_all(watched.path(".git/modules/s")).unwrap();
        fs::remove_file(watched.path("sub/.git")).unwrap();
        watched.caught_up().await;
    }
}

#[tokio::test]
async fn an_excluded_submodule_costs_no_watch() {
    let dir = tempfile::tempdir().unwrap();
    add_submodule(dir.path());
    let mut watched = Watched::at(dir, &["sub/"]);
    watched.write(".git/modules/s/logs/HEAD");
    assert_eq!(watched.caught_up().await, []);
}
