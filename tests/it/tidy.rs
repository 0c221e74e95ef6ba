//! The house rules that a machine can check (DESIGN.md, "The house").

use std::path::{Path, PathBuf};

/// Longest function, in lines, braces included.
const FUNCTION_LINES_MAX: usize = 70;
/// Longest file, in lines, tests included.
const FILE_LINES_MAX: usize = 800;
/// Where effects wait: modules that may be asynchronous.
const ASYNC_PLACES: [&str; 12] = [
    "store",
    "context.rs",
    "check",
    "alert",
    "watch",
    "sandbox",
    "endpoint",
    "sync",
    "promote",
    "cli",
    "git/handle.rs",
    "main.rs",
];

/// A source file: its path below the package, its text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// Answers whether the whole file is compiled for tests only.
    fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.ends_with("_tests.rs")
    }

    /// Answers the numbered lines without those of the tests at the end of the file.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(index, line)| (index + 1, line));
        lines.take_while(|(_, line)| line.trim() != "#[cfg(test)]")
    }

    /// Answers the path below `src/`.
    fn place(&self) -> &str {
        self.path.strip_prefix("src/").unwrap_or(&self.path)
    }

    /// Answers the top-level module.
    fn module(&self) -> &str {
        let first = self.place().split('/').next().unwrap();
        first.strip_suffix(".rs").unwrap_or(first)
    }
}

fn sources(folder: &str) -> Vec<Source> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    collect(&package.join(folder), &mut found);
    found.sort();
    let source = |path: PathBuf| Source {
        path: path.strip_prefix(package).unwrap().to_str().unwrap().to_owned(),
        text: std::fs::read_to_string(&path).unwrap(),
    };
    found.into_iter().map(source).collect()
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Fails with all violations at once.
#[track_caller]
fn check(rule: &str, violations: Vec<String>) {
    assert!(violations.is_empty(), "{rule}:\n  {}", violations.join("\n  "));
}

/// Answers `path:line` for each line of code that `wrong` points out.
fn lines_where(sources: &[Source], wrong: impl Fn(&Source, usize, &str) -> bool) -> Vec<String> {
    let in_source = |source: &Source| -> Vec<String> {
        let lines = source.code().filter(|(number, line)| wrong(source, *number, line));
        lines.map(|(number, line)| format!("{}:{number}: {}", source.path, line.trim())).collect()
    };
    sources.iter().flat_map(in_source).collect()
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

fn modules_in_order() -> Vec<String> {
    let map = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/lib.rs")).unwrap();
    let name = |line: &str| line.strip_prefix("pub mod ")?.strip_suffix(';').map(str::to_owned);
    map.lines().filter_map(name).collect()
}

/// Answers the names of modules that a line reaches for: `crate::x` and those in `crate::{x, y::z}`.
fn reached(line: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for after in line.split("crate::").skip(1) {
        let listed = after.strip_prefix('{').map_or(after, |list| list.split('}').next().unwrap_or(list));
        let parts = if after.starts_with('{') { listed.split(',').collect() } else { vec![listed] };
        names.extend(parts.into_iter().map(|part| {
            let part = part.trim();
            part.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or(part)
        }));
    }
    names
}

#[test]
fn modules_use_only_modules_above_them() {
    let order = modules_in_order();
    assert!(order.len() >= 4, "the map in src/lib.rs was not understood: {order:?}");
    let rank = |module: &str| order.iter().position(|name| name == module);
    let is_upward = |source: &Source, line: &str| {
        let Some(own) = rank(source.module()) else { return false };
        !is_comment(line) && reached(line).into_iter().filter_map(rank).any(|other| other > own)
    };
    let mut violations = Vec::new();
    for source in sources("src") {
        // Tests at the end of a file keep the order too.
        let upward = source.text.lines().enumerate().filter(|(_, line)| is_upward(&source, line));
        violations.extend(upward.map(|(index, line)| format!("{}:{}: {}", source.path, index + 1, line.trim())));
    }
    check("a module uses a later one (order: src/lib.rs)", violations);
}

#[test]
fn every_folder_of_src_is_on_the_map() {
    let order = modules_in_order();
    let missing =
        sources("src").iter().map(|source| source.module().to_owned()).collect::<std::collections::BTreeSet<_>>();
    let missing =
        missing.into_iter().filter(|module| !["lib", "main"].contains(&module.as_str()) && !order.contains(module));
    check("src/lib.rs does not declare", missing.collect());
}

#[test]
fn functions_are_short() {
    let all: Vec<Source> = sources("src").into_iter().chain(sources("tests")).collect();
    check("functions are longer than 70 lines", all.iter().flat_map(long_functions).collect());
}

/// Answers functions that are too long; rustfmt puts the closing brace under the `fn`.
fn long_functions(source: &Source) -> Vec<String> {
    let lines: Vec<&str> = source.text.lines().collect();
    let is_function = |line: &str| {
        let line = line.trim_start();
        let bare = ["pub(crate) ", "pub(super) ", "pub ", "const ", "async ", "unsafe "]
            .iter()
            .fold(line, |line, word| line.strip_prefix(word).unwrap_or(line));
        bare.starts_with("fn ")
    };
    let mut long = Vec::new();
    for (start, line) in lines.iter().enumerate().filter(|(_, line)| is_function(line)) {
        let indent = line.len() - line.trim_start().len();
        let end = format!("{}}}", &line[..indent]);
        let ends =
            |line: &&str| **line == end || (line.ends_with(';') && line.len() - line.trim_start().len() == indent);
        let one_line = line.ends_with('}') || line.ends_with(';');
        let length = if one_line { 1 } else { 1 + lines[start..].iter().position(ends).unwrap_or(0) };
        if length > FUNCTION_LINES_MAX {
            long.push(format!("{}:{}: {length} lines", source.path, start + 1));
        }
    }
    long
}

#[test]
fn files_are_short() {
    let all = sources("src").into_iter().chain(sources("tests"));
    let long =
        all.map(|source| (source.text.lines().count(), source.path)).filter(|(count, _)| *count > FILE_LINES_MAX);
    check("files are longer than 800 lines", long.map(|(count, path)| format!("{path}: {count}")).collect());
}

#[test]
fn async_stays_where_effects_wait() {
    let sources = sources("src");
    let may_wait = |source: &Source| ASYNC_PLACES.contains(&source.module()) || ASYNC_PLACES.contains(&source.place());
    let waits = |line: &str| line.contains("async fn ") || line.contains(".await") || line.contains("async move");
    let wrong = |source: &Source, _, line: &str| !is_comment(line) && waits(line) && !may_wait(source);
    check("asynchronous code outside the modules that may wait", lines_where(&sources, wrong));
}

#[test]
fn nothing_is_unwrapped_outside_tests() {
    let sources = sources("src");
    let wrong = |source: &Source, number: usize, line: &str| {
        let unwraps = line.contains(".unwrap()") || line.contains(".expect(") || line.contains(".unwrap_err()");
        unwraps && !is_comment(line) && !source.is_test() && !is_excused(&source.text, number)
    };
    check("unwrap or expect without a comment that says why it cannot fail", lines_where(&sources, wrong));
}

/// Programs write files anew and rename them over the old ones (git its configuration and its bundles): run as root, a
/// test would replace the device for everybody. An empty name stands for no file as well.
#[test]
fn no_program_is_given_the_null_device_as_a_file() {
    let all: Vec<Source> = ["src", "tests", "benches"].into_iter().flat_map(sources).collect();
    let name = concat!("\"/dev", "/null\"");
    let wrong = |source: &Source| {
        let lines =
            source.text.lines().enumerate().filter(|(_, line)| line.replace(&format!("b{name}"), "").contains(name));
        lines.map(|(index, line)| format!("{}:{}: {}", source.path, index + 1, line.trim())).collect::<Vec<_>>()
    };
    check("the null device is named as a file", all.iter().flat_map(wrong).collect());
}

/// Answers whether the comment above a line says that it cannot fail.
fn is_excused(text: &str, number: usize) -> bool {
    let lines: Vec<&str> = text.lines().take(number - 1).collect();
    let comment = lines.iter().rev().take_while(|line| is_comment(line));
    comment.into_iter().any(|line| line.contains("cannot fail") || line.contains("proved"))
}

#[test]
fn every_test_file_is_registered() {
    let main = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/main.rs")).unwrap();
    let name = |entry: std::fs::DirEntry| entry.path().file_stem().unwrap().to_str().unwrap().to_owned();
    let entries = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it")).unwrap();
    let names = entries.map(|entry| name(entry.unwrap())).filter(|name| name != "main");
    let missing = names.filter(|name| !name.starts_with('.') && !main.contains(&format!("mod {name};")));
    check("tests/it/main.rs does not name", missing.collect());
}

#[test]
fn time_environment_and_terminal_have_one_door_each() {
    let sources = sources("src");
    let doors = [
        ("base/clock.rs", &["Timestamp::now", "SystemTime::now", "Zoned::now"][..]),
        ("cli/edge.rs", &["env::var(", "env::var_os", "current_dir()"]),
        ("cli/ui.rs", &["println!", "print!(", "eprint!(", "dbg!(", "io::stdout()", "anstream::std"]),
    ];
    for (door, words) in doors {
        let wrong = |source: &Source, _, line: &str| {
            source.place() != door && !is_comment(line) && words.iter().any(|word| line.contains(word))
        };
        check(&format!("only src/{door} may do this"), lines_where(&sources, wrong));
    }
}

#[test]
fn main_is_thin() {
    let main = sources("src").into_iter().find(|source| source.place() == "main.rs").unwrap();
    assert!(main.text.lines().count() <= 20, "src/main.rs has more than 20 lines");
}

#[test]
fn long_functions_and_reached_modules_are_recognised() {
    let body = "    work();\n".repeat(70);
    let source = Source { path: "src/a.rs".into(), text: format!("fn a() {{\n{body}}}\n\nfn b() {{\n}}\n") };
    assert_eq!(long_functions(&source), ["src/a.rs:1: 72 lines"]);
    assert_eq!(reached("use crate::{git::Repo, base};"), ["git", "base"]);
    assert_eq!(reached("crate::cli::run(crate::git::x)"), ["cli", "git"]);
}
