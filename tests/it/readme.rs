//! What README says is what the program does.

const BEGIN: &str = "<!-- configuration reference: generated, `cargo test` compares it -->\n";
const END: &str = "<!-- end of the configuration reference -->";

/// Compares README's option table with the configuration's own documentation; `CASCADE_UPDATE=1` writes it.
#[test]
fn the_option_table_is_the_documentation_of_the_configuration() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (table, after) = rest.split_once(END).unwrap();
    let expected = cascade::config::reference_markdown();
    if std::env::var_os("CASCADE_UPDATE").is_some() {
        std::fs::write(path, format!("{before}{BEGIN}{expected}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(table, expected, "run CASCADE_UPDATE=1 cargo test --test it readme");
}

#[test]
fn every_command_of_the_program_is_in_the_readme() {
    use clap::CommandFactory as _;
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    for command in cascade::cli::Args::command().get_subcommands().filter(|command| command.get_name() != "help") {
        let name = command.get_name();
        let is_named = ["`", " "].iter().any(|end| text.contains(&format!("`{name}{end}")));
        assert!(is_named, "README does not say `{name}`");
    }
}
