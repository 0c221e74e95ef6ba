//! Files of the candidate.

use std::io::{self, ErrorKind};
use std::path::{Component, Path};

use tokio::fs;
use tokio::time::timeout;

use super::Answer;
use crate::base::id::ObjectId;
use crate::base::units::Span;
use crate::git::{Git, LookedUp};

/// Asks whether `path` in a tree is a regular file, without checking it out.
pub(super) async fn in_tree(path: &str, git: &Git, tree: ObjectId) -> Answer {
    let wanted = path.as_bytes().to_vec();
    match git.run(move |repo| repo.look_up(tree, &wanted)).await {
        Ok(LookedUp::File) => Answer::pass(format!("`{path}` is a file")),
        Ok(LookedUp::NoFile) => Answer::fail(format!("`{path}` is not a regular file")),
        Ok(LookedUp::Missing) => Answer::fail(format!("`{path}` is missing")),
        Ok(LookedUp::Outside) => Answer::fail(format!("`{path}` leads out of the candidate")),
        Err(error) => Answer::unknown(format!("cannot look at `{path}`: {error}")),
    }
}

/// Asks whether `path` inside `directory` is a regular file, reached without leaving the directory.
pub(super) async fn exists(path: &str, limit: Span, directory: Option<&Path>) -> Answer {
    let Some(directory) = directory else {
        return Answer::unknown("there is no candidate to look into");
    };
    match timeout(limit.0, look(Path::new(path), directory)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => Answer::unknown(format!("cannot look at `{path}`: {error}")),
        Err(_) => Answer::unknown(format!("no answer within {limit}")),
    }
}

async fn look(path: &Path, directory: &Path) -> io::Result<Answer> {
    let shown = path.display();
    if !path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Ok(Answer::fail(format!("`{shown}` leads out of the candidate")));
    }
    let directory = fs::canonicalize(directory).await?;
    let found = match fs::canonicalize(directory.join(path)).await {
        Ok(found) => found,
        Err(error) if is_missing(&error) => return Ok(Answer::fail(format!("`{shown}` is missing"))),
        Err(error) => return Err(error),
    };
    if !found.starts_with(&directory) {
        return Ok(Answer::fail(format!("`{shown}` leads out of the candidate")));
    }
    Ok(match fs::symlink_metadata(&found).await?.is_file() {
        true => Answer::pass(format!("`{shown}` is a file")),
        false => Answer::fail(format!("`{shown}` is not a regular file")),
    })
}

fn is_missing(error: &io::Error) -> bool {
    let endless_link = error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
    endless_link || matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidFilename)
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;
    use std::os::unix::fs::symlink;

    async fn check(directory: &Path, path: &str, outcome: Outcome, detail: &str) {
        let answer = exists(path, Span::seconds(10), Some(directory)).await;
        assert_eq!((answer.outcome, answer.detail.as_str()), (outcome, detail), "{path}");
    }

    #[tokio::test]
    async fn only_regular_files_inside_pass() {
        let outside = tempfile::tempdir().unwrap();
        let inside = outside.path().join("checkout");
        std::fs::create_dir_all(inside.join("config")).unwrap();
        std::fs::write(inside.join("config/app.yaml"), "a: 1").unwrap();
        std::fs::write(outside.path().join("secret"), "x").unwrap();
        symlink("config/app.yaml", inside.join("link")).unwrap();
        symlink("../secret", inside.join("escape")).unwrap();
        symlink("endless", inside.join("endless")).unwrap();

        check(&inside, "config/app.yaml", Outcome::Pass, "`config/app.yaml` is a file").await;
        check(&inside, "./link", Outcome::Pass, "`./link` is a file").await;
        check(&inside, "config", Outcome::Fail, "`config` is not a regular file").await;
        check(&inside, "config/missing", Outcome::Fail, "`config/missing` is missing").await;
        check(&inside, "config/app.yaml/below", Outcome::Fail, "`config/app.yaml/below` is missing").await;
        check(&inside, "endless", Outcome::Fail, "`endless` is missing").await;
        check(&inside, "escape", Outcome::Fail, "`escape` leads out of the candidate").await;
        check(&inside, "../secret", Outcome::Fail, "`../secret` leads out of the candidate").await;
        check(&inside, "/etc/passwd", Outcome::Fail, "`/etc/passwd` leads out of the candidate").await;
    }

    #[tokio::test]
    async fn a_tree_answers_like_its_checkout() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::write(root.join("a/b/file"), "").unwrap();
        let links = [("a/up", "../a/b/file"), ("chain", "a/up"), ("dir", "a/b"), ("out", "../x"), ("loop", "loop")];
        for (name, target) in links.into_iter().chain([("gone", "a/none"), ("root", "/etc/passwd"), ("far", "a/../..")])
        {
            symlink(target, root.join(name)).unwrap();
        }
        for words in
            [&["init", "-q"][..], &["add", "-A"], &["-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "x"]]
        {
            let mut git = std::process::Command::new("git");
            assert!(git.args(words).current_dir(root).status().unwrap().success());
        }
        let git = Git::open(root, None).unwrap();
        let tree = git.run(|repo| repo.tree_of(head(repo).unwrap())).await.unwrap();
        let inside = ["a/b/file", "./a//b/file", "chain", "dir/file", "dir", "a", "gone", "loop", "a/b/file/x", "no"];
        for path in inside.into_iter().chain(["out", "root", "far", "../x", "/etc/passwd"]) {
            let (seen, looked) = (exists(path, Span::seconds(10), Some(root)).await, in_tree(path, &git, tree).await);
            // The file system says that what is outside is missing when it is; a tree cannot know.
            if looked.detail.contains("leads out") {
                assert_eq!(seen.outcome, Outcome::Fail, "{path}: {}", seen.detail);
            } else {
                assert_eq!(looked, seen, "{path}");
            }
        }
    }

    fn head(repo: &crate::git::Repo) -> Option<ObjectId> {
        match repo.head().ok()? {
            crate::git::repo::Head::Branch { commit, .. } => commit.to_string().parse().ok(),
            _ => None,
        }
    }

    #[tokio::test]
    async fn without_a_candidate_it_is_unknown() {
        assert_eq!(exists("a", Span::seconds(10), None).await.outcome, Outcome::Unknown);
        let gone = exists("a", Span::seconds(10), Some(Path::new("/nowhere/at/all"))).await;
        assert_eq!(gone.outcome, Outcome::Unknown);
    }
}
