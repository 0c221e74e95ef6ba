//! Making hostile names safe to show.

use std::fmt::Write as _;

/// Renders bytes for people: printable text stays, everything that could move a cursor, hide or
/// reorder text, or is not UTF-8, becomes a visible escape (`\n`, `\x1b`, `\u{202e}`).
///
/// The result has no control characters; it is not meant to be parsed back.
#[must_use]
pub fn shown(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|c| push_shown(&mut text, c));
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// Renders text for people like [`shown`], but keeps line breaks and tabs: for the output of programs.
#[must_use]
pub fn shown_lines(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' | '\t' => text.push(c),
                _ => push_shown(&mut text, c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// Quotes text or a name as one word of a shell command, so that a command that is told can be copied.
///
/// What [`shown`] would escape is printed by the shell itself (`"$(printf 'a\nb')"`), so that the word is the very name in
/// whatever shell: not all know `$'a\nb'`, which is left for what ends with a line break.
#[must_use]
pub fn shell_word(word: impl AsRef<[u8]>) -> String {
    let bytes = word.as_ref();
    let Some(text) = std::str::from_utf8(bytes).ok().filter(|text| text.chars().all(is_printed)) else {
        return quoted_by_code(bytes);
    };
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,:@%".contains(c);
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Quotes a relative path like [`shell_word`], so that no program takes it for an option.
#[must_use]
pub fn shell_path(path: impl AsRef<[u8]>) -> String {
    match path.as_ref() {
        path if path.starts_with(b"-") => shell_word([b"./", path].concat()),
        path => shell_word(path),
    }
}

fn quoted_by_code(bytes: &[u8]) -> String {
    // The shell takes line breaks at the end of what is printed away.
    if bytes.ends_with(b"\n") {
        return format!("$'{}'", coded(bytes));
    }
    // A dash would begin an option, and a percent sign says what is to be printed.
    let text = match bytes.strip_prefix(b"-") {
        Some(rest) => format!("\\055{}", coded(rest)),
        None => coded(bytes),
    };
    format!("\"$(printf '{}')\"", text.replace('%', "%%"))
}

/// Writes bytes with codes that `printf` and `$'…'` understand alike.
fn coded(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                '\'' => push_codes(&mut text, b"'"),
                '\\' => text.push_str("\\\\"),
                c if is_printed(c) => text.push(c),
                c => push_codes(&mut text, c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        push_codes(&mut text, chunk.invalid());
    }
    text
}

fn push_codes(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Three octal digits end by themselves. Writing to a String cannot fail.
        let _ = write!(text, "\\{byte:03o}");
    }
}

fn is_printed(c: char) -> bool {
    !c.is_control() && !is_invisible(c)
}

fn push_shown(text: &mut String, c: char) {
    match c {
        '\n' => text.push_str("\\n"),
        '\r' => text.push_str("\\r"),
        '\t' => text.push_str("\\t"),
        c if c.is_ascii_control() => {
            let _ = write!(text, "\\x{:02x}", u32::from(c));
        }
        c if c.is_control() || is_invisible(c) => {
            let _ = write!(text, "\\u{{{:x}}}", u32::from(c));
        }
        c => text.push(c),
    }
}

/// Zero-width and direction-changing characters: they make one name look like another.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: &str) {
        assert_eq!(shown(bytes), expected);
    }

    #[test]
    fn plain_names_stay_as_they_are() {
        check("straße/naïve file.txt".as_bytes(), "straße/naïve file.txt");
    }

    #[test]
    fn hostile_names_become_visible() {
        check(b"a\nb\x1b[31m", "a\\nb\\x1b[31m");
        check(b"\xff\xfe", "\\xff\\xfe");
        check("gnp\u{202e}exe".as_bytes(), "gnp\\u{202e}exe");
        check("a\u{9b}b".as_bytes(), "a\\u{9b}b");
    }

    #[test]
    fn words_of_a_command_are_quoted_where_needed() {
        let words = ["/a/b.lock", "a b", "it's", "-rf", "$HOME"].map(shell_word);
        assert_eq!(words, ["/a/b.lock", "'a b'", r"'it'\''s'", "'-rf'", "'$HOME'"]);
        assert_eq!(["-a b", "-a", "a"].map(shell_path), ["'./-a b'", "./-a", "a"]);
    }

    #[test]
    fn a_shell_reads_a_quoted_word_as_the_very_name() {
        let names: [&[u8]; 11] = [
            b"a\nb:1",
            b"-a\n-b 100%s",
            b"it's\n`x` $y \"z\" \\055",
            b"\x1b[31m7",
            b"\xff\xfe9",
            b"it's\t\\n",
            "gnp\u{202e}exe \u{9b}".as_bytes(),
            b"$(x)",
            b"-dash",
            b"",
            b"at the end\n",
        ];
        for (shell, name) in ["sh", "bash"].into_iter().flat_map(|shell| names.map(|name| (shell, name))) {
            if shell == "sh" && name.ends_with(b"\n") {
                continue;
            }
            let word = shell_word(name);
            assert_eq!(shown(word.as_bytes()), word);
            let script = format!("printf %s {word}");
            let said = std::process::Command::new(shell).args(["-c", &script]).output().unwrap();
            assert_eq!(said.stdout, name, "{shell}: {word}");
        }
    }

    #[test]
    fn program_output_keeps_its_lines() {
        assert_eq!(shown_lines(b"one\n\ttwo\x07"), "one\n\ttwo\\x07");
    }
}
