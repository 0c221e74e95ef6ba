//! Finding credentials in text before it is pushed: pure.
//!
//! Well-known formats are found by their shape; other values only where they are assigned to something that
//! is called a secret and look random. A finding never carries its value.

use std::ops::Range;
use std::sync::LazyLock;

use regex::bytes::{Captures, Regex, RegexBuilder, RegexSet, RegexSetBuilder};

use crate::base::escape::shown;

/// What the pre-push hook says when it blocks a push for a secret; the watcher knows the case by it.
pub const BLOCKED_WORDS: &str = "it carries what looks like a secret";

/// A line with this marker may hold what looks like a secret.
pub const ALLOW_MARKER: &str = "cascade:allow-secret";

/// A NUL in this much of the start means that it is not text.
const BINARY_PROBE_BYTES: usize = 8_000;
const LINE_LIMIT_CHARS: usize = 10_000;
const MASK_SHOWN_CHARS: usize = 4;
/// Words and identifiers stay below this, random text of 16 characters and more is usually above it.
const RANDOM_BITS_PER_CHAR: f64 = 3.5;

/// Rules by name. The group `secret`, where there is one, is the value; otherwise it is the whole match.
/// The last rule is the only guess.
const RULES: [(&str, &str); 17] = [
    ("aws-access-key-id", r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b"),
    ("github-token", r"\bgh[pousr]_[A-Za-z0-9]{36,}"),
    ("github-fine-grained-token", r"\bgithub_pat_[A-Za-z0-9_]{22,}"),
    ("gitlab-token", r"\bglpat-[A-Za-z0-9_-]{20,}"),
    ("slack-token", r"\bxox[baprs]-[0-9]+-[A-Za-z0-9-]{16,}"),
    ("stripe-live-key", r"\b[sr]k_live_[A-Za-z0-9]{16,}"),
    ("google-api-key", r"\bAIza[A-Za-z0-9_-]{35}"),
    ("private-key", r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"),
    ("npm-token", r"\bnpm_[A-Za-z0-9]{36}"),
    ("pypi-token", r"\bpypi-AgE[A-Za-z0-9_-]{40,}"),
    ("sendgrid-key", r"\bSG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"),
    ("twilio-api-key", r"\bSK[0-9a-f]{32}\b"),
    ("json-web-token", r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
    ("azure-storage-key", r"\bAccountKey=(?<secret>[A-Za-z0-9+/]{86}==)"),
    ("anthropic-key", r"\bsk-ant-[A-Za-z0-9_-]{20,}"),
    ("openai-key", r"\bsk-(?:(?:proj|svcacct|admin)-[A-Za-z0-9_-]{20,}|[A-Za-z0-9]{20}T3BlbkFJ[A-Za-z0-9]{20})"),
    (
        GUESSED,
        r#"(?i)(?:password|secret|token|api[_-]?key)[a-z0-9_-]{0,16}["']?\s*(?:=>|:=|[:=])\s*["'](?<secret>[^"'\s]{16,})["']"#,
    ),
];

const GUESSED: &str = "assigned-secret";

/// Something in a text that looks like a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Name of the rule that found it, such as `github-token`.
    pub rule: &'static str,
    /// Line, from 1.
    pub line: usize,
    /// The first four characters and the length; never the value.
    pub masked: String,
}

struct Compiled {
    any: RegexSet,
    rules: Vec<(&'static str, Regex)>,
}

/// A pattern that does not compile would be left out; a test makes sure that all of them do.
static COMPILED: LazyLock<Compiled> = LazyLock::new(|| {
    let patterns = RULES.map(|(_, pattern)| pattern);
    let any = RegexSetBuilder::new(patterns).unicode(false).build().unwrap_or_default();
    let compile = |(name, pattern): (_, &str)| Some((name, RegexBuilder::new(pattern).unicode(false).build().ok()?));
    Compiled { any, rules: RULES.into_iter().filter_map(compile).collect() }
});

/// Finds what looks like credentials in `text`, in the order of lines.
///
/// Looks neither into binary content (a NUL among the first 8,000 bytes) nor at lines of more than 10,000
/// characters nor at lines that contain [`ALLOW_MARKER`]. What is split over several lines is not found.
#[must_use]
pub fn scan(text: &[u8]) -> Vec<Finding> {
    let probe = &text[..text.len().min(BINARY_PROBE_BYTES)];
    if probe.contains(&0) || !COMPILED.any.is_match(text) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
        if !is_skipped(line) {
            scan_line(line, number + 1, &mut findings);
        }
    }
    findings
}

fn is_skipped(line: &[u8]) -> bool {
    let marker = ALLOW_MARKER.as_bytes();
    // Counting characters is needed only where there are enough bytes.
    let too_long = line.len() > LINE_LIMIT_CHARS && String::from_utf8_lossy(line).chars().count() > LINE_LIMIT_CHARS;
    too_long || line.windows(marker.len()).any(|window| window == marker)
}

fn scan_line(line: &[u8], number: usize, findings: &mut Vec<Finding>) {
    let mut seen: Vec<Range<usize>> = Vec::new();
    for index in COMPILED.any.matches(line) {
        let Some((rule, regex)) = COMPILED.rules.get(index) else { continue };
        for captures in regex.captures_iter(line) {
            let Some(value) = value_of(&captures) else { continue };
            let known = seen.iter().any(|range| range.start < value.end && value.start < range.end);
            if known || !is_credible(rule, &line[value.clone()]) {
                continue;
            }
            findings.push(Finding { rule, line: number, masked: masked(&line[value.clone()]) });
            seen.push(value);
        }
    }
}

fn value_of(captures: &Captures<'_>) -> Option<Range<usize>> {
    captures.name("secret").or_else(|| captures.get(0)).map(|found| found.range())
}

/// Documented examples and references to a secret kept elsewhere are no secrets.
fn is_credible(rule: &str, value: &[u8]) -> bool {
    let has = |part: &[u8]| value.windows(part.len()).any(|window| window == part);
    let is_reference = rule == GUESSED && (has(b"${") || has(b"{{") || has(b"$("));
    !is_reference && !value.ends_with(b"EXAMPLE") && (rule != GUESSED || bits_per_char(value) > RANDOM_BITS_PER_CHAR)
}

/// Answers the Shannon entropy of the bytes.
fn bits_per_char(value: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    value.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
    let total = f64::from(u32::try_from(value.len()).unwrap_or(u32::MAX));
    let shares = counts.into_iter().filter(|count| *count > 0).map(|count| f64::from(count) / total);
    shares.map(|share| -share * share.log2()).sum()
}

fn masked(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let start: String = text.chars().take(MASK_SHOWN_CHARS).collect();
    format!("{}… ({} characters)", shown(start.as_bytes()), text.chars().count())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LETTERS: &str = "q7Rf2LxVb9KdTz4MnWc8HpYs3GjEa6UvQr5XwNk1";

    fn random(length: usize) -> String {
        LETTERS.chars().cycle().take(length).collect()
    }

    /// Real-looking tokens, put together here so that none stands in the source.
    fn tokens() -> Vec<(&'static str, String)> {
        let r = random;
        let upper: String = r(64).to_uppercase().chars().filter(|c| c.is_ascii_uppercase()).take(16).collect();
        let hex: String = "0f3a9c7b".repeat(4);
        vec![
            ("aws-access-key-id", ["AK", "IA", &upper].concat()),
            ("github-token", ["gh", "p_", &r(36)].concat()),
            ("github-token", ["gh", "o_", &r(36)].concat()),
            ("github-fine-grained-token", ["github", "_pat_", &r(60)].concat()),
            ("gitlab-token", ["gl", "pat-", &r(20)].concat()),
            ("slack-token", ["xo", "xb-", "123456789012-", &r(24)].concat()),
            ("stripe-live-key", ["sk", "_live_", &r(24)].concat()),
            ("google-api-key", ["AI", "za", &r(35)].concat()),
            ("private-key", ["-----BEGIN ", "OPENSSH ", "PRIVATE KEY", "-----"].concat()),
            ("private-key", ["-----BEGIN ", "PRIVATE KEY", "-----"].concat()),
            ("npm-token", ["np", "m_", &r(36)].concat()),
            ("pypi-token", ["py", "pi-", "AgEIcHlwaS5vcmc", &r(60)].concat()),
            ("sendgrid-key", ["S", "G.", &r(22), ".", &r(43)].concat()),
            ("twilio-api-key", ["S", "K", &hex].concat()),
            ("json-web-token", ["ey", "J", &r(20), ".ey", "J", &r(30), ".", &r(43)].concat()),
            ("anthropic-key", ["sk", "-ant-", "api03-", &r(60)].concat()),
            ("openai-key", ["sk", "-proj-", &r(48)].concat()),
            ("openai-key", ["sk", "-", &r(20), "T3Blbk", "FJ", &r(20)].concat()),
        ]
    }

    fn rules_in(text: &str) -> Vec<&'static str> {
        scan(text.as_bytes()).iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn every_rule_compiles() {
        assert_eq!(COMPILED.rules.len(), RULES.len());
        assert_eq!(COMPILED.any.len(), RULES.len());
    }

    #[test]
    fn well_known_tokens_are_found_and_never_shown() {
        for (rule, token) in tokens() {
            let findings = scan(format!("first\nkey: {token}, and more\n").as_bytes());
            let masked = format!("{}… ({} characters)", &token[..4], token.chars().count());
            assert_eq!(findings, [Finding { rule, line: 2, masked }]);
        }
    }

    #[test]
    fn every_rule_has_a_token() {
        let covered: Vec<_> = tokens().into_iter().map(|(rule, _)| rule).collect();
        let missing = RULES.iter().map(|(name, _)| *name).filter(|name| !covered.contains(name));
        assert_eq!(missing.collect::<Vec<_>>(), ["azure-storage-key", GUESSED], "both have a test of their own");
    }

    #[test]
    fn storage_key_is_masked_without_its_name() {
        let text = ["Account", "Key=", &random(86), "=="].concat();
        let findings = scan(text.as_bytes());
        assert_eq!((findings.len(), findings[0].rule), (1, "azure-storage-key"));
        assert_eq!(findings[0].masked, "q7Rf… (88 characters)");
    }

    #[test]
    fn assigned_values_are_found_only_when_random() {
        let value = random(24);
        for assignment in ["password = ", "\"token\": ", "api_key: ", "APIKEY=", "SECRET_KEY = ", "db_password => "] {
            assert_eq!(rules_in(&format!("{assignment}'{value}'")), [GUESSED], "{assignment}");
        }
        for harmless in
            ["password = 'aaaaaaaaaaaaaaaaaaaaaaaa'", "password = 'short'", "token: \"${SOME_TOKEN_FROM_VAULT_7}\""]
        {
            assert_eq!(rules_in(harmless), Vec::<&str>::new(), "{harmless}");
        }
        assert_eq!(rules_in(&format!("colour = '{value}'")), Vec::<&str>::new());
    }

    #[test]
    fn one_value_is_one_finding() {
        let (rule, token) = tokens().swap_remove(1);
        assert_eq!(rules_in(&format!("token = '{token}'")), [rule]);
        assert_eq!(rules_in(&format!("{token} {token}")), [rule, rule]);
    }

    #[test]
    fn documented_examples_are_no_secrets() {
        assert_eq!(rules_in(&["AK", "IAIOSFODNN7", "EXAMPLE"].concat()), Vec::<&str>::new());
    }

    #[test]
    fn allowed_binary_and_endless_lines_are_skipped() {
        let (rule, token) = tokens().swap_remove(1);
        assert_eq!(rules_in(&format!("{token} # {ALLOW_MARKER}\n{token}")), [rule]);
        assert_eq!(rules_in(&format!("\0 {token}")), Vec::<&str>::new());
        assert_eq!(rules_in(&format!("{} {token}", " ".repeat(LINE_LIMIT_CHARS))), Vec::<&str>::new());
        let late_nul = format!("{token}\n{}\0", "x\n".repeat(BINARY_PROBE_BYTES));
        assert_eq!(rules_in(&late_nul), [rule]);
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_scanned(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
            let lines = bytes.split(|byte| *byte == b'\n').count();
            prop_assert!(scan(&bytes).iter().all(|finding| (1..=lines).contains(&finding.line)));
        }

        #[test]
        fn tokens_are_found_wherever_they_stand(before in "[ -~\n]{0,200}", after in "[ -~\n]{0,200}", at in 0_usize..18) {
            let (rule, token) = tokens().swap_remove(at);
            let text = format!("{before}\n\"{token}\"\n{after}");
            let line = before.split('\n').count() + 1;
            let findings = scan(text.as_bytes());
            prop_assert!(findings.iter().any(|finding| finding.rule == rule && finding.line == line));
            let report = format!("{findings:?}");
            prop_assert!(!report.contains(&token));
        }
    }
}
