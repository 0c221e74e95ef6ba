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
    run("test", script, LIMIT, &Place::default()).await
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
        run("test", &script, limit, &Place { directory: Some(self.directory.path()), ..Place::default() }).await
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
    let answer = run("test", "true", LIMIT, &place).await;
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
    let answer = run("test", script, Span::seconds(1), &Place::default()).await;
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

#[tokio::test]
async fn process_in_a_session_of_its_own_is_not_waited_for() {
    let witness = Witness::new();
    let started = tokio::time::Instant::now();
    let answer = witness.watch("setsid sh -c 'echo away; sleep 8' & exit 0", LIMIT).await;
    assert_eq!(answer.outcome, Outcome::Pass);
    assert!(started.elapsed() < Duration::from_secs(6), "waited {:?}", started.elapsed());
}

#[tokio::test]
async fn output_of_both_streams_is_logged_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let place = Place { log: Some(&log), ..Place::default() };
    let answer = run("test", "echo one; echo two >&2; echo three; exit 1", LIMIT, &place).await;
    assert_eq!(answer.tail, ["one", "two", "three"]);
    assert_eq!(answer.log.as_deref(), Some(log.as_path()));
    assert_eq!(std::fs::read_to_string(log).unwrap(), "one\ntwo\nthree\n");
}

#[tokio::test]
async fn megabytes_of_output_are_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let place = Place { log: Some(&log), ..Place::default() };
    let answer = run("test", "yes | head -c 9000000; echo; echo done", LIMIT, &place).await;
    assert_eq!(answer.outcome, Outcome::Pass);
    assert_eq!(answer.tail.len(), TAIL_LIMIT_LINES);
    assert_eq!(answer.tail.last().unwrap(), "done");
    let size = std::fs::metadata(log).unwrap().len();
    assert!((LOG_LIMIT_BYTES..LOG_LIMIT_BYTES + 100).contains(&size), "{size}");
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
    let answer = run("build", "cat; pwd; echo $CASCADE_ENVIRONMENT $CASCADE_CHECK", LIMIT, &place).await;
    let path = directory.path().canonicalize().unwrap();
    assert_eq!(answer.tail, [path.to_str().unwrap(), "staging build"]);
}
