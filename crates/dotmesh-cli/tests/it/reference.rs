//! `docs/cli.md` equals the generated reference.

use std::path::Path;

#[test]
fn the_command_reference_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md");
    let page = dotmesh_cli::reference::markdown();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == page,
        "docs/cli.md is out of date: UPDATE=1 cargo test -p dotmesh-cli"
    );
}

#[test]
fn the_command_line_is_sound() {
    <dotmesh_cli::cli::Cli as clap::CommandFactory>::command().debug_assert();
}
