//! Whether the kernel's limits suffice for watching a checkout, and whether its file system tells of changes at all.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::Rules;
use super::rules::as_path;
use crate::base::{Diagnosis, Verdict};

/// What the question about the kernel's limits is called.
const LIMITS_QUESTION: &str = "watch limits";
/// What the question about the file system is called.
const FILE_SYSTEM_QUESTION: &str = "file system";
/// A limit that is used to a larger part than this is worth raising.
const COMFORTABLE_PERCENT: u64 = 80;
/// The least that a limit is raised to.
const RAISED_WATCHES_MIN: u64 = 1 << 20;
const RAISED_INSTANCES_MIN: u64 = 1 << 10;
/// Where the raised limits are kept for the next start of the machine.
const SETTINGS_FILE: &str = "/etc/sysctl.d/60-cascade.conf";

/// File systems (by the number that `statfs` answers) on which other machines or programs change files unseen.
const SILENT_FILE_SYSTEMS: [(u64, &str); 11] = [
    (0x6969, "nfs"),
    (0x517b, "smb"),
    (0xff53_4d42, "cifs"),
    (0xfe53_4d42, "smb"),
    (0x0102_1997, "9p"),
    (0x6573_5546, "fuse"),
    (0x00c3_6400, "ceph"),
    (0x5346_414f, "afs"),
    (0x6b41_4653, "afs"),
    (0x786f_4256, "vboxsf"),
    (0x0bd0_0bd0, "lustre"),
];

/// File systems on which a directory's number of links is two and one for each directory in it.
const COUNTING_FILE_SYSTEMS: [u64; 3] = [0xef53, 0x5846_5342, 0x0102_1994];

/// A number of watches and of watchers (inotify instances).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Watches {
    /// Watched directories and files.
    pub watches: u64,
    /// Instances that they belong to.
    pub instances: u64,
}

/// Reads what the kernel allows each user; nothing on systems without these limits.
#[must_use]
pub fn allowed() -> Option<Watches> {
    let read = |name: &str| fs::read_to_string(format!("/proc/sys/fs/inotify/{name}")).ok()?.trim().parse().ok();
    Some(Watches { watches: read("max_user_watches")?, instances: read("max_user_instances")? })
}

/// Counts what this user's processes use, but for `except` (a watcher that is about to be counted as needed).
#[must_use]
pub fn used_by_others(except: Option<u32>) -> Watches {
    let own = rustix::process::getuid().as_raw();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbered = entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path())));
    let theirs =
        numbered.filter(|(pid, at)| Some(*pid) != except && fs::metadata(at).is_ok_and(|found| found.uid() == own));
    theirs.fold(Watches::default(), |sum, (_, at)| {
        let used = used_by(&at);
        Watches { watches: sum.watches + used.watches, instances: sum.instances + used.instances }
    })
}

fn used_by(process: &Path) -> Watches {
    let mut used = Watches::default();
    for entry in fs::read_dir(process.join("fd")).into_iter().flatten().flatten() {
        if fs::read_link(entry.path()).is_ok_and(|link| link.as_os_str() == "anon_inode:inotify") {
            let about = fs::read_to_string(process.join("fdinfo").join(entry.file_name())).unwrap_or_default();
            used.instances += 1;
            used.watches += about.lines().filter(|line| line.starts_with("inotify ")).count() as u64;
        }
    }
    used
}

/// Counts the watches that the checkout at `root` needs: its directories that the rules do not exclude, and git's own.
#[must_use]
pub fn needed(root: &Path, rules: &Rules) -> u64 {
    let mut waiting = vec![Vec::new()];
    let mut directories = 1;
    while let Some(directory) = waiting.pop() {
        directories += 1;
        let entries = fs::read_dir(root.join(as_path(&directory))).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            let name = entry.file_name();
            let path = PathBuf::from(as_path(&directory)).join(name).as_os_str().as_bytes().to_vec();
            if !rules.is_excluded(&path, true) {
                waiting.push(path);
            }
        }
    }
    directories
}

/// Answers whether the limits suffice for `needed` watches beside what others use.
#[must_use]
pub fn judged(allowed: Watches, needed: u64, others: Watches) -> Diagnosis {
    let total = Watches { watches: needed + others.watches, instances: 1 + others.instances };
    let used = format!(
        "{needed} watches needed, {} used by other programs, {} allowed; {} of {} instances",
        others.watches, allowed.watches, total.instances, allowed.instances
    );
    if total.watches > allowed.watches || total.instances > allowed.instances {
        return Diagnosis::problem(LIMITS_QUESTION, format!("not enough: {used}"), raise(total));
    }
    let percent = |used: u64, allowed: u64| used.saturating_mul(100) / allowed.max(1);
    let most = percent(total.watches, allowed.watches).max(percent(total.instances, allowed.instances));
    if most > COMFORTABLE_PERCENT {
        return Diagnosis::ok(LIMITS_QUESTION, format!("{most} % used: {used}")).advise(raise(total));
    }
    Diagnosis::ok(LIMITS_QUESTION, used)
}

/// Answers how to raise the limits to twice what is needed, now and for good.
fn raise(total: Watches) -> String {
    let watches = total.watches.saturating_mul(2).next_power_of_two().max(RAISED_WATCHES_MIN);
    let instances = total.instances.saturating_mul(2).next_power_of_two().max(RAISED_INSTANCES_MIN);
    let settings = format!("fs.inotify.max_user_watches={watches} fs.inotify.max_user_instances={instances}");
    let lines = settings.replace(' ', "\\n");
    format!("`sudo sysctl {settings}`; for good: `printf '{lines}\\n' | sudo tee {SETTINGS_FILE}`")
}

/// Answers whether the file system under `root` tells of all changes.
#[must_use]
pub fn file_system(root: &Path) -> Diagnosis {
    match kind_of(root) {
        Ok(kind) => judged_file_system(kind),
        Err(source) => Diagnosis::new(FILE_SYSTEM_QUESTION, Verdict::Unknown, source.to_string()),
    }
}

#[cfg(target_os = "linux")]
fn kind_of(root: &Path) -> io::Result<u64> {
    // A field as wide as the machine's words, of which these numbers take 32 bits.
    Ok(rustix::fs::statfs(root)?.f_type as u64 & 0xffff_ffff)
}

#[cfg(not(target_os = "linux"))]
fn kind_of(_: &Path) -> io::Result<u64> {
    Ok(0)
}

/// Answers the name of the file system under `root`, where it does not tell of all changes.
#[must_use]
pub fn silent_file_system(root: &Path) -> Option<&'static str> {
    kind_of(root).ok().and_then(silent)
}

/// Answers whether the file system under `root` (ext4, XFS, tmpfs) tells by a directory's two links that it has no
/// directories in it. Others count one for all, or nothing of use.
pub(super) fn counts_directories(root: &Path) -> bool {
    kind_of(root).is_ok_and(|kind| COUNTING_FILE_SYSTEMS.contains(&kind))
}

fn silent(kind: u64) -> Option<&'static str> {
    SILENT_FILE_SYSTEMS.iter().find(|(number, _)| *number == kind).map(|(_, name)| *name)
}

fn judged_file_system(kind: u64) -> Diagnosis {
    match silent(kind) {
        None => Diagnosis::ok(FILE_SYSTEM_QUESTION, "tells of changes"),
        Some(name) => Diagnosis::ok(
            FILE_SYSTEM_QUESTION,
            format!("{name}: what is changed elsewhere is found by looking periodically, not at once"),
        )
        .advise("for changes to be saved within seconds, keep the checkout on a disk of this machine"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(allowed: (u64, u64), needed: u64, others: (u64, u64)) -> Diagnosis {
        let watches = |(watches, instances)| Watches { watches, instances };
        judged(watches(allowed), needed, watches(others))
    }

    #[test]
    fn limits_count_what_other_programs_use() {
        assert_eq!(check((100, 10), 100, (0, 0)).verdict, Verdict::Ok);
        assert_eq!(check((100, 10), 100, (1, 1)).verdict, Verdict::Problem);
        assert_eq!(check((100, 10), 1, (0, 10)).verdict, Verdict::Problem, "no instance is left");
    }

    #[test]
    fn a_limit_is_worth_raising_from_four_fifths_on() {
        assert_eq!(check((100, 10), 80, (0, 0)).advice, None);
        let tight = check((100, 10), 81, (0, 0));
        assert_eq!((tight.verdict, tight.detail.starts_with("81 % used")), (Verdict::Ok, true));
        assert!(tight.advice.unwrap().contains("`sudo sysctl fs.inotify.max_user_watches=1048576 "));
    }

    #[test]
    fn raised_limits_have_room_for_twice_as_many() {
        let advice = check((8_192, 128), 1_000_000, (0, 0)).advice.unwrap();
        assert_eq!(
            advice,
            "`sudo sysctl fs.inotify.max_user_watches=2097152 fs.inotify.max_user_instances=1024`; for good: \
             `printf 'fs.inotify.max_user_watches=2097152\\nfs.inotify.max_user_instances=1024\\n' | sudo tee \
             /etc/sysctl.d/60-cascade.conf`"
        );
    }

    #[test]
    fn network_file_systems_are_named() {
        assert_eq!(judged_file_system(0xef53).detail, "tells of changes");
        assert!(judged_file_system(0x6969).detail.starts_with("nfs: "));
        assert!(judged_file_system(0x6573_5546).advice.is_some());
    }

    #[test]
    fn as_many_watches_are_counted_as_the_watcher_sets() {
        let dir = tempfile::tempdir().unwrap();
        for path in [".git/objects/aa", "src/deep/er", "node_modules/x", "target/debug"] {
            fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        fs::write(dir.path().join(".gitignore"), "target/\n").unwrap();
        let git_dir = dir.path().join(".git");
        let rules = Rules::load(dir.path(), &git_dir, &["node_modules/".to_owned()], None).unwrap();
        let counted = needed(dir.path(), &rules);
        assert_eq!(counted, 5, "git's directory, the top, and src with two below it");
        let (source, _hints) = super::super::Source::start(
            dir.path(),
            &git_dir,
            std::sync::Arc::new(rules),
            std::time::Duration::from_secs(1),
        )
        .unwrap();
        assert_eq!(source.watched_directories() as u64 + 1, counted);
        let own = used_by(Path::new("/proc/self"));
        assert!(own.watches >= counted && own.instances >= 1, "{own:?}");
    }
}
