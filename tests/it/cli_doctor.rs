//! `cascade doctor`: each question, with something wrong.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use cascade::base::clock::{Clock as _, SystemClock, from_ms};
use cascade::git::Repo;
use cascade::store::{Home, Lock, ProjectHome, SandboxRecord, SandboxState, Store};
use serde_json::Value;

use crate::support::pipeline::{PLAIN, Pipeline};
use crate::support::small_disk::SmallDisk;
use crate::support::{Output, Sandbox, output};

/// A pipeline that nothing is wrong with.
fn well() -> Pipeline {
    Pipeline::new(false, PLAIN, "")
}

/// What one question was answered.
fn asked(answer: &Output, question: &str) -> Value {
    let document = answer.json();
    let all = document["diagnoses"].as_array().unwrap();
    let bad = |found: &&Value| found["question"] == question && found["verdict"] != "ok";
    let any = |found: &&Value| found["question"] == question;
    all.iter().find(bad).or_else(|| all.iter().find(any)).unwrap_or_else(|| panic!("{question}: {document:#}")).clone()
}

/// Expects an exit code and the verdict on one question; answers its detail and advice in one text.
#[track_caller]
fn check(sandbox: &Sandbox, words: &[&str], question: &str, (code, verdict): (i32, &str)) -> String {
    let answer = sandbox.cascade(&[&["doctor", "--json"], words].concat()).expect_code(code);
    let found = asked(&answer, question);
    assert_eq!(found["verdict"], verdict, "{found:#}");
    format!("{} → {}", found["detail"].as_str().unwrap(), found["advice"].as_str().unwrap_or_default())
}

fn git_path(sandbox: &Sandbox, path: &str) -> std::path::PathBuf {
    sandbox.root().join(".git").join(path)
}

fn make_old(path: &Path) {
    let file = File::open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(7_200)).unwrap();
}

fn project_home(sandbox: &Sandbox) -> (Home, ProjectHome) {
    let home = Home::new(sandbox.base().join("cascade"));
    let project = home.project(Repo::open(&sandbox.root()).unwrap().common_dir());
    (home, project)
}

#[test]
fn an_installation_that_is_well_is_told_so_and_left_as_it_is() {
    let pipeline = Pipeline::new(true, PLAIN, "");
    let before = pipeline.git(&["for-each-ref"]);
    let answer = pipeline.cascade(&["doctor", "--dry-run", "--json"]).expect_code(0).json();
    let questions: Vec<&str> =
        answer["diagnoses"].as_array().unwrap().iter().map(|found| found["question"].as_str().unwrap()).collect();
    for question in ["git program", "configuration", "locks", "index", "left-over files", "repository", "hooks"] {
        assert!(questions.contains(&question), "{questions:?}");
    }
    for question in ["remote", "cascade's directory", "disk space", "database", "clock", "scratch checkouts"] {
        assert!(questions.contains(&question), "{questions:?}");
    }
    for question in ["pushing", "file system", "watch limits", "watcher"] {
        assert!(questions.contains(&question), "{questions:?}");
    }
    assert!(!pipeline.base().join("cascade").exists(), "looking makes nothing");
    let text = pipeline.cascade(&["doctor"]).expect_code(0);
    assert_eq!(text.stdout.matches('✓').count(), text.stdout.lines().count(), "{text:#?}");
    assert_eq!(pipeline.git(&["for-each-ref"]), before);
    assert_eq!(pipeline.git(&["status", "--porcelain"]), "");
}

#[test]
fn git_that_is_missing_or_too_old_is_named() {
    let pipeline = well();
    let programs = pipeline.base().join("programs");
    fs::create_dir(&programs).unwrap();
    let doctor = || {
        let mut command = pipeline.command(env!("CARGO_BIN_EXE_cascade"), &["doctor", "--json"]);
        command.env("PATH", &programs);
        output(command, b"").expect_code(1)
    };
    let missing = doctor();
    assert!(asked(&missing, "git program")["advice"].as_str().unwrap().contains("install git 2.38"));
    assert_eq!(asked(&missing, "repository")["verdict"], "unknown");
    fs::write(programs.join("git"), "#!/bin/sh\necho git version 2.30.1\n").unwrap();
    fs::set_permissions(programs.join("git"), fs::Permissions::from_mode(0o755)).unwrap();
    let old = asked(&doctor(), "git program");
    assert_eq!((&old["verdict"], &old["detail"]), (&"problem".into(), &"git 2.30.1 is too old".into()));
}

#[test]
fn a_repository_without_commits_and_configuration_can_be_asked() {
    let sandbox = Sandbox::empty();
    sandbox.git(&["init", "--quiet"]);
    check(&sandbox, &[], "repository", (1, "ok"));
    check(&sandbox, &[], "index", (1, "ok"));
    assert!(check(&sandbox, &[], "configuration", (1, "problem")).contains("cascade init"));
}

#[test]
fn outside_a_checkout_the_machine_is_asked_all_the_same() {
    let answer = Sandbox::empty().cascade(&["doctor", "--json"]).expect_code(1);
    assert!(asked(&answer, "repository")["detail"].as_str().unwrap().contains("not inside a git repository"));
    assert_eq!(asked(&answer, "disk space")["verdict"], "ok");
    let pipeline = well();
    pipeline.write("cascade-sync.yaml", "version: 1\nprojekt: x\n");
    check(&pipeline, &[], "configuration", (1, "problem"));
    check(&pipeline, &[], "repository", (1, "ok"));
}

#[test]
fn what_a_killed_save_left_is_cleared_away() {
    let pipeline = well();
    let never = "7".repeat(40);
    let (marker, lock) = (git_path(&pipeline, &format!("cascade-save-{never}-1")), git_path(&pipeline, "index.lock"));
    fs::write(&marker, "half an index").unwrap();
    fs::hard_link(&marker, &lock).unwrap();
    let branch_lock = git_path(&pipeline, "refs/heads/develop.lock");
    fs::write(&branch_lock, &never).unwrap();
    let told = check(&pipeline, &["--dry-run"], "locks", (1, "can_be_repaired"));
    assert!(told.contains("index.lock") && told.contains("develop.lock") && lock.exists(), "{told}");
    check(&pipeline, &[], "locks", (0, "repaired"));
    assert!(!marker.exists() && !lock.exists() && !branch_lock.exists());
    check(&pipeline, &[], "locks", (0, "ok"));
}

#[test]
fn locks_of_unknown_origin_are_told_and_never_removed() {
    let pipeline = well();
    for name in ["index.lock", "refs/heads/staging.lock", "packed-refs.lock", "HEAD.lock"] {
        let lock = git_path(&pipeline, name);
        fs::write(&lock, "").unwrap();
        let young = check(&pipeline, &[], "locks", (1, "unknown"));
        assert!(young.contains(name), "{young}");
        make_old(&lock);
        let told = check(&pipeline, &[], "locks", (1, "problem"));
        assert!(told.contains("is there for 2h") && told.contains("no process"), "{told}");
        assert!(told.contains(&format!("`rm {}`", lock.canonicalize().unwrap().display())), "{told}");
        assert!(lock.exists());
        fs::remove_file(&lock).unwrap();
    }
    let lock = git_path(&pipeline, "index.lock");
    let mut holder = Command::new("sleep").arg("60").stdin(File::create_new(&lock).unwrap()).spawn().unwrap();
    let told = check(&pipeline, &[], "locks", (0, "ok"));
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert!(told.contains(&format!("sleep (process {})", holder.id())), "{told}");
}

#[test]
fn a_broken_index_is_made_again_and_the_old_one_kept() {
    let pipeline = well();
    pipeline.write("README", "edited\n");
    let index = git_path(&pipeline, "index");
    let whole = fs::read(&index).unwrap();
    let mut flipped = whole.clone();
    flipped[40] ^= 1;
    for (number, broken) in [&whole[..whole.len() / 2], &flipped, b"", b"garbage"].into_iter().enumerate() {
        fs::write(&index, broken).unwrap();
        check(&pipeline, &["--dry-run"], "index", (1, "can_be_repaired"));
        assert_eq!(fs::read(&index).unwrap(), broken, "a look changes nothing");
        let told = check(&pipeline, &[], "index", (0, "repaired"));
        let name = format!("index.broken-{}", number + 1);
        assert!(told.contains(&name), "{told}");
        assert_eq!(fs::read(git_path(&pipeline, &name)).unwrap(), broken);
        assert_eq!(pipeline.git(&["status", "--porcelain"]), "M README");
    }
    assert_eq!(pipeline.read("README"), "edited\n");
    check(&pipeline, &[], "index", (0, "ok"));
}

#[test]
fn an_index_that_is_made_again_leaves_out_what_a_sparse_checkout_does() {
    let pipeline = well();
    pipeline.write("src/a", "x\n");
    pipeline.write("art/b", "x\n");
    pipeline.commit("Two directories");
    pipeline.git(&["sparse-checkout", "set", "src"]);
    fs::remove_file(git_path(&pipeline, "index")).unwrap();
    check(&pipeline, &["--dry-run"], "index", (1, "can_be_repaired"));
    let told = check(&pipeline, &[], "index", (0, "repaired"));
    assert!(told.starts_with("it is missing") && !told.contains("broken"), "{told}");
    assert_eq!(pipeline.git(&["status", "--porcelain"]), "");
    assert!(!pipeline.root().join("art").exists());
}

#[test]
fn an_index_is_not_made_again_where_that_would_lose_something() {
    let pipeline = well();
    let index = git_path(&pipeline, "index");
    fs::write(&index, "garbage").unwrap();
    fs::write(git_path(&pipeline, "MERGE_HEAD"), pipeline.tip("main")).unwrap();
    let told = check(&pipeline, &[], "index", (1, "problem"));
    assert!(told.contains("a merge is in progress") && told.contains("git read-tree HEAD"), "{told}");
    fs::remove_file(git_path(&pipeline, "MERGE_HEAD")).unwrap();
    pipeline.git(&["config", "core.sparseCheckout", "true"]);
    let told = check(&pipeline, &[], "index", (1, "problem"));
    assert!(told.contains("sparse") && told.contains("git sparse-checkout reapply"), "{told}");
    pipeline.git(&["config", "core.sparseCheckout", "false"]);
    let lock = git_path(&pipeline, "index.lock");
    fs::write(&lock, "").unwrap();
    let told = check(&pipeline, &[], "index", (1, "problem"));
    assert!(told.contains("index.lock is held"), "{told}");
    assert_eq!(fs::read(&index).unwrap(), b"garbage");
}

#[test]
fn only_files_of_cascades_that_nobody_holds_are_removed() {
    let pipeline = well();
    let ours = ["cascade-index-abc123", "cascade-aside-xyz", "objects/pack/tmp_cascade_abc"];
    let others = ["objects/pack/tmp_pack_abc", "objects/pack/tmp_cascade_young", "objects/pack/tmp_cascade_held"];
    fs::create_dir_all(git_path(&pipeline, "objects/pack")).unwrap();
    fs::create_dir(git_path(&pipeline, ours[0])).unwrap();
    ours[1..].iter().chain(&others).for_each(|name| fs::write(git_path(&pipeline, name), "").unwrap());
    ours.iter().chain([&others[0], &others[2]]).for_each(|name| make_old(&git_path(&pipeline, name)));
    let held = File::open(git_path(&pipeline, others[2])).unwrap();
    held.lock().unwrap();
    let told = check(&pipeline, &["--dry-run"], "left-over files", (1, "can_be_repaired"));
    assert!(told.starts_with("3 temporary files of killed processes: "), "{told}");
    check(&pipeline, &[], "left-over files", (0, "repaired"));
    assert!(ours.iter().all(|name| !git_path(&pipeline, name).exists()));
    assert!(others.iter().all(|name| git_path(&pipeline, name).exists()));
    check(&pipeline, &[], "left-over files", (0, "ok"));
}

#[test]
fn what_a_killed_init_began_is_removed_and_nothing_that_only_looks_like_it() {
    let pipeline = well();
    let (root, hook) = (pipeline.root(), git_path(&pipeline, "hooks/pre-push"));
    let configuration = include_str!("../../cascade-sync.yaml").replace("project: my-site", "project: checkout");
    let begun = [
        (root.join(".cascade-abC123"), configuration.as_bytes()[..300].to_vec()),
        (root.join(".cascade-000000"), Vec::new()),
        (git_path(&pipeline, "hooks/.cascade-XyZxYz"), fs::read(&hook).unwrap()),
        (git_path(&pipeline, "hooks/pre-push.d/.cascade-q1w2e3"), b"#!/bin/sh\n".to_vec()),
    ];
    let others = [
        (root.join(".cascade-notes1"), b"mine".to_vec()),
        (root.join(".cascade-abC1234"), Vec::new()),
        (root.join(".cascade-sync.x"), Vec::new()),
        (root.join(".cascade-young0"), Vec::new()),
        (root.join(".cascade-held00"), Vec::new()),
        (root.join(".cascade-saved0"), Vec::new()),
        (root.join("below/.cascade-000000"), Vec::new()),
    ];
    fs::create_dir(root.join("below")).unwrap();
    for (path, content) in begun.iter().chain(&others) {
        fs::write(path, content).unwrap();
        if !path.ends_with(".cascade-young0") {
            make_old(path);
        }
    }
    let held = File::open(root.join(".cascade-held00")).unwrap();
    held.lock().unwrap();
    pipeline.git(&["add", ".cascade-saved0"]);
    pipeline.git(&["commit", "--quiet", "--no-verify", "-m", "Saved"]);
    let told = check(&pipeline, &["--dry-run"], "left-over files", (1, "can_be_repaired"));
    assert!(told.starts_with("4 temporary files of killed processes: "), "{told}");
    assert!(begun.iter().all(|(path, _)| path.exists()), "a look changes nothing");
    check(&pipeline, &[], "left-over files", (0, "repaired"));
    assert!(begun.iter().all(|(path, _)| !path.exists()));
    assert!(others.iter().all(|(path, _)| path.exists()));
    check(&pipeline, &[], "left-over files", (0, "ok"));
}

#[test]
fn scratch_checkouts_that_are_damaged_or_of_no_environment_are_removed() {
    let environments = "\n  staging: { from: develop, branch: staging, checks: [build, lint] }\n";
    // They meet, so that each needs a checkout of its own.
    let fifo = tempfile::tempdir().unwrap();
    let meet = fifo.path().join("meet");
    assert!(std::process::Command::new("mkfifo").arg(&meet).status().unwrap().success());
    let meet = meet.to_str().unwrap();
    let checks = format!(
        "\n  build: {{ run: \"echo x > {meet}\" }}\n  lint: {{ run: \"read x < {meet}\" }}\nparallel_checks: 2\n"
    );
    let pipeline = Pipeline::new(false, environments, &checks);
    pipeline.promote("staging", 0);
    let (_, project) = project_home(&pipeline);
    let (staging, gone) = (project.scratch("staging"), project.scratch("gone"));
    assert!(check(&pipeline, &[], "scratch checkouts", (0, "ok")).starts_with("2 can be used"));
    fs::create_dir_all(gone.join("deep")).unwrap();
    fs::write(staging.join("checkout/.git/HEAD"), "").unwrap();
    let held = Lock::take(&project.promotion_lock()).unwrap();
    check(&pipeline, &[], "scratch checkouts", (0, "ok"));
    assert!(gone.exists() && staging.exists(), "a promotion may be using them");
    drop(held);
    check(&pipeline, &["--dry-run"], "scratch checkouts", (1, "can_be_repaired"));
    let told = check(&pipeline, &[], "scratch checkouts", (0, "repaired"));
    assert!(told.contains("no environment has it"), "{told}");
    assert!(!gone.exists() && !staging.exists());
    pipeline.save_file("page", "new\n");
    pipeline.promote("staging", 0);
}

#[test]
fn damage_to_branches_and_objects_is_told() {
    let pipeline = well();
    let head = git_path(&pipeline, "HEAD");
    fs::write(&head, "").unwrap();
    let told = check(&pipeline, &[], "repository", (1, "problem"));
    assert!(told.contains("`echo 'ref: refs/heads/develop' > "), "{told}");
    fs::write(&head, "ref: refs/heads/develop\n").unwrap();
    let tip = pipeline.tip("staging");
    fs::write(git_path(&pipeline, "refs/heads/staging"), "").unwrap();
    let told = check(&pipeline, &[], "repository", (1, "problem"));
    assert!(told.contains("refs/heads/staging") && told.contains("git reflog"), "{told}");
    fs::write(git_path(&pipeline, "refs/heads/staging"), tip).unwrap();
    let blob = pipeline.git(&["rev-parse", "develop:README"]);
    fs::remove_file(git_path(&pipeline, &format!("objects/{}/{}", &blob[..2], &blob[2..]))).unwrap();
    let told = check(&pipeline, &[], "repository", (1, "problem"));
    assert!(told.contains(&blob) && told.contains("git fsck"), "{told}");
}

#[test]
fn hooks_that_git_would_not_run_for_cascade_are_told() {
    let pipeline = well();
    let hook = git_path(&pipeline, "hooks/pre-push");
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(check(&pipeline, &[], "hooks", (1, "problem")).contains("`chmod +x "));
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(&hook, "#!/bin/sh\nexit 0\n").unwrap();
    assert!(check(&pipeline, &[], "hooks", (1, "problem")).contains("call `cascade hook pre-push"));
    fs::remove_file(&hook).unwrap();
    assert!(check(&pipeline, &[], "hooks", (1, "problem")).ends_with("run `cascade init`"));
    pipeline.cascade(&["init"]).expect_code(0);
    check(&pipeline, &[], "hooks", (0, "ok"));
}

#[test]
fn a_remote_that_does_not_answer_is_told_in_gits_words() {
    let pipeline = Pipeline::new(true, PLAIN, "");
    assert!(check(&pipeline, &[], "remote", (0, "ok")).starts_with("origin answers"));
    pipeline.git(&["remote", "set-url", "origin", "../nowhere.git"]);
    let told = check(&pipeline, &[], "remote", (1, "problem"));
    assert!(told.contains("does not appear to be a git repository") && told.contains("git remote -v"), "{told}");
    pipeline.git(&["remote", "set-url", "origin", "git@example.test:shop.git"]);
    pipeline.git(&["config", "core.sshCommand", "echo 'Permission denied (publickey).' >&2; false"]);
    let told = check(&pipeline, &[], "remote", (1, "problem"));
    assert!(told.contains("Permission denied") && told.contains("`ssh -T git@example.test`"), "{told}");
}

/// Lets the origin be reached by a program in ssh's place, which may read there and is told `denied` when it writes.
fn read_only(pipeline: &Pipeline, denied: &str) {
    let origin = pipeline.base().join("origin.git");
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *receive-pack*) echo '{denied}' >&2; exit 1;; esac\nexec git upload-pack '{}'\n",
        origin.display()
    );
    pipeline.write_program("../ssh", &script);
    pipeline.git(&["remote", "set-url", "origin", "git@example.test:shop.git"]);
    let command = pipeline.base().join("ssh");
    pipeline.git(&["config", "core.sshCommand", command.to_str().unwrap()]);
}

#[test]
fn a_remote_that_may_only_be_read_is_told_before_the_first_push_fails() {
    let pipeline = Pipeline::new(true, PLAIN, "");
    assert!(check(&pipeline, &[], "pushing", (0, "ok")).starts_with("`develop` to origin is allowed"));
    read_only(&pipeline, "ERROR: The key you are authenticating with has been marked as read only.");
    check(&pipeline, &[], "remote", (1, "ok"));
    let told = check(&pipeline, &[], "pushing", (1, "problem"));
    assert!(told.contains("denied access") && told.contains("marked as read only"), "{told}");
    assert!(told.contains("give this account the right to push") && told.contains("ssh -T git@example.test"), "{told}");
    pipeline.git(&["remote", "remove", "origin"]);
    assert!(check(&pipeline, &[], "remote", (0, "ok")).contains("nothing is pushed"));
    let answer = pipeline.cascade(&["doctor", "--json"]).expect_code(0);
    assert!(!answer.stdout.contains("\"pushing\""), "{answer:#?}");
}

#[test]
fn asking_whether_a_push_is_allowed_runs_no_hook_and_changes_nothing() {
    let pipeline = Pipeline::new(true, PLAIN, "");
    pipeline.save_file("page", "not pushed yet\n");
    pipeline.git(&["push", "--quiet", "--no-verify", "--force", "origin", "develop~1:develop"]);
    let origin = pipeline.base().join("origin.git");
    for hook in
        [git_path(&pipeline, "hooks/pre-push.d/99-mark"), origin.join("hooks/pre-receive"), origin.join("hooks/update")]
    {
        let script = format!("#!/bin/sh\ntouch {}/hook-ran\n", pipeline.base().display());
        pipeline.write_program(hook.to_str().unwrap(), &script);
    }
    let refs = || (pipeline.git(&["for-each-ref"]), pipeline.git(&["ls-remote", "origin"]));
    let before = refs();
    check(&pipeline, &[], "pushing", (0, "ok"));
    assert_eq!(refs(), before);
    assert!(!pipeline.base().join("hook-ran").exists());
    // The hooks are where git looks for them.
    pipeline.git(&["push", "--quiet", "origin", "develop"]);
    assert!(pipeline.base().join("hook-ran").exists());
}

#[test]
fn commits_of_others_on_the_remote_do_not_forbid_a_push() {
    let pipeline = Pipeline::new(true, PLAIN, "");
    pipeline.save_file("page", "theirs\n");
    pipeline.git(&["reset", "--quiet", "--hard", "develop~1"]);
    pipeline.write("page", "ours\n");
    pipeline.commit("Ours");
    let told = check(&pipeline, &[], "pushing", (0, "ok"));
    assert!(told.contains("once what others pushed there is brought in"), "{told}");
}

#[test]
fn a_clock_that_is_before_a_commit_or_a_record_is_wrong() {
    let pipeline = well();
    pipeline.cascade(&["status"]).expect_code(0);
    let mut record = SandboxRecord::begun("develop", from_ms(SystemClock.now().as_millisecond() + 3_600_000));
    let (home, project) = project_home(&pipeline);
    report(&home, &project, &record);
    let told = check(&pipeline, &[], "clock", (1, "problem"));
    assert!(told.contains("something was recorded at") && told.contains("timedatectl"), "{told}");
    record.seen_at = SystemClock.now();
    report(&home, &project, &record);
    check(&pipeline, &[], "clock", (0, "ok"));
    let mut commit = pipeline.command("git", &["commit", "--quiet", "--allow-empty", "-m", "From the future"]);
    commit.env("GIT_COMMITTER_DATE", "2099-01-01T00:00:00Z");
    output(commit, b"").expect_code(0);
    let told = check(&pipeline, &[], "clock", (1, "problem"));
    assert!(told.contains("commit ") && told.contains("2099"), "{told}");
}

/// Stores what a watcher would say of itself.
fn report(home: &Home, project: &ProjectHome, record: &SandboxRecord) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Store::open(home, project).await.unwrap();
        store.report_sandbox(record).await.unwrap();
        store.close().await;
    });
}

#[test]
fn a_database_that_is_damaged_is_told_with_the_way_out() {
    let pipeline = well();
    pipeline.cascade(&["status"]).expect_code(0);
    assert!(check(&pipeline, &[], "database", (0, "ok")).starts_with("whole"));
    let path = pipeline.base().join("cascade/cascade.db");
    // Closing writes the log out into the file: what is damaged afterwards is not in it any more.
    let (home, project) = project_home(&pipeline);
    report(&home, &project, &SandboxRecord::begun("develop", SystemClock.now()));
    assert!(!path.with_extension("db-wal").exists());
    let mut bytes = fs::read(&path).unwrap();
    // Everything but the first page, which says what tables there are.
    bytes[4_096..].fill(0xff);
    fs::write(&path, &bytes).unwrap();
    let told = check(&pipeline, &[], "database", (1, "problem"));
    assert!(told.contains("its file is damaged") || told.contains("btreeInitPage"), "{told}");
    assert!(told.contains("/cascade.db* ") && told.contains("in git and stays"), "{told}");
    fs::write(&path, "something else entirely").unwrap();
    let told = check(&pipeline, &[], "database", (1, "problem"));
    assert!(told.contains("it is not a SQLite database"), "{told}");
    fs::remove_dir_all(pipeline.base().join("cascade")).unwrap();
    fs::write(pipeline.base().join("cascade"), "a file").unwrap();
    let told = check(&pipeline, &[], "cascade's directory", (1, "problem"));
    assert!(told.contains("not a directory") && told.contains("CASCADE_HOME"), "{told}");
}

#[test]
fn a_disk_that_is_nearly_full_is_told_before_it_is_full() {
    let pipeline = well();
    let Some(_disk) = SmallDisk::mount(&pipeline.base().join("cascade"), 8) else { return };
    let told = check(&pipeline, &[], "disk space", (1, "problem"));
    assert!(told.contains("MiB free for cascade's own files") && told.contains("at least 100 MiB"), "{told}");
}

#[test]
fn a_watcher_that_is_paused_or_silent_is_told() {
    let pipeline = well();
    let (home, project) = project_home(&pipeline);
    let mut record = SandboxRecord::begun("develop", SystemClock.now());
    report(&home, &project, &record);
    assert!(check(&pipeline, &[], "watcher", (0, "ok")).starts_with("it is not running"));
    let _held = Lock::take(&project.sandbox_lock()).unwrap();
    assert!(check(&pipeline, &[], "watcher", (0, "ok")).starts_with("it runs"));
    (record.state, record.reason) = (SandboxState::Paused, Some("a rebase is in progress".to_owned()));
    report(&home, &project, &record);
    let told = check(&pipeline, &[], "watcher", (1, "problem"));
    assert!(told.starts_with("saving is paused: a rebase is in progress"), "{told}");
    record.seen_at = from_ms(SystemClock.now().as_millisecond() - 61_000);
    report(&home, &project, &record);
    let told = check(&pipeline, &[], "watcher", (1, "problem"));
    assert!(told.contains("not responding") && told.ends_with("`cascade restart`"), "{told}");
}

#[test]
fn advice_is_printed_in_full_below_the_table() {
    let pipeline = well();
    fs::remove_file(git_path(&pipeline, "hooks/pre-push")).unwrap();
    let answer = pipeline.cascade(&["doctor"]).expect_code(1);
    let below = answer.stdout.split_once("\n\n").unwrap().1;
    insta::assert_snapshot!(below, @r"
    hooks: pre-push is not installed: pushes are not looked at
      → run `cascade init`
    ");
    assert_eq!(answer.stderr, "error: 1 problem\n");
}
