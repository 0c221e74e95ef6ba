//! Cascade's own directory, where it cannot be used as it must be.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use crate::support::Sandbox;

/// Makes a pipeline whose database is there, of somebody to whom permissions apply.
fn with_database() -> Option<Sandbox> {
    let sandbox = Sandbox::new().unprivileged()?;
    sandbox.cascade(&["init"]).expect_code(0);
    sandbox.cascade(&["status"]).expect_code(0);
    Some(sandbox)
}

/// Expects that commands name `path`, which cannot be written, with the reason and what to do.
#[track_caller]
fn check_refused(sandbox: &Sandbox, path: &Path, reason: &str) {
    for command in ["status", "start", "promote staging"] {
        let refused = sandbox.cascade(&command.split(' ').collect::<Vec<_>>()).expect_code(1);
        let expected = format!("for {} cannot be written: {reason}", path.display());
        assert!(refused.stderr.contains(&expected), "{command}: {refused:#?}");
        assert!(refused.stderr.contains("CASCADE_HOME") && !refused.stderr.contains("readonly"), "{refused:#?}");
    }
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_database_that_cannot_be_written_is_named_with_the_reason_and_the_way_out() {
    let Some(sandbox) = with_database() else { return };
    let home = sandbox.base().join("cascade");
    let database = home.join("cascade.db");
    let log = home.join("cascade.db-wal");
    for (path, mode) in [(&home, 0o555), (&database, 0o444)] {
        let before = std::fs::metadata(path).unwrap().permissions();
        set_mode(path, mode);
        check_refused(&sandbox, path, "Permission denied");
        std::fs::set_permissions(path, before).unwrap();
        sandbox.cascade(&["status"]).expect_code(0);
    }
    set_mode(&home, 0o555);
    let told = sandbox.cascade(&["doctor"]).expect_code(1).stdout;
    set_mode(&home, 0o755);
    assert!(told.contains("chmod -R u+rwX") && !told.contains("history and approvals are lost"), "{told}");
    if rustix::process::getuid().is_root() {
        // As somebody leaves it who ran a command as root.
        std::fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        chown(&log, Some(0), Some(0)).unwrap();
        set_mode(&log, 0o644);
        check_refused(&sandbox, &log, "it belongs to another user (0)");
        chown(&log, Some(65_534), Some(65_534)).unwrap();
        sandbox.cascade(&["status"]).expect_code(0);
    }
}
