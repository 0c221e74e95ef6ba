use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::thread;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::super::{LOG_LIMIT_BYTES, Outcome, TAIL_LIMIT_LINES};
use super::*;

const LIMIT: Span = Span::seconds(60);
/// Only for what hangs when it is broken.
const PATIENCE: Duration = Duration::from_secs(30);

async fn answer_of(script: &str) -> Answer {
    run_in("test", script, LIMIT, &Place::default()).await
}

async fn run_in(name: &str, script: &str, limit: Span, place: &Place<'_>) -> Answer {
    run(Call { name, script, limit, surroundings: &Surroundings::default() }, place).await
}

async fn check(script: &str, outcome: Outcome, detail: &str) {
    let answer = answer_of(script).await;
    assert_eq!((answer.outcome, answer.detail.as_str()), (outcome, detail), "{script}");
}

/// Sees when processes that hold the writing end of a named pipe appear, and when the last of them is gone.
struct Witness {
    directory: TempDir,
    up: oneshot::Receiver<String>,
    gone: oneshot::Receiver<()>,
}

impl Witness {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("witness");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let (say_up, up) = oneshot::channel();
        let (say_gone, gone) = oneshot::channel();
        thread::spawn(move || {
            let mut reader = BufReader::new(File::open(path).unwrap());
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let _ = say_up.send(line);
            reader.read_to_end(&mut Vec::new()).unwrap();
            let _ = say_gone.send(());
        });
        Self { directory, up, gone }
    }

    async fn watch(&self, script: &str, limit: Span) -> Answer {
        let script = format!("exec 3> witness; echo up >&3; {script}");
        run_in("test", &script, limit, &Place { directory: Some(self.directory.path()), ..Place::default() }).await
    }

    /// Waits until nobody holds the pipe any more.
    async fn all_gone(self) {
        assert_eq!(timeout(PATIENCE, self.up).await.unwrap().unwrap(), "up\n");
        timeout(PATIENCE, self.gone).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn exit_codes_and_signals_decide() {
    check("exit 0", Outcome::Pass, "exit code 0").await;
    check("exit 2", Outcome::Fail, "exit code 2").await;
    check("exit 126", Outcome::Unknown, "cannot start: exit code 126 (not executable)").await;
    check("no-such-program-anywhere", Outcome::Unknown, "cannot start: exit code 127 (command not found)").await;
    check("kill -KILL $$", Outcome::Fail, "killed by SIGKILL").await;
    check("kill -SEGV $$", Outcome::Fail, "killed by SIGSEGV").await;
    check("kill -USR1 $$", Outcome::Fail, &format!("killed by signal {}", Signal::USR1.as_raw())).await;
}

#[tokio::test]
async fn missing_directory_is_unknown() {
    let place = Place { directory: Some(Path::new("/nowhere/at all\n")), ..Place::default() };
    let answer = run_in("test", "true", LIMIT, &place).await;
    assert_eq!(answer.outcome, Outcome::Unknown);
    assert_eq!(answer.detail, "cannot start: /nowhere/at all\\n is not a directory");
}

#[tokio::test]
async fn hanging_command_is_stopped_with_its_group() {
    let witness = Witness::new();
    let answer = witness.watch("sleep 1000 & sleep 1000", Span::seconds(1)).await;
    assert_eq!((answer.outcome, answer.detail.as_str()), (Outcome::Unknown, "took longer than 1s and was stopped"));
    witness.all_gone().await;
}

#[tokio::test]
async fn what_ignores_the_request_to_end_is_killed() {
    let witness = Witness::new();
    let answer = witness.watch("trap '' TERM; sleep 1000 & sleep 1000; sleep 1000", Span::seconds(1)).await;
    assert_eq!(answer.outcome, Outcome::Unknown);
    witness.all_gone().await;
}

#[tokio::test]
async fn stopped_group_may_clean_up() {
    let script =
        "(trap 'echo child cleaned; exit' TERM; sleep 1000 & wait) & trap 'wait; echo cleaned; exit' TERM; wait";
    let answer = run_in("test", script, Span::seconds(1), &Place::default()).await;
    assert_eq!((answer.outcome, answer.tail), (Outcome::Unknown, vec!["child cleaned".into(), "cleaned".into()]));
}

#[tokio::test]
async fn dropping_the_question_kills_the_group() {
    let mut witness = Witness::new();
    let (_, closed) = oneshot::channel();
    let up = std::mem::replace(&mut witness.up, closed);
    tokio::select! {
        answer = witness.watch("sleep 1000 & sleep 1000", LIMIT) => panic!("ended by itself: {answer:?}"),
        line = up => assert_eq!(line.unwrap(), "up\n"),
    }
    timeout(PATIENCE, witness.gone).await.unwrap().unwrap();
}

#[tokio::test]
async fn leftovers_of_the_group_are_killed() {
    let witness = Witness::new();
    let answer = witness.watch("sleep 1000 & exit 0", LIMIT).await;
    assert_eq!(answer.outcome, Outcome::Pass);
    witness.all_gone().await;
}

/// Ways to leave a process group.
const AWAY: [&str; 4] = [
    "setsid sh -c 'sleep 1000' &",
    "setsid sh -c 'setsid sh -c \"sleep 1000\" & exec sleep 1000' &",
    "env -i PATH=\"$PATH\" setsid sh -c '(sleep 1000 &) ; exec sleep 1000' &",
    "(cd / && exec setsid sh -c \"trap '' TERM HUP INT; while :; do sleep 1000; done\" </dev/null >/dev/null 2>&1) &",
];

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_left_the_group_ends_with_the_command_or_at_its_limit() {
    for (away, end) in AWAY.iter().flat_map(|away| [(away, "exit 0"), (away, "sleep 1000")]) {
        let witness = Witness::new();
        let limit = if end == "exit 0" { LIMIT } else { Span(Duration::from_millis(300)) };
        let answer = witness.watch(&format!("{away} sleep 0.05; {end}"), limit).await;
        assert_eq!(answer.outcome == Outcome::Pass, limit == LIMIT, "{away} {end}: {answer:?}");
        witness.all_gone().await;
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_killed_cascades_command_is_found_by_its_place() {
    let (witness, mark) = (Witness::new(), Mark::of_place(b"/somewhere"));
    let mut command = shell::command("exec 3> witness; echo up >&3; sleep 1000", &Surroundings::default(), mark);
    let mut left = command.current_dir(witness.directory.path()).spawn().unwrap();
    super::super::end_leftovers(Mark::of_place(b"/elsewhere"));
    assert!(left.try_wait().unwrap().is_none());
    super::super::end_leftovers(mark);
    assert_eq!(left.wait().unwrap().signal(), Some(Signal::KILL.as_raw()));
    witness.all_gone().await;
}

#[tokio::test]
async fn a_command_that_is_stopped_says_why_and_may_clean_up() {
    let (witness, stop) = (Witness::new(), Stop::default());
    let place = Place { directory: Some(witness.directory.path()), stop: Some(&stop), ..Place::default() };
    let script = "exec 3> witness; trap 'echo cleaned; exit' TERM; echo up >&3; sleep 1000 & wait";
    let mut asked = pin!(run_in("test", script, LIMIT, &place));
    tokio::select! {
        answer = &mut asked => panic!("ended by itself: {answer:?}"),
        line = witness.up => assert_eq!(line.unwrap(), "up\n"),
    }
    stop.ask("not finished: another check failed");
    let answer = asked.await;
    assert_eq!((answer.outcome, answer.detail.as_str()), (Outcome::Unknown, "not finished: another check failed"));
    assert_eq!(answer.tail, ["cleaned"]);
    timeout(PATIENCE, witness.gone).await.unwrap().unwrap();
}

#[tokio::test]
async fn variables_that_are_withheld_are_not_seen_and_those_asked_for_are() {
    let text = "version: 1\nproject: p\nsecrets: { variables: [\"CARGO_PKG_*\"] }\n\
                checks: { plain: { run: x }, asking: { run: x, env: [CARGO_PKG_NAME] } }\n";
    let variables = [("CARGO_PKG_NAME".to_owned(), "given".to_owned())];
    let config = crate::config::parse(text, "test", &crate::config::Variables::new(variables)).unwrap();
    for (name, expected) in [("plain", "[] []"), ("asking", "[given] []")] {
        let (script, surroundings) = ("echo [$CARGO_PKG_NAME] [$CARGO_PKG_VERSION]", &config.checks[name].surroundings);
        let answer = run(Call { name, script, limit: LIMIT, surroundings }, &Place::default()).await;
        assert_eq!(answer.tail, [expected], "{name}");
    }
}

#[tokio::test]
async fn output_of_both_streams_is_logged_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let place = Place { log: Some(&log), ..Place::default() };
    let answer = run_in("test", "echo one; echo two >&2; echo three; exit 1", LIMIT, &place).await;
    assert_eq!(answer.tail, ["one", "two", "three"]);
    assert_eq!(answer.log.as_deref(), Some(log.as_path()));
    assert_eq!(std::fs::read_to_string(log).unwrap(), "one\ntwo\nthree\n");
}

#[tokio::test]
async fn megabytes_of_output_are_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let place = Place { log: Some(&log), ..Place::default() };
    let answer = run_in("test", "yes | head -c 9000000; echo; echo done", LIMIT, &place).await;
    assert_eq!(answer.outcome, Outcome::Pass);
    assert_eq!(answer.tail.len(), TAIL_LIMIT_LINES);
    assert_eq!(answer.tail.last().unwrap(), "done");
    let size = std::fs::metadata(log).unwrap().len();
    assert!((LOG_LIMIT_BYTES - 100..LOG_LIMIT_BYTES + 100).contains(&size), "{size}");
}

#[tokio::test]
async fn binary_output_is_harmless() {
    let answer = answer_of("printf '\\000\\377\\033[2J\\nend'").await;
    assert_eq!(answer.tail, ["\\x00\\xff\\x1b[2J", "end"]);
}

#[tokio::test]
async fn commands_get_the_place_and_nothing_to_read() {
    let directory = tempfile::tempdir().unwrap();
    let variables = [("CASCADE_ENVIRONMENT".to_owned(), "staging".to_owned())];
    let place = Place { directory: Some(directory.path()), variables: &variables, ..Place::default() };
    let answer = run_in("build", "cat; pwd; echo $CASCADE_ENVIRONMENT $CASCADE_CHECK", LIMIT, &place).await;
    let path = directory.path().canonicalize().unwrap();
    assert_eq!(answer.tail, [path.to_str().unwrap(), "staging build"]);
}
