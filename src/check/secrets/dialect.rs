//! Patterns as Go writes them: what is literal there and a sign here is escaped.

/// Answers the pattern in the dialect of the regex crate.
///
/// Two things differ where gitleaks uses them: a brace that begins no counted repetition stands for itself in Go, and
/// so do brackets, `&` and `~` within a class.
pub(super) fn in_our_dialect(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut class_start = None;
    let mut rest = pattern.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        match (c, class_start) {
            ('\\', _) => {
                out.push(c);
                // `\p{Greek}` and `\x{2d}` keep their braces.
                let escaped = rest.next().map(|(_, c)| c);
                out.extend(escaped);
                if matches!(escaped, Some('p' | 'P' | 'x')) {
                    out.extend(rest.next_if(|(_, next)| *next == '{').map(|(_, c)| c));
                }
                continue;
            }
            ('[', None) => {
                class_start = Some(out.len() + 1);
                out.push(c);
                if rest.next_if(|(_, next)| *next == '^').is_some() {
                    out.push('^');
                    class_start = Some(out.len());
                }
                continue;
            }
            ('[', Some(_)) if pattern[at..].starts_with("[:") => {}
            ('[' | '&' | '~', Some(_)) => out.push('\\'),
            // The first bracket of a class is a member of it.
            (']', Some(start)) if out.len() > start && !ends_named_class(&out, start) => class_start = None,
            (']', Some(start)) if out.len() == start => out.push('\\'),
            ('{', None) if !is_repetition(&pattern[at + 1..]) => out.push('\\'),
            _ => {}
        }
        out.push(c);
    }
    out
}

/// Answers whether the next bracket closes `[:alpha:]` and not the class around it.
fn ends_named_class(out: &str, start: usize) -> bool {
    out.ends_with(':') && out[start..].rfind("[:").is_some_and(|open| !out[start + open..].contains(']'))
}

/// Answers whether `3}`, `3,}` or `3,5}` follows.
fn is_repetition(after: &str) -> bool {
    let Some((counts, _)) = after.split_once('}') else { return false };
    let (least, most) = counts.split_once(',').unwrap_or((counts, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    !least.is_empty() && is_number(least) && is_number(most)
}

#[cfg(test)]
mod tests {
    use regex::bytes::RegexBuilder;

    use super::in_our_dialect;

    fn check(pattern: &str, expected: &str) {
        assert_eq!(in_our_dialect(pattern), expected);
        RegexBuilder::new(expected).unicode(false).build().unwrap();
    }

    #[test]
    fn what_both_mean_alike_stays() {
        for same in [r"\b[a-z]{2,5}x{3}y{4,}\]\[\{", r"[^\]x]+[\w.-]", r"[[:alpha:]_]+", r"(?i)a|b$", r"\x{2d}"] {
            check(same, same);
        }
    }

    #[test]
    fn braces_that_count_nothing_stand_for_themselves() {
        check(r"^\${(?:[A-Z]+)}$", r"^\$\{(?:[A-Z]+)}$");
        check(r"^{\d{0,2}}$", r"^\{\d{0,2}}$");
    }

    #[test]
    fn signs_within_a_class_are_its_members() {
        check("[a[&~]", r"[a\[\&\~]");
        check("[]a]", r"[\]a]");
        check("[^]a]", r"[^\]a]");
    }
}
