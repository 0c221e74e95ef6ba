//! Names that git accepts for branches.

/// Says what is wrong with `name` as the name of a branch, by the rules of `git check-ref-format --branch`.
///
/// Nothing for a good name.
#[must_use]
pub fn branch_problem(name: &str) -> Option<&'static str> {
    let whole = [
        (name.is_empty(), "a branch needs a name"),
        (name == "@" || name == "HEAD", "git keeps this name for itself"),
        (name.starts_with('-'), "a branch must not start with `-`"),
        (name.contains(".."), "a branch must not contain `..`"),
        (name.contains("@{"), "a branch must not contain `@{`"),
        (name.ends_with('.'), "a branch must not end with `.`"),
        (name.contains(is_forbidden), "a branch must not contain spaces, control characters or any of `~^:?*[\\`"),
        (name.split('/').any(str::is_empty), "a branch must not start or end with `/`, nor contain `//`"),
        (name.split('/').any(|part| part.starts_with('.')), "no part of a branch may start with `.`"),
        (name.split('/').any(|part| part.ends_with(".lock")), "no part of a branch may end with `.lock`"),
        (name.len() > MAX_BRANCH_BYTES, "a branch must not be longer than 200 bytes"),
    ];
    whole.into_iter().find_map(|(is_wrong, message)| is_wrong.then_some(message))
}

/// Longer names do not fit into file names with `.lock` and what else git appends.
const MAX_BRANCH_BYTES: usize = 200;

fn is_forbidden(c: char) -> bool {
    c.is_ascii_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_branches_are_good() {
        for name in ["main", "develop", "feature/login-2", "release_1.0", "überarbeitung", "a@b", "locks.lock2"] {
            assert_eq!(branch_problem(name), None, "{name}");
        }
    }

    #[test]
    fn what_git_refuses_is_refused() {
        let refused = [
            "", "@", "HEAD", "-x", "a..b", "a@{b", "a.", "a b", "a~", "a^", "a:b", "a?", "a*", "a[", "a\\b", "a\nb",
            "/a", "a/", "a//b", ".a", "a/.b", "a.lock", "a.lock/b", "a\u{7f}",
        ];
        for name in refused {
            assert!(branch_problem(name).is_some(), "{name:?}");
        }
    }
}
