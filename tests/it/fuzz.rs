//! Hostile input: configurations, ignore files and names that nobody would write on purpose.
//!
//! Each round has a seed, printed when it fails; `CASCADE_FUZZ_SEED` and `CASCADE_FAULT_RUNS` are explained at
//! [`rounds`].

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use cascade::base::clock::from_ms;
use cascade::config::{self, Config, MessageTemplate, Placeholder, Variables};
use cascade::git::{Change, ChangeKind};
use cascade::sandbox::message::{BATCH_TRAILER, Facts, SUBJECT_LIMIT_CHARS, compose};
use cascade::watch::Rules;

use crate::support::dice::{Dice, rounds};

/// What takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// Pieces that mean something in YAML or in our configuration.
const YAML_PIECES: [&str; 44] = [
    ":",
    ": ",
    "- ",
    "#",
    "?",
    "? ",
    "|",
    "|2-\n",
    ">",
    "&a ",
    "*a",
    "*b",
    "!!str ",
    "!x ",
    "%YAML 1.1\n",
    "---\n",
    "...\n",
    "[",
    "]",
    "{",
    "}",
    ",",
    "'",
    "\"",
    "\\",
    "\\x00",
    "\n",
    "\r\n",
    "\r",
    "\t",
    " ",
    "  ",
    "    ",
    "<<: ",
    "~",
    "null",
    "0x7fffffffffffffff",
    "-1",
    "1e400",
    "99999999999999999999d",
    "{subject}",
    "${HOME",
    "\u{feff}",
    "\u{2028}",
];

/// Values that are good somewhere.
const VALUES: [&str; 20] = [
    "false",
    "true",
    "7s",
    "1h30m",
    "250ms",
    "1KiB",
    "0",
    "3",
    "auto",
    "reset",
    "restore",
    "manual",
    "[]",
    "[failed]",
    "x",
    "'a: #b'",
    "\"{verb} {{x}}: {subject}\\n\\n{changes}\"",
    "\"\\t\\e\\u2028 \"",
    "\"$${A} ${B:-c}\"",
    "http://x/ #",
];

fn mutated(dice: &mut Dice, text: &str) -> Vec<u8> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for _ in 0..1 + dice.below(6) {
        if lines.is_empty() {
            break;
        }
        let (at, other) = (dice.below(lines.len()), dice.below(lines.len()));
        match dice.below(10) {
            0 => drop(lines.remove(at)),
            1 => lines.insert(at, lines[other].clone()),
            2 => lines.swap(at, other),
            // Examples become real.
            3 => lines[at] = lines[at].replacen('#', "", 1),
            4 => lines[at].insert_str(0, "  "),
            5 => lines[at] = lines[at].chars().skip(2).collect(),
            6 => lines.truncate(at + 1),
            7 | 8 => {
                let key = lines[at].split_once(": ").map(|(key, _)| key.replacen('#', "", 1));
                lines[at] = key.map_or(String::new(), |key| format!("{key}: {}", dice.one_of(&VALUES)));
            }
            _ => {
                let mut chars: Vec<char> = lines[at].chars().collect();
                let place = dice.below(chars.len() + 1);
                let cut = (place + dice.below(4)).min(chars.len());
                chars.splice(place..cut, dice.one_of(&YAML_PIECES).chars());
                lines[at] = chars.into_iter().collect();
            }
        }
    }
    let mut bytes = lines.join("\n").into_bytes();
    if dice.once_in(10) {
        let at = dice.below(bytes.len() + 1);
        let junk = dice.bytes(5);
        bytes.splice(at..at, junk);
    }
    bytes
}

/// Replaces values by others of their kind, so that most of what comes out is good.
fn reworded(dice: &mut Dice, text: &str) -> Vec<u8> {
    let with_examples = dice.once_in(2);
    let line = |line: &str| -> Option<String> {
        let bare = line.trim_start();
        let is_example = bare.starts_with('#') && !bare.starts_with("# ") && bare != "#";
        let line = if is_example && with_examples { line.replacen('#', "", 1) } else { line.to_owned() };
        let is_active = !line.trim_start().starts_with('#');
        let (key, value) = line.split_once(": ").unwrap_or((&line, ""));
        let kind: &[&str] = match value {
            "true" | "false" => &["true", "false"],
            "manual" => &["manual", "auto"],
            "auto" => &["auto", "reset", "restore"],
            "10s" => &["1s", "20s", "1500ms", "19s 1ms"],
            _ if value.ends_with("MiB") => &["1", "7KiB", "1025", "2GB", "50 MiB"],
            _ if value.ends_with(['s', 'm', 'h']) && value.starts_with(|c: char| c.is_ascii_digit()) => {
                &["3s", "1h", "1d 1ms", "100ms", "1m30s"]
            }
            _ if value.parse::<u16>().is_ok() => &["1", "200", "0x64"],
            _ if value.starts_with('"') => {
                &["\"a: #b {{x}} {subject}\"", "'{verb} {subject}'", "http://x/${A:-b}", "\"x:1\""]
            }
            _ => &[],
        };
        let is_kept = kind.is_empty() || dice.once_in(2);
        is_active.then(|| if is_kept { line.clone() } else { format!("{key}: {}", dice.one_of(kind)) })
    };
    text.lines().filter_map(line).collect::<Vec<_>>().join("\n").into_bytes()
}

fn soup(dice: &mut Dice) -> Vec<u8> {
    let keys = [
        "version: 1\n",
        "project: p\n",
        "sandbox:\n",
        "  message:\n",
        "environments:\n",
        "checks:\n",
        "a: {from: b}\n",
    ];
    dice.some(0, 60, |dice| match dice.below(4) {
        0 => dice.one_of(&keys).as_bytes().to_vec(),
        1 => dice.bytes(2),
        _ => dice.one_of(&YAML_PIECES).as_bytes().to_vec(),
    })
}

/// Reads a configuration on a thread of its own, so that one that hangs is noticed.
fn load(root: &Path) -> Result<Config, config::Error> {
    let (tell, told) = mpsc::channel();
    let root = root.to_owned();
    std::thread::spawn(move || {
        // Nobody listens any more to what took too long.
        let _ = tell.send(config::load(&root, &Variables::default()));
    });
    told.recv_timeout(PATIENCE).expect("reading the configuration panicked or hangs")
}

/// Problems are inside the file and safe to show.
fn check_problems(bytes: &[u8], problems: &config::Problems) {
    let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n").replace('\r', "\n");
    let lines: Vec<&str> = text.split('\n').collect();
    assert!(!problems.list().is_empty() && problems.list().len() <= config::MAX_PROBLEMS);
    for problem in problems.list() {
        let line = problem.line.checked_sub(1).and_then(|line| lines.get(line));
        let line = line.unwrap_or_else(|| panic!("{problem} of {} lines in {text:?}", lines.len()));
        assert!((1..=line.chars().count() + 2).contains(&problem.column), "{problem} in {text:?}");
        assert!(problem.to_string().chars().all(|c| !c.is_control()), "{problem:?} in {text:?}");
    }
}

#[test]
fn any_configuration_is_read_or_refused_with_places() {
    let real = include_str!("../../cascade-sync.yaml");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(config::FILE_NAME);
    let (mut good, mut bad) = (0, 0);
    rounds(400, |dice| {
        let bytes = match dice.below(8) {
            0 => soup(dice),
            1 => dice.bytes(200),
            2 | 3 => reworded(dice, real),
            _ => mutated(dice, real),
        };
        std::fs::write(&path, &bytes).unwrap();
        match load(directory.path()) {
            Ok(config) => {
                good += 1;
                let shown = config::to_yaml(&config);
                std::fs::write(&path, &shown).unwrap();
                let again = load(directory.path()).unwrap_or_else(|error| panic!("{error}\n{shown}"));
                assert_eq!(again, config, "{shown}");
            }
            Err(config::Error::Invalid(problems)) => {
                bad += 1;
                check_problems(&bytes, &problems);
            }
            Err(other) => panic!("{other}"),
        }
    });
    assert!(good > 0 && bad > 0, "{good} good, {bad} bad: the generator is too kind or too hostile");
}

/// Pieces of ignore patterns, many of them at odds with each other.
const PATTERN_PIECES: [&[u8]; 46] = [
    b"a",
    b"b",
    b"ab",
    b"x",
    b"A",
    b"*",
    b"*",
    b"?",
    b"**",
    b"/",
    b"/",
    b"/**",
    b"**/",
    b"/**/",
    b"***",
    b"[ab]",
    b"[!a]",
    b"[^b]",
    b"[a-c]",
    b"[]a]",
    b"[[:alpha:]]",
    b"[[:space:]x]",
    b"[[:nope:]]",
    b"[a",
    b"[",
    b"]",
    b"[\\]]",
    b"[a-",
    b"[!]a-]",
    b"[--/]",
    b"\\a",
    b"\\*",
    b"\\ ",
    b"\\",
    b"\\\\",
    b" ",
    b"  ",
    b"\t",
    b"!",
    b"#",
    b"{a,b}",
    b".",
    b"-",
    b"\r",
    "\u{e4}".as_bytes(),
    b"\xff",
];

/// Pieces of names.
const NAME_PIECES: [&[u8]; 27] = [
    b"a",
    b"a",
    b"b",
    b"b",
    b"ab",
    b"x",
    b"A",
    b".x",
    b"*",
    b"?",
    b"[a]",
    b"[",
    b"]",
    b"\\",
    b" ",
    b"a ",
    b"\t",
    b"!",
    b"#",
    b"{a,b}",
    b"-",
    b"\r",
    b"\n",
    "\u{e4}".as_bytes(),
    b"\xff",
    b"a.b",
    b"**",
];

fn ignore_file(dice: &mut Dice) -> Vec<u8> {
    let start: &[u8] = if dice.once_in(8) { b"\xef\xbb\xbf" } else { b"" };
    let end = *dice.one_of(&[&b"\n"[..], b"\r\n", b"\n\n"]);
    let lines = dice.some(0, 5, |dice| {
        let front = *dice.one_of(&[&b""[..], b"", b"", b"!", b"/", b"!/", b"\\!", b"\\#", b" "]);
        let back = *dice.one_of(&[&b""[..], b"", b"", b"/", b" ", b"\\ ", b" \t", b"/**", b"\\"]);
        let middle = dice.some(1, 4, |dice| dice.one_of(&PATTERN_PIECES).to_vec());
        [front, &middle, back, end].concat()
    });
    [start, &lines].concat()
}

fn name(dice: &mut Dice) -> Vec<u8> {
    let name = dice.some(1, 2, |dice| dice.one_of(&NAME_PIECES).to_vec());
    if name.eq_ignore_ascii_case(b".git") { b"a".to_vec() } else { name }
}

fn git(root: &Path, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new("git");
    command.args(arguments).current_dir(root).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    command.env("GIT_CONFIG_GLOBAL", "").env("GIT_CONFIG_NOSYSTEM", "1");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap().stdout
}

#[test]
fn any_ignore_files_are_read_as_git_reads_them() {
    rounds(80, |dice| {
        let checkout = tempfile::tempdir().unwrap();
        let root = checkout.path();
        let at = |path: &[u8]| root.join(OsStr::from_bytes(path));
        git(root, &["init", "--quiet"], b"");
        let mut paths = BTreeSet::new();
        for _ in 0..40 {
            let parts: Vec<Vec<u8>> = (0..1 + dice.below(4)).map(|_| name(dice)).collect();
            let path = parts.join(&b'/');
            // What stands in the way of an earlier path is left out.
            if std::fs::create_dir_all(at(&path).parent().unwrap()).is_ok() && std::fs::write(at(&path), "").is_ok() {
                let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| end);
                paths.extend(ends.chain([path.len()]).map(|end| path[..end].to_vec()));
            }
        }
        let mut files =
            vec![(b".gitignore".to_vec(), ignore_file(dice)), (b".git/info/exclude".to_vec(), ignore_file(dice))];
        for path in paths.iter().filter(|path| at(path).is_dir()) {
            if dice.once_in(2) {
                files.push(([path, &b"/.gitignore"[..]].concat(), ignore_file(dice)));
            }
        }
        for (path, content) in &files {
            std::fs::write(at(path), content).unwrap();
        }
        let input: Vec<u8> = paths.iter().flat_map(|path| [path, &b"\0"[..]].concat()).collect();
        let answer = git(root, &["check-ignore", "-z", "--no-index", "--stdin"], &input);
        let ignored: BTreeSet<&[u8]> = answer.split(|byte| *byte == 0).collect();
        let rules = Rules::load(root, &root.join(".git"), &[], None).unwrap();
        for path in &paths {
            let expected = ignored.contains(path.as_slice());
            let answer = rules.is_excluded(path, at(path).is_dir());
            let files: Vec<String> = files
                .iter()
                .map(|(name, content)| format!("{}: {:?}", name.escape_ascii(), content.escape_ascii().to_string()))
                .collect();
            assert_eq!(answer, expected, "{} in {}", path.escape_ascii(), files.join("\n"));
        }
    });
}

fn changes(dice: &mut Dice) -> Vec<Change> {
    const KINDS: [ChangeKind; 4] =
        [ChangeKind::Added, ChangeKind::Modified, ChangeKind::Deleted, ChangeKind::ModeChanged];
    const NAMES: [&[u8]; 8] = [
        b"---",
        b"--- a",
        b"\n\n---\n",
        b"Cascade-Batch: x",
        b"# >8",
        b" ",
        "\u{202e}".as_bytes(),
        b"------------------------ >8 ------------------------",
    ];
    let count = if dice.once_in(5) { 1 + dice.below(90) } else { 1 + dice.below(4) };
    let change = |dice: &mut Dice| Change {
        path: if dice.once_in(3) { dice.one_of(&NAMES).to_vec() } else { dice.bytes(150) },
        kind: *dice.one_of(&KINDS),
        bytes: dice.number() >> dice.below(64),
    };
    (0..count).map(|_| change(dice)).collect()
}

fn template(dice: &mut Dice) -> Option<MessageTemplate> {
    let pieces = [
        "\n",
        "\n\n",
        "---",
        "--- ",
        "# ",
        "Key: value",
        "Signed-off-by: ",
        " ",
        "\t",
        "\r",
        "{{",
        "}}",
        "\u{1b}",
        "\u{3000}",
        "x",
        ": ",
        "Conflicts:\n",
        ">8",
    ];
    let bytes = dice.some(1, 8, |dice| match dice.below(3) {
        0 => dice.one_of(&pieces).as_bytes().to_vec(),
        1 => String::from_utf8_lossy(&dice.bytes(8)).replace(['{', '}'], "").into_bytes(),
        _ => format!("{{{}}}", dice.one_of(&Placeholder::ALL).0).into_bytes(),
    });
    String::from_utf8(bytes).unwrap().parse().ok()
}

#[test]
fn any_names_and_templates_make_a_message_that_git_understands() {
    let directory = tempfile::tempdir().unwrap();
    rounds(150, |dice| {
        let (changes, template) = (changes(dice), template(dice));
        let summary = dice.once_in(2).then(|| String::from_utf8_lossy(&dice.bytes(200)).into_owned());
        let facts =
            Facts { project: "p", branch: "develop", changes: &changes, at: from_ms((dice.number() >> 8) as i64) };
        let message = compose(&facts, template.as_ref(), summary.as_deref());
        let context = format!("{message:?} of {template:?}");
        assert!(message.chars().all(|c| c == '\n' || !c.is_control()), "{context}");
        let subject = message.lines().next().unwrap();
        assert!(!subject.trim().is_empty() && subject.chars().count() <= SUBJECT_LIMIT_CHARS, "{context}");
        assert_eq!(message.lines().nth(1), Some(""), "{context}");
        let (_, batch) = message.trim_end().rsplit_once(' ').unwrap();
        let trailers = git(directory.path(), &["interpret-trailers", "--parse"], message.as_bytes());
        let trailers = String::from_utf8(trailers).unwrap();
        assert_eq!(trailers.lines().last(), Some(&*format!("{BATCH_TRAILER}: {batch}")), "{context}");
    });
}
