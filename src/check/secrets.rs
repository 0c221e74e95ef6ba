//! Looks for secrets in text (stand-in: two rules).

/// A secret that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule that matched.
    pub rule: &'static str,
    /// Its line, counted from 1.
    pub line: usize,
    /// The value with its middle hidden.
    pub masked: String,
}

/// Answers the secrets in `text`; lines with `cascade:allow-secret` are passed over.
#[must_use]
pub fn scan(text: &[u8]) -> Vec<Finding> {
    let lines = text.split(|byte| *byte == b'\n').enumerate();
    lines.filter_map(|(index, line)| finding(index + 1, &String::from_utf8_lossy(line))).collect()
}

fn finding(line: usize, text: &str) -> Option<Finding> {
    if text.contains("cascade:allow-secret") {
        return None;
    }
    if text.contains("-----BEGIN") && text.contains("PRIVATE KEY") {
        return Some(Finding { rule: "private-key", line, masked: "-----BEGIN …".to_owned() });
    }
    let (_, after) = text.split_once("AKIA")?;
    let key = after.get(..16)?;
    let fits = key.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    fits.then(|| Finding { rule: "aws-access-key", line, masked: format!("AKIA…{}", &key[12..]) })
}
