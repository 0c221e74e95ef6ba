use proptest::prelude::*;

use super::*;

fn variables() -> Variables {
    Variables::new([("TOKEN".to_owned(), "hunter2".to_owned())])
}

fn problems(text: &str) -> String {
    match parse(text, FILE_NAME, &variables()) {
        Ok(config) => panic!("unexpectedly good: {config:?}"),
        Err(problems) => problems.to_string(),
    }
}

/// A good beginning, four lines long.
fn after_head(text: &str) -> String {
    problems(&format!("version: 1\nproject: shop\n\n\n{text}"))
}

#[test]
fn every_problem_of_shape_is_listed_at_once() {
    let text = r#"
verion: 1
project: [shop]
sandbox:
  settle: 3 fortnights
  batch_window: 10
  push: maybe
  brnch: develop
environments:
  staging:
    from: develop
    branch: staging
    promot: auto
    promote: automatic
    checks: build
  production:
    approval: { required: "1", self: false, until: 3 }
    rollback: [reset]
checks:
  build: { run: "make", timeout: 5x, retries: 3 }
  site: { http: "http://x", status: 70000, successes: -1 }
notify:
  on: [failed, Paused, 7]
health: 3
"#;
    insta::assert_snapshot!(problems(text), @"");
}

#[test]
fn every_problem_of_meaning_is_listed_at_once() {
    let text = r#"version: 2
project: "my shop"
remote: --upload-pack=x
sandbox:
  branch: "a..b"
  settle: 20s
  exclude: ["*.tmp", "{a,b", "[z-a]"]
environments:
  staging:
    from: devlop
    branch: staging
    checks: [biuld, build]
    approval: { required: 0, expires: 0s }
  production:
    from: stagin
    branch: staging
    verify: [nothing-like-it]
  Live:
    from: production
    branch: staging/live
checks:
  build: {}
  both: { run: "x", http: "http://x" }
  odd: { tcp: "db", status: 200, contains: "x" }
  ftp: { http: "ftp://x", successes: 0, failures: 0 }
  out: { file: "../x", every: 0s }
health: { checks: [bild] }
"#;
    insta::assert_snapshot!(problems(text), @"");
}

#[test]
fn problems_of_shape_and_meaning_come_in_one_run() {
    let text = "environments:\n  qa: { from: nowhere, branch: qa, soak: long }\n  live: { from: qa, branch: qa }\n";
    insta::assert_snapshot!(after_head(text), @"");
}

#[test]
fn circles_are_shown_whole_and_once() {
    let text = "environments:
  a: { from: b, branch: a }
  b: { from: c, branch: b }
  c: { from: a, branch: c }
  d: { from: a, branch: d }
  e: { from: e, branch: e }
";
    insta::assert_snapshot!(after_head(text), @"");
}

#[test]
fn refused_values_cause_no_further_problems() {
    let text = "environments:
  staging: { from: [develop], branch: staging, checks: [build] }
  production: { from: staging, branch: main }
checks:
  build: 7
";
    insta::assert_snapshot!(after_head(text), @"");
}

#[test]
fn an_empty_file_says_what_is_required() {
    insta::assert_snapshot!(problems(""), @"");
    insta::assert_snapshot!(problems("project:\n"), @"");
    insta::assert_snapshot!(problems("- a\n- b\n"), @"");
    insta::assert_snapshot!(problems("just text"), @"");
}

#[test]
fn hostile_text_is_shown_harmless_and_short() {
    let text = format!(
        "\"\\e[2J\": 1\n\"{}\": 2\nremote: \"\\u202e\\n\"\nsandbox: {{ settle: \"\\e[31m\" }}\n",
        "k".repeat(5_000)
    );
    insta::assert_snapshot!(after_head(&text), @"");
}

#[test]
fn variables_are_expanded_and_never_shown() {
    let text = "version: 1
project: shop
checks:
  site: { http: \"https://x/?t=${TOKEN}\", contains: \"$${TOKEN}\" }
  port: { tcp: \"db:${PORT:-5432}\" }
";
    let config = parse(text, FILE_NAME, &variables()).unwrap();
    assert_eq!(config.checks["site"].http.as_ref().map(Expanded::value), Some("https://x/?t=hunter2"));
    assert_eq!(config.checks["site"].contains.as_ref().map(Expanded::value), Some("${TOKEN}"));
    assert_eq!(config.checks["port"].tcp.as_ref().map(Expanded::value), Some("db:5432"));
    assert!(!format!("{config:?}").contains("hunter2"));
    assert!(to_yaml(&config).contains("t=${TOKEN}"));
    assert_eq!(parse(&to_yaml(&config), FILE_NAME, &variables()), Ok(config));
}

#[test]
fn variables_that_are_not_set_are_problems_without_values() {
    let text = "checks:
  a: { http: \"https://x/${NOPE}${TOKEN}\" }
  b: { http: \"${TOKEN}\" }
  c: { tcp: \"${TOKEN\" }
";
    let shown = after_head(text);
    assert!(!shown.contains("hunter2"));
    insta::assert_snapshot!(shown, @"");
}

#[test]
fn what_is_left_out_has_its_default() {
    let config = parse("version: 1\nproject: 007\nsandbox:\nchecks:\n", FILE_NAME, &variables()).unwrap();
    assert_eq!(config.project, "007");
    assert_eq!(config.sandbox, Sandbox::default());
    assert_eq!(config.remote, "origin");
    assert!(config.environments.is_empty());
}

#[test]
fn number_of_problems_is_limited() {
    let keys: String = (0..5_000).map(|n| format!("k{n}: 1\n")).collect();
    assert_eq!(parse(&keys, FILE_NAME, &variables()).unwrap_err().list().len(), MAX_PROBLEMS);
    let values: String = (0..5_000).map(|n| format!("  k{n}: 1\n")).collect();
    assert_eq!(parse(&format!("checks:\n{values}"), FILE_NAME, &variables()).unwrap_err().list().len(), MAX_PROBLEMS);
}

#[test]
fn files_are_read_from_the_checkout_with_its_dotenv() {
    let root = tempfile::tempdir().unwrap();
    let missing = load(root.path(), &variables()).unwrap_err();
    assert!(matches!(missing, Error::Missing { .. }));
    let text = "version: 1\nproject: shop\nchecks:\n  a: { tcp: \"${HOST}:1\" }\n";
    std::fs::write(root.path().join(FILE_NAME), text).unwrap();
    assert!(matches!(load(root.path(), &variables()), Err(Error::Invalid(_))));
    std::fs::write(root.path().join(".env"), "HOST=db\n").unwrap();
    let config = load(root.path(), &variables()).unwrap();
    assert_eq!(config.checks["a"].tcp.as_ref().map(Expanded::value), Some("db:1"));
    std::fs::write(root.path().join(FILE_NAME), b"version: 1\n# \xc3\xa4\xff\n").unwrap();
    insta::assert_snapshot!(load(root.path(), &variables()).unwrap_err(), @"");
}

#[test]
fn a_directory_in_place_of_the_file_is_unreadable() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join(FILE_NAME)).unwrap();
    assert!(matches!(load(root.path(), &variables()), Err(Error::Unreadable { .. })));
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in ".*") {
        let _ = parse(&text, FILE_NAME, &variables());
    }

    #[test]
    fn arbitrary_yaml_never_panics(text in "([ \n\t{}\\[\\],:&*!|>'\"%@#?~<-]|a|b|1|version|checks|: |- |\n  ){0,60}") {
        let _ = parse(&text, FILE_NAME, &variables());
    }

    #[test]
    fn damaged_templates_never_panic(at in 0..TEMPLATE.len(), length in 0_usize..40, with in "[ \n:{}\\[\\]a\"-]{0,3}") {
        let bytes = [&TEMPLATE.as_bytes()[..at], with.as_bytes(), TEMPLATE.as_bytes().get(at + length..).unwrap_or_default()];
        let _ = parse(&String::from_utf8_lossy(&bytes.concat()), FILE_NAME, &variables());
    }
}
