use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use super::*;

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

fn scan(text: &[u8]) -> Vec<Finding> {
    Scanner::default().scan("some/file", text)
}

fn rules_in(text: &str) -> Vec<String> {
    scan(text.as_bytes()).into_iter().map(|finding| finding.rule).collect()
}

fn private_key(kind: &str) -> String {
    let line = random(64);
    format!("-----BEGIN {kind}PRIVATE {}-----\n{line}\n{line}\n-----END {kind}PRIVATE {}-----\n", "KEY", "KEY")
}

fn allowing(entries: &[AllowedSecret]) -> Scanner {
    let secrets = Secrets { allow: entries.to_vec(), ..Secrets::default() };
    Scanner::new(Path::new("/nowhere"), &secrets).unwrap()
}

fn because() -> AllowedSecret {
    AllowedSecret { reason: "made up".to_owned(), ..AllowedSecret::default() }
}

#[test]
fn well_known_tokens_are_found_and_never_shown() {
    for (rule, token) in tokens() {
        let findings = scan(format!("first\nkey: {token}, and more\n").as_bytes());
        let masked = format!("{}…, {} characters", &token[..4], token.chars().count());
        assert_eq!(findings.len(), 1, "{rule}");
        assert_eq!((findings[0].rule.as_str(), findings[0].line, &findings[0].masked), (rule, 2, &masked));
        assert!(!format!("{findings:?}{}", findings[0]).contains(&token), "{rule}");
    }
}

/// Answers how many of 20 texts that a rule describes are found by a rule that `counts`.
fn found_of_twenty(pattern: &str, runner: &mut TestRunner, counts: &dyn Fn(&str) -> bool) -> usize {
    // What stands around a value is no part of it; endless repetitions would be long.
    let pattern = pattern.replace(r"\b", "").replace("(?:^|", "(?:").replace(r"|\z)", ")").replace("|$)", ")");
    let pattern = pattern.replace("(?i:", "(?:").replace("(?i)", "").replace("(?-i:", "(?:").replace(",}", ",300}");
    let pattern = pattern.replace(r"\s", " ").replace(r"\w", "a-z").replace(r"\d", "[0-9]");
    let Ok(samples) = proptest::string::string_regex(&pattern) else { return 0 };
    let found = |text: String| rules_in(&format!("x = {text} \n")).iter().any(|rule| counts(rule));
    (0..20).filter(|_| found(samples.new_tree(runner).unwrap().current())).count()
}

#[test]
fn every_rule_finds_what_it_describes() {
    let mut runner = TestRunner::deterministic();
    let set = RuleSet::built_in();
    let own = rules::own_ids();
    let (own, adopted): (Vec<_>, Vec<_>) = set.described().partition(|(id, _)| own.iter().any(|own| own == id));
    for (id, pattern) in own.into_iter().filter(|(id, _)| !["private-key", GUESSED].contains(id)) {
        let hits = found_of_twenty(pattern, &mut runner, &|rule| rule == id);
        assert!(hits >= 10, "{id}: {hits} of 20");
    }
    // Some of these overlap, some want a word elsewhere, and not every text that they describe can be made up here.
    let finds = |(_, pattern): &&(&str, &str)| found_of_twenty(pattern, &mut runner, &|_| true) >= 10;
    let (all, working) = (adopted.len(), adopted.iter().filter(finds).count());
    assert!(all > 300 && working * 20 >= all * 17, "{working} of {all}");
}

#[test]
fn private_keys_are_found_with_their_body_in_any_form() {
    for kind in ["", "RSA ", "OPENSSH "] {
        let key = private_key(kind);
        assert_eq!(rules_in(&key), ["private-key"]);
        assert_eq!(rules_in(&format!("{{\"k\": \"{}\"}}", key.replace('\n', "\\n"))), ["private-key"]);
    }
    let head =
        private_key("RSA ").replacen("-----\n", "-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0A\n\n", 1);
    let findings = scan(format!("one\n{head}").as_bytes());
    assert_eq!((findings[0].line, findings[0].last_line), (2, 8));
    let cut: String = private_key("").lines().take(2).collect::<Vec<_>>().join("\n");
    assert_eq!(rules_in(&cut), ["private-key"]);
    let mention = "if line.starts_with(\"-----BEGIN PRIVATE KEY-----\") {\n    return parse_the_key(line);\n}\n";
    assert_eq!(rules_in(mention), Vec::<String>::new());
}

#[test]
fn storage_key_is_masked_without_its_name() {
    let text = ["Account", "Key=", &random(86), "=="].concat();
    let findings = scan(text.as_bytes());
    assert_eq!((findings.len(), findings[0].rule.as_str()), (1, "azure-storage-key"));
    assert_eq!(findings[0].masked, "q7Rf…, 88 characters");
}

#[test]
fn assigned_values_are_found_only_when_random() {
    let value = random(24);
    for assignment in ["password = ", "\"token\": ", "api_key: ", "APIKEY=", "SECRET_KEY = ", "db_password => "] {
        assert_eq!(rules_in(&format!("{assignment}'{value}'")), [GUESSED], "{assignment}");
    }
    for harmless in [
        "password = 'aaaaaaaaaaaaaaaaaaaaaaaa'",
        "password = 'short'",
        "token: \"${SOME_TOKEN_FROM_VAULT_7}\"",
        "token_url: \"https://login.example.test/oauth2/v1\"",
        "secretName: \"my-application-credentials\"",
        "password_plugin = 'caching_sha2_password'",
    ] {
        assert_eq!(rules_in(harmless), Vec::<String>::new(), "{harmless}");
    }
    assert_eq!(rules_in(&format!("colour = '{value}'")), Vec::<String>::new());
    let lock = format!("token = '{value}'");
    assert!(Scanner::default().scan("web/yarn.lock", lock.as_bytes()).is_empty());
}

#[test]
fn one_value_is_one_finding() {
    let (rule, token) = tokens().swap_remove(1);
    assert_eq!(rules_in(&format!("token = '{token}'")), [rule]);
    assert_eq!(rules_in(&format!("{token} {token}")), [rule, rule]);
}

#[test]
fn documented_examples_and_placeholders_are_no_secrets() {
    assert_eq!(rules_in(&["AK", "IAIOSFODNN7", "EXAMPLE"].concat()), Vec::<String>::new());
    assert_eq!(rules_in(&["gh", "p_", &"x".repeat(36)].concat()), Vec::<String>::new());
}

#[test]
fn marked_and_binary_content_is_passed_over() {
    let (rule, token) = tokens().swap_remove(1);
    assert_eq!(rules_in(&format!("{token} # {ALLOW_MARKER}\n{token}")), [rule]);
    assert_eq!(rules_in(&format!("\0 {token}")), Vec::<String>::new());
    let late_nul = format!("{token}\n{}\0", "x\n".repeat(BINARY_PROBE_BYTES));
    assert_eq!(rules_in(&late_nul), [rule]);
}

#[test]
fn endless_lines_are_read_but_nothing_is_guessed_in_them() {
    let (rule, token) = tokens().swap_remove(1);
    let blanks = " ".repeat(GUESS_LINE_LIMIT_BYTES);
    assert_eq!(rules_in(&format!("{blanks} {token}")), [rule]);
    assert_eq!(rules_in(&format!("{blanks} password = '{}'", random(24))), Vec::<String>::new());
}

#[test]
fn allow_list_takes_what_fits_path_rule_and_fingerprint() {
    let (rule, token) = tokens().swap_remove(1);
    let fingerprint = scan(token.as_bytes())[0].fingerprint();
    let some = |text: &str| Some(text.to_owned());
    let fitting = [
        AllowedSecret { path: some("tests/"), ..because() },
        AllowedSecret { path: some("*.txt"), rule: some(rule), ..because() },
        AllowedSecret { fingerprint: some(&fingerprint[..8].to_uppercase()), ..because() },
    ];
    for entry in fitting {
        let found = allowing(std::slice::from_ref(&entry)).scan("tests/a.txt", token.as_bytes());
        assert_eq!(found[0].allowed.as_deref(), Some("made up"), "{entry:?}");
    }
    let others = [
        AllowedSecret { path: some("docs/"), ..because() },
        AllowedSecret { path: some("tests/"), rule: some("other"), ..because() },
        AllowedSecret { path: some("tests/"), fingerprint: some("00000000"), ..because() },
    ];
    assert_eq!(allowing(&others).scan("tests/a.txt", token.as_bytes())[0].allowed, None);
}

#[test]
fn only_lines_that_were_not_there_count() {
    let (_, token) = tokens().swap_remove(1);
    let scanner = Scanner::default();
    let (old, new) = (format!("one\n{token}\n"), format!("two\nthree\n{token}\n"));
    let added = |text: &str, committed: Option<&str>| {
        let committed = || committed.map(|text| text.as_bytes().to_vec());
        scanner.scan_added("f", text.as_bytes(), &committed).iter().map(|one| one.line).collect::<Vec<_>>()
    };
    assert_eq!(added(&new, Some(&old)), Vec::<usize>::new());
    assert_eq!(added(&new, None), [3]);
    assert_eq!(added(&format!("{new}again {token}\n"), Some(&old)), [4]);
    let key = private_key("");
    assert_eq!(added(&key, Some(&key.replace("q7Rf", "aaaa"))), [1]);
}

#[test]
fn committed_content_is_not_read_for_harmless_files() {
    let never = || -> Option<Vec<u8>> { panic!("read for nothing") };
    assert!(Scanner::default().scan_added("f", b"token = 1\n", &never).is_empty());
}

#[test]
fn rules_of_the_checkout_are_read_and_their_mistakes_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let secrets = Secrets { rules: vec!["r.toml".to_owned()], ..Secrets::default() };
    let missing = Scanner::new(dir.path(), &secrets).unwrap_err();
    assert!(missing.to_string().contains("r.toml") && missing.hint().is_some());
    std::fs::write(dir.path().join("r.toml"), "[[rules]]\nid = 'mine'\nregex = 'mine-[0-9]{4}'\n").unwrap();
    assert_eq!(Scanner::new(dir.path(), &secrets).unwrap().scan("f", b"mine-1234")[0].rule, "mine");
    std::fs::write(dir.path().join("r.toml"), "[[rules]]\nid = 'mine'\nregex = '['\n").unwrap();
    assert!(Scanner::new(dir.path(), &secrets).unwrap_err().to_string().contains("rule `mine`"));
}

#[test]
fn our_own_sources_are_clean() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut waiting = vec![root.join("src"), root.join("tests"), root.join("benches"), root.join("cascade-sync.yaml")];
    waiting.extend([root.join("README.md"), root.join("Cargo.lock")]);
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap();
            // Lists well-known examples, so that they are no findings elsewhere.
            if name == "src/check/secrets/betterleaks.toml" {
                continue;
            }
            assert_eq!(Scanner::default().scan(name, &std::fs::read(&path).unwrap()), [], "{name}");
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_can_be_scanned(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
        let lines = bytes.split(|byte| *byte == b'\n').count();
        prop_assert!(scan(&bytes).iter().all(|finding| (1..=lines).contains(&finding.line)));
    }

    #[test]
    fn tokens_are_found_wherever_they_stand(before in "[ -~\n]{0,200}", after in "[ -~\n]{0,200}", at in 0_usize..16) {
        let (rule, token) = tokens().swap_remove(at);
        let text = format!("{before}\n\"{token}\"\n{after}");
        let line = before.split('\n').count() + 1;
        let findings = scan(text.as_bytes());
        prop_assert!(findings.iter().any(|finding| finding.rule == rule && finding.line == line));
        let report = format!("{findings:?}");
        prop_assert!(!report.contains(&token));
    }
}
