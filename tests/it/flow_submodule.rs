//! A checkout with a submodule.

use crate::support::Sandbox;
use crate::support::watched::Watched;

/// Makes a pipeline whose checkout has a submodule at `lib`.
fn with_submodule() -> Watched {
    let at = Sandbox::with_origin();
    at.git(&["clone", "--quiet", "--bare", ".", "../lib.git"]);
    at.git(&["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "../lib.git", "lib"]);
    at.commit("A library");
    Watched::of(at, "200ms", "")
}

fn commit_inside(watched: &Watched, message: &str) -> String {
    watched.git(&["-C", "lib", "commit", "--quiet", "--allow-empty", "-m", message]);
    watched.git(&["-C", "lib", "rev-parse", "HEAD"])
}

fn until_saved(watched: &Watched, commit: &str) {
    watched.until("the submodule's commit on develop", || watched.git(&["rev-parse", "develop:lib"]) == commit);
}

#[test]
fn a_commit_in_a_submodule_is_saved_soon_on_a_branch_and_off_it() {
    let watched = with_submodule();
    watched.start();
    let first = watched.git(&["-C", "lib", "rev-parse", "HEAD"]);
    let on_a_branch = commit_inside(&watched, "on a branch");
    until_saved(&watched, &on_a_branch);
    watched.git(&["-C", "lib", "checkout", "--quiet", "--detach"]);
    let detached = commit_inside(&watched, "on none");
    until_saved(&watched, &detached);
    watched.git(&["-C", "lib", "reset", "--quiet", "--soft", &first]);
    until_saved(&watched, &first);
    assert_eq!(watched.git(&["status", "--porcelain", "--ignore-submodules=dirty"]), "");
}
