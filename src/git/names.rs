//! Names that git refuses, on every platform that may ever check the repository out.

/// Most nested directories of a saved path.
const MAX_DEPTH: usize = 100;

/// Most bytes of a path that the system takes at once, as git gives it paths.
const MAX_PATH_BYTES: usize = 4095;

/// Answers why `path` can never be part of a commit; none when it can.
pub(super) fn refused(path: &[u8]) -> Option<&'static str> {
    if path.contains(&0) {
        return Some("its name contains a NUL byte");
    }
    if path.len() > MAX_PATH_BYTES {
        return Some("its name is too long: a path may have 4,095 bytes");
    }
    if path.iter().filter(|byte| **byte == b'/').count() >= MAX_DEPTH {
        return Some("it lies more than 100 directories deep");
    }
    path.split(|byte| *byte == b'/').find_map(refused_component)
}

fn refused_component(name: &[u8]) -> Option<&'static str> {
    match name {
        b"" | b"." | b".." => Some("its path is not a plain path inside the checkout"),
        _ if is_like(name, &[b".git", b"git~1"]) => Some("git refuses names that some systems take for `.git`"),
        _ => None,
    }
}

/// Answers whether a symlink of this name would be taken for `.gitmodules`, which git refuses.
pub(super) fn is_gitmodules(name: &[u8]) -> bool {
    let lower = name.to_ascii_lowercase();
    let short = |prefix: &[u8]| lower.strip_prefix(prefix).is_some_and(|rest| rest.first() == Some(&b'~'));
    is_like(name, &[b".gitmodules"]) || short(b"gitmod") || short(b"gi7eba")
}

/// Answers whether HFS+ or NTFS would take `name`, or what follows a backslash in it, for one of `words`.
fn is_like(name: &[u8], words: &[&[u8]]) -> bool {
    let visible = without_ignored(name);
    name.split(|byte| *byte == b'\\').any(|part| words.iter().any(|word| ntfs_equal(part, word)))
        || words.iter().any(|word| visible.eq_ignore_ascii_case(word))
}

/// NTFS ignores case, dots and spaces at the end, and what follows a colon.
fn ntfs_equal(name: &[u8], word: &[u8]) -> bool {
    let Some((start, rest)) = name.split_at_checked(word.len()) else { return false };
    let end = rest.iter().position(|byte| *byte == b':').unwrap_or(rest.len());
    start.eq_ignore_ascii_case(word) && rest[..end].iter().all(|byte| matches!(byte, b'.' | b' '))
}

/// HFS+ ignores these characters in names.
fn without_ignored(name: &[u8]) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(name) else { return name.to_vec() };
    let ignored = |c: &char| matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}');
    text.chars().filter(|c| !ignored(c)).collect::<String>().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disguises_of_dot_git_are_refused() {
        let disguises =
            [".git", ".GIT", "a/.git/x", "git~1", "GIT~1", ".git.", ".git ", ".git::$DATA", ".g\u{200c}it", "a\\.git"];
        for name in disguises {
            assert!(refused(name.as_bytes()).is_some(), "{name}");
        }
        for name in ["..", "a/../b", "/abs", "a//b", "a/", "", "a/./b", "a\0b"] {
            assert!(refused(name.as_bytes()).is_some(), "{name}");
        }
        assert!(refused("d/".repeat(100).as_bytes()).is_some());
    }

    #[test]
    fn ordinary_names_pass() {
        for name in [".gitignore", ".github/x", "git", "git~2", "a.git", "-n", "a\nb", ".gitmodules", "..."] {
            assert_eq!(refused(name.as_bytes()), None, "{name}");
        }
        assert!(is_gitmodules(b".GITMODULES ") && is_gitmodules(b"gitmod~1") && !is_gitmodules(b"gitmodules"));
    }
}
