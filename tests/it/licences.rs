//! Dependencies come from the registry and may be used under this project's licences (`deny.toml` says the same).

use serde_json::Value;

const ALLOWED: [&str; 13] = [
    "BSL-1.0",
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "CC0-1.0",
    "Unlicense",
    "Unicode-3.0",
    "Zlib",
    "CDLA-Permissive-2.0",
];

/// Crates that bring what cascade does without.
const REFUSED: [&str; 3] = ["openssl-sys", "libssh2-sys", "aws-lc-sys"];

/// Answers whether an SPDX expression can be met with allowed licences; `/` is an old way to write OR.
fn is_allowed(expression: &str) -> bool {
    let plain = expression.replace(['(', ')'], "").replace('/', " OR ");
    let alternative_fits = |alternative: &str| alternative.split(" AND ").all(|name| ALLOWED.contains(&name.trim()));
    // `A AND B OR C` is read in SPDX's order; `(A OR B) AND C` needs C in every reading, so each part is tried.
    plain.split(" OR ").any(alternative_fits)
        || plain.split(" AND ").all(|part| part.split(" OR ").any(|name| ALLOWED.contains(&name.trim())))
}

fn packages() -> Vec<Value> {
    let mut command = std::process::Command::new(env!("CARGO"));
    command.args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform"]);
    command.arg("x86_64-unknown-linux-gnu").current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

#[test]
fn every_dependency_has_an_allowed_licence_and_comes_from_the_registry() {
    for package in packages() {
        let name = package["name"].as_str().unwrap();
        let licence = package["license"].as_str().unwrap_or("none");
        assert!(is_allowed(licence), "{name} is under {licence}");
        assert!(!REFUSED.contains(&name), "{name} is refused");
        let source = package["source"].as_str();
        assert!(source.is_none_or(|source| source.starts_with("registry+")), "{name} comes from {source:?}");
    }
}

#[test]
fn licence_expressions_are_read_as_spdx_means_them() {
    assert!(is_allowed("MIT OR Apache-2.0"));
    assert!(is_allowed("MIT/Apache-2.0"));
    assert!(is_allowed("(MIT OR GPL-3.0) AND Unicode-3.0"));
    assert!(!is_allowed("GPL-3.0"));
    assert!(!is_allowed("MIT AND GPL-3.0"));
}
