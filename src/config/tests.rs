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
fn allowed_secrets_say_what_they_allow_and_why() {
    let text = r#"secrets:
  rules: [../x.toml]
  allow:
    - path: "docs/"
    - { rule: x, reason: " " }
    - reason: everything
    - { fingerprint: hunter2-in-full, reason: oops }
    - { fingerprint: 12345e678, reason: digits }
    - { path: "a/{b", reason: a pattern }
"#;
    insta::assert_snapshot!(after_head(text), @"
    cascade-sync.yaml:6:11: secrets.rules[0]: must be a relative path that stays inside (no `..`)
    cascade-sync.yaml:8:7: secrets.allow[0].reason: this key is required
    cascade-sync.yaml:9:26: secrets.allow[1].reason: say why it is no secret
    cascade-sync.yaml:10:7: secrets.allow[2]: allows everything: say which by `path`, `rule` or `fingerprint`
    cascade-sync.yaml:11:22: secrets.allow[3].fingerprint: must be 8 to 64 hexadecimal digits, as `cascade secrets` shows them; never the value
    cascade-sync.yaml:13:15: secrets.allow[5].path: not a .gitignore pattern: error parsing glob 'a/{b': unclosed alternate group; missing '}' (maybe escape '{' with '[{]'?)
    ");
}

#[test]
fn deliveries_and_what_makes_syncs_run_by_themselves_are_checked() {
    let text = r#"environments:
  production: { from: develop, branch: main, deliver: [site, sit, site, elsewhere] }
syncs:
  site: { from: { tree: main }, to: { directory: /a }, every: 0s, after: production }
  both: { from: { tree: main }, to: { directory: /b }, every: 5m, cron: "0 4 * * *", after: prod }
  elsewhere: { from: { tree: main }, to: { directory: /c }, cron: "0 4 * * * Nowhere/City", only_in: [staging, "A B"] }
  never: { from: { tree: main }, to: { directory: /d }, cron: "0 0 30 2 *", only_in: [] }
  rarely: { from: { tree: main }, to: { directory: /e }, every: 1000000d }
"#;
    insta::assert_snapshot!(after_head(text), @"
    cascade-sync.yaml:6:62: environments.production.deliver[1]: there is no sync `sit`; did you mean `site`? (allowed: site, both, elsewhere, never, rarely)
    cascade-sync.yaml:6:67: environments.production.deliver[2]: `site` is delivered already
    cascade-sync.yaml:6:73: environments.production.deliver[3]: `elsewhere` is not for this environment: its `only_in` does not name it
    cascade-sync.yaml:8:63: syncs.site.every: must be 1s at least
    cascade-sync.yaml:8:74: syncs.site.after: that environment delivers it already
    cascade-sync.yaml:9:67: syncs.both.cron: it runs by `every` already
    cascade-sync.yaml:9:93: syncs.both.after: there is no environment `prod`; did you mean `production`? (allowed: production)
    cascade-sync.yaml:10:67: syncs.elsewhere.cron: there is no time zone `Nowhere/City` on this machine
    cascade-sync.yaml:10:112: syncs.elsewhere.only_in[1]: an environment's name starts with a-z or 0-9 and goes on with those, `-` and `_`
    cascade-sync.yaml:11:63: syncs.never.cron: `0 0 30 2 *` never comes: there is no such day
    cascade-sync.yaml:11:86: syncs.never.only_in: names no environment: it could run nowhere; leave it out to run everywhere
    cascade-sync.yaml:12:65: syncs.rarely.every: must be 366d at most
    ");
}

#[test]
fn records_say_what_they_are_named_by_and_how_they_are_reached() {
    let text = r#"syncs:
  good: { from: { records: { table: a, id: sku } }, to: { records: { file: a.json } }, on_drift: flag-record }
  none: { from: { records: {} }, to: { records: { file: x, table: y } } }
  texts: { from: { records: { files: " ", id: "", max_record: 1GiB, schema: ../x, env: [A] } }, to: { records: { table: T } } }
  asked: { from: { records: { url: "ftp://x", headers: ["Authorization: abc", "x"] } }, to: { records: { url: "http://h", read: GET, update: "put /{id}", parallel: 65 } } }
  mixed: { from: { tree: main }, to: { records: { table: b, read: "GET /{id}" } }, on_drift: flag-field }
  same: { from: { records: { table: c } }, to: { records: { table: c } } }
  api: { from: { records: { command: x, items: data, next: /n, max_answer: 0B } }, to: { records: { url: "http://h", item: "/~", read: "GET /{id}/{sku}", body: { a: "${TOKEN}" } } } }
  body: { from: { records: { table: d, items: /x, max_answer: 1GiB } }, to: { records: { file: x, body: { a: "{record}" } } } }
  wrapped: { from: { records: { url: "http://h", items: /a, next: /b } }, to: { records: { url: "http://i", create: "PUT /{id}?of={sku}", items: /a, body: { all: ["{record}"] }, headers: ["K: {id}"] } } }
  empty: { from: { records: { table: e } }, to: { records: { url: "http://h", body: { a: 1 } } } }
"#;
    let told = after_head(text);
    for (line, problem) in [
        (7, "syncs.none.from.records: a source of records is one of `files`, `command`, `url`, `table`"),
        (7, "syncs.none.to.records.table: a target of records is one thing, and this one has `file` already"),
        (8, "syncs.texts.from.records.files: must be the path of a file"),
        (8, "syncs.texts.from.records.id: must be the name of a field"),
        (8, "syncs.texts.from.records.max_record: must be between 1B and 256MiB"),
        (8, "syncs.texts.from.records.schema: must be a relative path that stays inside (no `..`)"),
        (8, "syncs.texts.from.records.env: only has a meaning beside `command`"),
        (8, "syncs.texts.to.records.table: a table's name starts with a-z or 0-9"),
        (9, "syncs.asked.from.records.url: must be an address like https://host/path"),
        (9, "syncs.asked.from.records.headers[0]: must come from a variable"),
        (9, "syncs.asked.from.records.headers[1]: must be a header"),
        (9, "syncs.asked.to.records.read: must say where the id goes: `{id}`"),
        (9, "syncs.asked.to.records.update: begins with GET, POST, PUT, PATCH or DELETE"),
        (9, "syncs.asked.to.records.parallel: must be 64 at most"),
        (10, "syncs.mixed.to.records: records come from records"),
        (10, "syncs.mixed.on_drift: only records have fields"),
        (10, "syncs.mixed.to.records.read: only has a meaning beside `url`"),
        (11, "syncs.same.to.records: source and target overlap"),
        (12, "syncs.api.from.records.items: must be a JSON pointer"),
        (12, "syncs.api.from.records.max_answer: "),
        (13, "syncs.body.from.records.max_answer: only has a meaning beside `command` or `url`"),
        (12, "syncs.api.from.records.next: only has a meaning beside `url`"),
        (12, "syncs.api.to.records.item: `~` is written as `~0`"),
        (12, "syncs.api.to.records.read: knows nothing but the id"),
        (12, "syncs.api.to.records.body: takes no variables"),
        (13, "syncs.body.from.records.items: has no meaning beside `table`"),
        (13, "syncs.body.to.records.body: only has a meaning beside `url`"),
        (15, "syncs.empty.to.records.body: must say where the record goes"),
    ] {
        let is_told = |told: &str| told.contains(&format!("yaml:{line}:")) && told.contains(problem);
        assert!(told.lines().any(is_told), "{line} {problem}:\n{told}");
    }
    assert!(!told.contains("syncs.good") && !told.contains("syncs.wrapped") && !told.contains("abc"), "{told}");
}

#[test]
fn syncs_say_what_comes_from_where_and_overlap_nowhere() {
    let text = r#"environments: { production: { from: develop, branch: main } }
syncs:
  Site: { from: { tree: production }, to: { directory: /a } }
  resolve: { from: { tree: "a b" }, to: { directory: " " } }
  both: { from: { tree: main, directory: x }, to: { directory: "${MISSING}" } }
  none: { from: {}, to: { directory: /b/../c }, max_delete: 10, on_drift: never, exclude: ["a/{b"] }
  inner: { from: { directory: /s, path: x }, to: { directory: /s/t }, snapshots: { keep: 0s } }
  other: { from: { tree: main, path: ../x }, to: { directory: /c/d } }
  short: { from: { tree: main } }
  pail: { from: { tree: main, bucket: "s3://a" }, to: { bucket: "s3://site", store: { endpoint: "https://k:s@host", access_key: ABC, parallel: 0, part_size: 1MiB } } }
  spill: { from: { tree: main, store: {} }, to: { bucket: "fs:///c/d/e", store: { secret_key: "${MISSING}", anonymous: true, bandwidth: 0B } } }
  drain: { from: { bucket: "s3://one/a" }, to: { bucket: "s3://one/a/b", store: { region: "eu west", parallel: 999, timeout: 0s } } }
"#;
    insta::assert_snapshot!(after_head(text), @r"
    cascade-sync.yaml:7:3: syncs.Site: a sync's name starts with a-z or 0-9 and goes on with those, `-` and `_`
    cascade-sync.yaml:8:3: syncs.resolve: a sync cannot have this name: it is a word of `cascade sync`
    cascade-sync.yaml:8:28: syncs.resolve.from.tree: neither an environment nor a branch: a branch must not contain spaces, control characters or any of `~^:?*[\`
    cascade-sync.yaml:8:54: syncs.resolve.to.directory: must be the path of a directory
    cascade-sync.yaml:9:19: syncs.both.from.tree: a source is one thing, and this one is a `directory` already
    cascade-sync.yaml:9:64: syncs.both.to.directory: the variable `MISSING` is not set, in the environment or in .env
    cascade-sync.yaml:10:11: syncs.none.from: a source is one of `directory`, `tree`, `bucket` and `records`
    cascade-sync.yaml:10:61: syncs.none.max_delete: `10` is not a share: write it like 10% or 2.5%, 100% at most
    cascade-sync.yaml:10:75: syncs.none.on_drift: `never` is not one of the choices (allowed: flag, flag-record, flag-field, keep, overwrite)
    cascade-sync.yaml:10:92: syncs.none.exclude[0]: not a .gitignore pattern: error parsing glob 'a/{b': unclosed alternate group; missing '}' (maybe escape '{' with '[{]'?)
    cascade-sync.yaml:11:35: syncs.inner.from.path: only has a meaning beside `tree`
    cascade-sync.yaml:11:63: syncs.inner.to.directory: source and target overlap: neither may lie in the other
    cascade-sync.yaml:11:90: syncs.inner.snapshots.keep: must be longer than 0s
    cascade-sync.yaml:12:38: syncs.other.from.path: must be a relative path that stays inside (no `..`)
    cascade-sync.yaml:12:63: syncs.other.to.directory: overlaps with the target of sync `none`
    cascade-sync.yaml:13:3: syncs.short.to: this key is required
    cascade-sync.yaml:14:31: syncs.pail.from.bucket: a source is one thing, and this one is a `tree` already
    cascade-sync.yaml:14:39: syncs.pail.from.bucket: a bucket's name has 3 to 63 lower-case letters, digits, `.`, `-` and `_`
    cascade-sync.yaml:14:97: syncs.pail.to.store.endpoint: must be the address of a store, like https://host or http://host:9000
    cascade-sync.yaml:14:117: syncs.pail.to.store.access_key: needs a `secret_key` beside it
    cascade-sync.yaml:14:129: syncs.pail.to.store.access_key: must come from a variable, like `${VAR}`: this file is saved and pushed
    cascade-sync.yaml:14:144: syncs.pail.to.store.parallel: must be at least 1
    cascade-sync.yaml:14:158: syncs.pail.to.store.part_size: must be 5MiB to 1GiB
    cascade-sync.yaml:15:32: syncs.spill.from.store: only has a meaning beside `bucket`
    cascade-sync.yaml:15:59: syncs.spill.to.bucket: overlaps with the target of sync `none`
    cascade-sync.yaml:15:95: syncs.spill.to.store.secret_key: the variable `MISSING` is not set, in the environment or in .env
    cascade-sync.yaml:15:137: syncs.spill.to.store.bandwidth: must be more than 0B
    cascade-sync.yaml:16:58: syncs.drain.to.bucket: source and target overlap: neither may lie in the other
    cascade-sync.yaml:16:91: syncs.drain.to.store.region: a region is made of letters, digits and `-`
    cascade-sync.yaml:16:112: syncs.drain.to.store.parallel: must be 256 at most
    cascade-sync.yaml:16:126: syncs.drain.to.store.timeout: must be longer than 0s
    ");
}

#[test]
fn what_is_wrong_with_a_vault_is_told_where_it_stands() {
    let text = r#"
syncs:
  tree: { from: { tree: main, vault: { key_file: k } }, to: { directory: /a, vault: {} } }
  open: { from: { directory: /b }, to: { directory: /c, vault: { passphrase: "written out", key_file: k } } }
  near: { from: { directory: /d, vault: { key_file: /d/x/../key } }, to: { directory: /e, vault: { passphrase: "${MISSING}" } } }
"#;
    insta::assert_snapshot!(after_head(text), @r"
    cascade-sync.yaml:7:31: syncs.tree.from.vault: only has a meaning beside `directory` or `bucket`
    cascade-sync.yaml:7:78: syncs.tree.to.vault: a vault is opened by a `passphrase` or a `key_file`
    cascade-sync.yaml:8:78: syncs.open.to.vault.passphrase: must come from a variable, like `${VAR}`: this file is saved and pushed
    cascade-sync.yaml:8:93: syncs.open.to.vault.key_file: it is opened by a `passphrase` already
    cascade-sync.yaml:9:53: syncs.near.from.vault.key_file: must not lie in the vault that it opens
    cascade-sync.yaml:9:112: syncs.near.to.vault.passphrase: the variable `MISSING` is not set, in the environment or in .env
    ");
}

#[test]
fn secrets_are_known_without_the_variables_of_checks() {
    let dir = tempfile::tempdir().unwrap();
    let text = "version: 1\nproject: p\nsecrets:\n  allow: [{ rule: x, reason: y }]\nchecks: { a: { tcp: \"${MISSING}:1\" } }\n";
    std::fs::write(dir.path().join(FILE_NAME), text).unwrap();
    assert!(load(dir.path(), &Variables::default()).is_err());
    assert_eq!(load_secrets(dir.path()).unwrap().allow.len(), 1);
    std::fs::write(dir.path().join(FILE_NAME), text.replace(", reason: y", "")).unwrap();
    assert!(
        load_secrets(dir.path())
            .unwrap_err()
            .to_string()
            .contains(":4:11: secrets.allow[0].reason: this key is required")
    );
    std::fs::remove_file(dir.path().join(FILE_NAME)).unwrap();
    assert_eq!(load_secrets(dir.path()).unwrap(), Secrets::default());
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
    insta::assert_snapshot!(problems(text), @"
    cascade-sync.yaml:2:1: verion: unknown key; did you mean `version`? (allowed: version, project, sandbox, remote, remote_deadline, environments, checks, parallel_checks, groups, ledger, health, syncs, notify, secrets)
    cascade-sync.yaml:2:1: version: this key is required
    cascade-sync.yaml:3:10: project: expected text, found a list
    cascade-sync.yaml:5:11: sandbox.settle: `3 fortnights` is not a duration: write it like 500ms, 3s, 1m30s, 24h or 7d
    cascade-sync.yaml:6:17: sandbox.batch_window: `10` is not a duration: write it like 500ms, 3s, 1m30s, 24h or 7d
    cascade-sync.yaml:7:9: sandbox.push: expected true or false, found the text `maybe`
    cascade-sync.yaml:8:3: sandbox.brnch: unknown key; did you mean `branch`? (allowed: branch, settle, batch_window, exclude, max_file_size, push, pull, pull_every, secrets, durability, message)
    cascade-sync.yaml:13:5: environments.staging.promot: unknown key; did you mean `promote`? (allowed: from, branch, promote, auto, history, approval, soak, freeze, waive, checks, bisect, deliver, verify, watch_for, rollback)
    cascade-sync.yaml:14:14: environments.staging.promote: `automatic` is not one of the choices; did you mean `auto`? (allowed: manual, auto)
    cascade-sync.yaml:15:13: environments.staging.checks: expected a list, found the text `build`
    cascade-sync.yaml:16:3: environments.production.from: this key is required
    cascade-sync.yaml:16:3: environments.production.branch: this key is required
    cascade-sync.yaml:17:27: environments.production.approval.required: expected a whole number, 0 or more, found the text `1`
    cascade-sync.yaml:17:45: environments.production.approval.until: unknown key (allowed: required, expires, self, from, each)
    cascade-sync.yaml:18:15: environments.production.rollback: a list is not one of the choices (allowed: auto, reset, restore)
    cascade-sync.yaml:20:34: checks.build.timeout: `5x` is not a duration: write it like 500ms, 3s, 1m30s, 24h or 7d
    cascade-sync.yaml:20:38: checks.build.retries: unknown key (allowed: run, http, tcp, file, status, contains, timeout, every, successes, failures, deadline, flaky, env)
    cascade-sync.yaml:21:37: checks.site.status: expected a whole number up to 65535, found the number `70000`
    cascade-sync.yaml:21:55: checks.site.successes: expected a whole number, 0 or more, found the number `-1`
    cascade-sync.yaml:23:16: notify.on[1]: `Paused` is not one of the choices; did you mean `paused`? (allowed: promoted, awaiting_approval, failed, rolled_back, paused, save_failed, secret_found, conflict, health)
    cascade-sync.yaml:23:24: notify.on[2]: `7` is not one of the choices (allowed: promoted, awaiting_approval, failed, rolled_back, paused, save_failed, secret_found, conflict, health)
    cascade-sync.yaml:24:9: health: expected keys with values, found the number `3`
    ");
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
  message: { template: "{verb}", summarize: " ", deadline: 21s }
environments:
  staging:
    from: devlop
    branch: staging
    checks: [biuld, build]
    approval: { required: 0, expires: 0s }
    watch_for: 5m
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
    insta::assert_snapshot!(problems(text), @"
    cascade-sync.yaml:1:10: version: this program reads version 1 of the format
    cascade-sync.yaml:2:10: project: a project's name is made of letters, digits, `-`, `_` and `.`
    cascade-sync.yaml:3:9: remote: this is not the name of a git remote
    cascade-sync.yaml:5:11: sandbox.branch: a branch must not contain `..`
    cascade-sync.yaml:6:11: sandbox.settle: settle (20s) must not be longer than batch_window (10s)
    cascade-sync.yaml:7:22: sandbox.exclude[1]: not a .gitignore pattern: error parsing glob '{a,b': unclosed alternate group; missing '}' (maybe escape '{' with '[{]'?)
    cascade-sync.yaml:7:30: sandbox.exclude[2]: not a .gitignore pattern: error parsing glob '[z-a]': invalid range; 'z' > 'a'
    cascade-sync.yaml:8:24: sandbox.message.template: what `summarize` prints is `{subject}`, which is not in here
    cascade-sync.yaml:8:45: sandbox.message.summarize: the command is empty
    cascade-sync.yaml:8:60: sandbox.message.deadline: must be 20s at most: each save waits that long
    cascade-sync.yaml:11:11: environments.staging.from: `devlop` is neither the sandbox's branch nor an environment (allowed: a..b, production, Live)
    cascade-sync.yaml:13:14: environments.staging.checks[0]: there is no check `biuld`; did you mean `build`? (allowed: build, both, odd, ftp, out)
    cascade-sync.yaml:14:27: environments.staging.approval.required: must be at least 1
    cascade-sync.yaml:14:39: environments.staging.approval.expires: must be longer than 0s
    cascade-sync.yaml:15:16: environments.staging.watch_for: there is nothing to watch: `verify` names no check
    cascade-sync.yaml:17:11: environments.production.from: `stagin` is neither the sandbox's branch nor an environment; did you mean `staging`? (allowed: a..b, staging, Live)
    cascade-sync.yaml:18:13: environments.production.branch: `staging` is the branch of environment `staging`
    cascade-sync.yaml:19:14: environments.production.verify[0]: there is no check `nothing-like-it` (allowed: build, both, odd, ftp, out)
    cascade-sync.yaml:20:3: environments.Live: an environment's name starts with a-z or 0-9 and goes on with those, `-` and `_`
    cascade-sync.yaml:22:13: environments.Live.branch: `staging/live` cannot exist in git beside the branch of environment `staging`
    cascade-sync.yaml:24:3: checks.build: a check needs one of run, http, tcp and file
    cascade-sync.yaml:25:21: checks.both.http: a check asks one question, and this one has `run` already
    cascade-sync.yaml:26:15: checks.odd.tcp: must be host:port, like 127.0.0.1:5432 or [::1]:5432
    cascade-sync.yaml:26:21: checks.odd.status: only has a meaning beside `http`
    cascade-sync.yaml:26:34: checks.odd.contains: only has a meaning beside `http`
    cascade-sync.yaml:27:16: checks.ftp.http: the URL must begin with http:// or https:// and name a host
    cascade-sync.yaml:27:38: checks.ftp.successes: must be at least 1
    cascade-sync.yaml:27:51: checks.ftp.failures: must be at least 1
    cascade-sync.yaml:28:16: checks.out.file: must be a relative path that stays inside (no `..`)
    cascade-sync.yaml:28:31: checks.out.every: must be longer than 0s
    cascade-sync.yaml:29:20: health.checks[0]: there is no check `bild`; did you mean `build`? (allowed: build, both, odd, ftp, out)
    ");
}

#[test]
fn problems_of_shape_and_meaning_come_in_one_run() {
    let text = "environments:\n  qa: { from: nowhere, branch: qa, soak: long }\n  live: { from: qa, branch: qa }\n";
    insta::assert_snapshot!(after_head(text), @"
    cascade-sync.yaml:6:15: environments.qa.from: `nowhere` is neither the sandbox's branch nor an environment (allowed: develop, live)
    cascade-sync.yaml:6:42: environments.qa.soak: `long` is not a duration: write it like 500ms, 3s, 1m30s, 24h or 7d
    cascade-sync.yaml:7:29: environments.live.branch: `qa` is the branch of environment `qa`
    ");
}

#[test]
fn how_saves_are_queued_wants_somebody_who_promotes_them() {
    let text = "remote_deadline: 0s
environments:
  qa: { from: develop, branch: qa, auto: every, history: rebase }
  live: { from: qa, branch: live, promote: auto, auto: every, history: linear }
  other: { from: qa, branch: other, auto: latest }
";
    insta::assert_snapshot!(after_head(text), @"
    cascade-sync.yaml:5:18: remote_deadline: must be longer than 0s
    cascade-sync.yaml:7:42: environments.qa.auto: nothing is promoted by itself: it wants `promote: auto`
    cascade-sync.yaml:7:58: environments.qa.history: `rebase` is not one of the choices (allowed: merge, linear)
    ");
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
    insta::assert_snapshot!(after_head(text), @"
    cascade-sync.yaml:6:14: environments.a.from: the environments feed each other in a circle: a <- b <- c <- a
    cascade-sync.yaml:10:14: environments.e.from: the environments feed each other in a circle: e <- e
    ");
}

#[test]
fn refused_values_cause_no_further_problems() {
    let text = "environments:
  staging: { from: [develop], branch: staging, checks: [build] }
  production: { from: staging, branch: main }
checks:
  build: 7
";
    insta::assert_snapshot!(after_head(text), @"
    cascade-sync.yaml:6:20: environments.staging.from: expected text, found a list
    cascade-sync.yaml:9:10: checks.build: expected keys with values, found the number `7`
    ");
}

#[test]
fn an_empty_file_says_what_is_required() {
    insta::assert_snapshot!(problems(""), @"
    cascade-sync.yaml:1:1: version: this key is required
    cascade-sync.yaml:1:1: project: this key is required
    ");
    insta::assert_snapshot!(problems("project:\n"), @"
    cascade-sync.yaml:1:1: version: this key is required
    cascade-sync.yaml:1:1: project: a value is required
    ");
    insta::assert_snapshot!(problems("- a\n- b\n"), @"cascade-sync.yaml:1:1: expected keys with values, found a list");
    insta::assert_snapshot!(problems("just text"), @"cascade-sync.yaml:1:1: expected keys with values, found the text `just text`");
}

#[test]
fn hostile_text_is_shown_harmless_and_short() {
    let text = format!(
        "\"\\e[2J\": 1\n\"{}\": 2\nremote: \"\\u202e\\n\"\nsandbox: {{ settle: \"\\e[31m\" }}\n",
        "k".repeat(500)
    );
    insta::assert_snapshot!(after_head(&text), @r#"
    cascade-sync.yaml:5:1: \x1b[2J: unknown key (allowed: version, project, sandbox, remote, remote_deadline, environments, checks, parallel_checks, groups, ledger, health, syncs, notify, secrets)
    cascade-sync.yaml:6:1: kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk…: unknown key (allowed: version, project, sandbox, remote, remote_deadline, environments, checks, parallel_checks, groups, ledger, health, syncs, notify, secrets)
    cascade-sync.yaml:7:9: remote: this is not the name of a git remote
    cascade-sync.yaml:8:20: sandbox.settle: `\x1b[31m` is not a duration: write it like 500ms, 3s, 1m30s, 24h or 7d
    "#);
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
    insta::assert_snapshot!(shown, @"
    cascade-sync.yaml:6:14: checks.a.http: the variable `NOPE` is not set, in the environment or in .env
    cascade-sync.yaml:7:14: checks.b.http: the URL must begin with http:// or https:// and name a host
    cascade-sync.yaml:8:13: checks.c.tcp: `${` is not closed; write `$${` for the characters themselves
    ");
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
    insta::assert_snapshot!(load(root.path(), &variables()).unwrap_err(), @"cascade-sync.yaml:2:4: not UTF-8 text");
}

#[test]
fn a_directory_in_place_of_the_file_is_unreadable() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join(FILE_NAME)).unwrap();
    assert!(matches!(load(root.path(), &variables()), Err(Error::Unreadable { .. })));
}

#[test]
fn windows_line_ends_and_byte_order_marks_are_read() {
    let config = parse("\u{feff}---\r\nversion: 1\r\nproject: shop\r\n", FILE_NAME, &variables()).unwrap();
    assert_eq!(config.project, "shop");
}

#[test]
fn a_directory_named_dotenv_is_passed_over() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join(".env")).unwrap();
    std::fs::write(root.path().join(FILE_NAME), TEMPLATE).unwrap();
    assert!(load(root.path(), &variables()).is_ok());
}

#[test]
fn huge_files_are_refused_in_reasonable_time() {
    let environments: String = (0..20_000).map(|n| format!("  e{n}: {{ from: e{}, branch: b{n} }}\n", n + 1)).collect();
    assert!(environments.len() < yaml::MAX_FILE_BYTES);
    insta::assert_snapshot!(after_head(&format!("environments:\n{environments}")), @"cascade-sync.yaml:5:1: environments: there can be 100 at most");
}

#[test]
fn refused_sandbox_branch_does_not_disown_its_environments() {
    let text = "sandbox: { branch: [trunk] }\nenvironments:\n  staging: { from: trunk, branch: develop }\n";
    insta::assert_snapshot!(after_head(text), @"cascade-sync.yaml:5:20: sandbox.branch: expected text, found a list");
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
        let (before, after) = TEMPLATE.as_bytes().split_at(at);
        let bytes = [before, with.as_bytes(), after.get(length..).unwrap_or_default()].concat();
        let _ = parse(&String::from_utf8_lossy(&bytes), FILE_NAME, &variables());
    }
}

#[test]
fn a_template_with_an_unknown_placeholder_is_refused_with_the_nearest_name() {
    insta::assert_snapshot!(after_head("sandbox:\n  message:\n    template: |\n      {brnch}: {subject}\n"), @"cascade-sync.yaml:8:7: sandbox.message.template: `brnch` is not one of the choices; did you mean `branch`? (allowed: subject, verb, count, files, changes, added, modified, deleted, directory, totals, project, branch, date, time)");
    insta::assert_snapshot!(after_head("sandbox: { message: { template: \"{subject\", deadline: 0s } }\n"), @"
    cascade-sync.yaml:5:33: sandbox.message.template: `{` is not closed; write `{{` for the character itself
    cascade-sync.yaml:5:55: sandbox.message.deadline: must be longer than 0s
    ");
}

#[test]
fn every_problem_of_a_channel_is_listed_at_once() {
    let text = r#"notify:
  webhook:
    url: "ftp://x/${TOKEN}"
    secret: whsec_MfKQ9r8
    on: [failed, faild]
    timeout: 0s
  email:
    smtp: "smtps://ada:hunter2@mail.example.org"
    from: "cascade"
    to: ["ops@example.org", "${NOPE}", [x], "${TOKEN}"]
    tls: never
    timeout: 61s
"#;
    let shown = after_head(text);
    assert!(!shown.contains("hunter2") && !shown.contains("MfKQ"), "{shown}");
    insta::assert_snapshot!(shown, @"
    cascade-sync.yaml:7:10: notify.webhook.url: must be an address like https://hooks.example.org/cascade
    cascade-sync.yaml:8:13: notify.webhook.secret: must come from a variable, like `${VAR}`: this file is saved and pushed
    cascade-sync.yaml:9:18: notify.webhook.on[1]: `faild` is not one of the choices; did you mean `failed`? (allowed: promoted, awaiting_approval, failed, rolled_back, paused, save_failed, secret_found, conflict, health)
    cascade-sync.yaml:10:14: notify.webhook.timeout: must be longer than 0s
    cascade-sync.yaml:12:11: notify.email.smtp: the password must come from a variable, like `${VAR}`: this file is saved and pushed
    cascade-sync.yaml:13:11: notify.email.from: must be an e-mail address like ops@example.org or Ops <ops@example.org>
    cascade-sync.yaml:14:29: notify.email.to[1]: the variable `NOPE` is not set, in the environment or in .env
    cascade-sync.yaml:14:40: notify.email.to[2]: expected text, found a list
    cascade-sync.yaml:14:45: notify.email.to[3]: must be an e-mail address like ops@example.org or Ops <ops@example.org>
    cascade-sync.yaml:15:10: notify.email.tls: `never` is not one of the choices (allowed: required, off)
    cascade-sync.yaml:16:14: notify.email.timeout: must be 1m at most
    ");
}

#[test]
fn channels_say_what_they_need() {
    insta::assert_snapshot!(after_head("notify: { webhook: {}, email: { to: [] } }\n"), @"
    cascade-sync.yaml:5:11: notify.webhook.url: this key is required
    cascade-sync.yaml:5:24: notify.email.smtp: this key is required
    cascade-sync.yaml:5:24: notify.email.from: this key is required
    cascade-sync.yaml:5:37: notify.email.to: somebody must get the messages
    ");
    let mail = |more: &str| after_head(&format!("notify: {{ email: {{ from: a@x.org, {more} }} }}\n"));
    insta::assert_snapshot!(mail("smtp: \"smtp://mail.x.org\", tls: off, to: []"), @"
    cascade-sync.yaml:5:41: notify.email.smtp: may do without TLS only on this machine (localhost)
    cascade-sync.yaml:5:76: notify.email.to: somebody must get the messages
    ");
    insta::assert_snapshot!(mail("smtp: \"smtps://localhost\", tls: off, to: [b@x.org]"), @"cascade-sync.yaml:5:41: notify.email.smtp: smtps:// is TLS, which `tls: off` forbids");
    insta::assert_snapshot!(mail("smtp: \"\", to: [b@x.org]"), @"cascade-sync.yaml:5:41: notify.email.smtp: must be an address like smtps://user:${SMTP_PASSWORD}@mail.example.org:465, or smtp:// and port 587 for STARTTLS");
    let many = vec!["b@x.org"; 51].join(", ");
    insta::assert_snapshot!(mail(&format!("smtp: \"smtps://x.org\", to: [{many}]")), @"cascade-sync.yaml:5:62: notify.email.to: there can be 50 at most");
}

#[test]
fn variables_of_channels_are_expanded_whatever_characters_they_have_and_never_shown() {
    let variables = Variables::new([
        ("HOOK".to_owned(), "https://hooks.example.org/hunter2".to_owned()),
        ("KEY".to_owned(), concat!("whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").to_owned()),
        ("PASSWORD".to_owned(), "hunter2@:/#%41".to_owned()),
        ("TEAM".to_owned(), "Team <team@example.org>".to_owned()),
        ("SERVER".to_owned(), "smtp://ada:hunter2%40@mail.example.org".to_owned()),
    ]);
    let text = |smtp: &str| {
        format!(
            "version: 1\nproject: shop\nnotify:\n  webhook: {{ url: \"${{HOOK}}\", secret: \"${{KEY}}\", on: [failed] }}\n  \
             email: {{ smtp: \"{smtp}\", from: a@example.org, to: [\"${{TEAM}}\"] }}\n"
        )
    };
    let config = parse(&text("smtps://ada@example.org:${PASSWORD}@mail.example.org"), FILE_NAME, &variables).unwrap();
    let (webhook, email) = (config.notify.webhook.as_ref().unwrap(), config.notify.email.as_ref().unwrap());
    assert_eq!(webhook.target().unwrap().unwrap().path(), "/hunter2");
    assert_eq!(webhook.key().unwrap().unwrap().len(), 24);
    let login = email.server().unwrap().unwrap().login.unwrap();
    assert_eq!((login.user.as_str(), login.password.as_str()), ("ada@example.org", "hunter2@:/#%41"));
    assert_eq!(email.recipients().unwrap()[0].address.to_string(), "team@example.org");
    let shown = format!("{config:?}{}", to_yaml(&config));
    assert!(!shown.contains("hunter2") && !shown.contains("MfKQ") && !shown.contains("team@"), "{shown}");
    assert_eq!(parse(&to_yaml(&config), FILE_NAME, &variables).as_ref(), Ok(&config));
    let whole = parse(&text("${SERVER}"), FILE_NAME, &variables).unwrap();
    let server = whole.notify.email.unwrap().server().unwrap().unwrap();
    assert_eq!((server.port, server.login.unwrap().password.as_str()), (587, "hunter2@"));
}

#[test]
fn addresses_that_are_written_out_are_not_repeated_by_debug() {
    let text = "version: 1\nproject: shop\nnotify: { webhook: { url: \"https://hooks.example.org/T0/B1/token\" } }\n";
    let config = parse(text, FILE_NAME, &variables()).unwrap();
    assert!(!format!("{config:?}").contains("token"));
}

#[test]
fn variables_that_are_empty_switch_a_channel_off() {
    let text = "version: 1\nproject: shop\nnotify:\n  webhook: { url: \"${HOOK:-}\" }\n  email: { smtp: \"${SMTP:-}\", from: a@x.org, \
        to: [b@x.org] }\n";
    let notify = parse(text, FILE_NAME, &variables()).unwrap().notify;
    assert_eq!(notify.webhook.unwrap().target(), Ok(None));
    assert_eq!(notify.email.unwrap().server(), Ok(None));
}

#[test]
fn separators_of_lines_inside_of_values_survive_being_shown() {
    let text = "version: 1\nproject: p\nsandbox: { exclude: [\"*.pid\\u2028    \", \"a\\u0085 b\", \"c\\u2029\"] }\n";
    let config = parse(text, "test", &Variables::default()).unwrap();
    assert_eq!(config.sandbox.exclude[0], "*.pid\u{2028}    ");
    let shown = to_yaml(&config);
    assert_eq!(parse(&shown, "test", &Variables::default()).unwrap(), config, "{shown}");
}

#[test]
fn what_checks_may_see_and_how_many_run_is_well_formed() {
    let text = "parallel_checks: 0
checks:
  a: { run: x, env: [PATH, \"A B\"] }
  b: { tcp: \"x:1\", env: [PATH] }
secrets: { variables: [\"*_TOKEN\", \"1*\", \"A-B\"] }
";
    insta::assert_snapshot!(after_head(text), @"
    cascade-sync.yaml:5:18: parallel_checks: must be at least 1
    cascade-sync.yaml:7:28: checks.a.env[1]: a variable's name is made of letters, digits and `_`
    cascade-sync.yaml:8:20: checks.b.env: only has a meaning beside `run`
    cascade-sync.yaml:9:35: secrets.variables[1]: a variable's name is made of letters, digits and `_`; `*` stands for any
    cascade-sync.yaml:9:41: secrets.variables[2]: a variable's name is made of letters, digits and `_`; `*` stands for any
    ");
}

#[test]
fn a_freeze_window_that_is_none_is_told_with_all_the_forms_that_are() {
    let window = "every second friday, unless it is the thirteenth, or the moon is full";
    let text = format!("environments:\n  a: {{ from: develop, branch: x, freeze: [\"{window}\"] }}\n");
    let told = after_head(&text);
    assert!(told.contains("is no freeze window: write it like `Fri 16:00 - Mon 08:00`, `22:00 - 06:00` or"), "{told}");
    assert!(told.ends_with("where it is not this machine's"), "{told}");
}

#[test]
fn a_variable_that_only_a_channel_of_alerts_lacks_turns_that_off_and_nothing_else() {
    let email = "email: { smtp: \"smtps://x.org\", from: a@x.org, to: [b@x.org] }";
    let text = format!("version: 1\nproject: p\nnotify:\n  webhook: {{ url: \"https://${{NOPE}}/x\" }}\n  {email}\n");
    let config = parse(&text, FILE_NAME, &variables()).unwrap();
    assert!(config.notify.webhook.is_none() && config.notify.email.is_some());
    let lacking = config.notify.lacking.unwrap().to_string();
    let words = "4:19: notify.webhook.url: the variable `NOPE` is not set, in the environment or in .env";
    assert_eq!(lacking, format!("{FILE_NAME}:{words}"));
    for lacking in [
        "smtp: \"smtps://${NOPE}@x.org\", from: a@x.org, to: [b@x.org]",
        "smtp: \"smtps://x.org\", from: \"${NOPE}\", to: [b@x.org]",
        "smtp: \"smtps://x.org\", from: a@x.org, to: [b@x.org, \"${NOPE}\"]",
    ] {
        let text = format!("version: 1\nproject: p\nnotify: {{ email: {{ {lacking} }} }}\n");
        let config = parse(&text, FILE_NAME, &variables()).unwrap();
        assert!(config.notify.email.is_none() && config.notify.lacking.is_some(), "{lacking}");
    }
}
