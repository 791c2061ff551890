//! Generates the command reference, `docs/cli.md`, from the definition of the command line.

use std::fmt::Write as _;

use clap::{Command, CommandFactory as _};

use crate::cli::Cli;

const INTRODUCTION: &str = "\
# The commands of `dm`

This page is generated from the program by `UPDATE=1 cargo test -p dotmesh-cli`.

`dm` writes data to stdout, and messages to stderr.
An error says what failed and why, and a line with `hint:` says what to do next.
Every command takes the options of `dm` that are listed first.
With `--json` it prints a document that [cli-json.md](cli-json.md) describes.

";

/// The whole page.
pub fn markdown() -> String {
    let mut dm = Cli::command().term_width(100);
    dm.build();
    let mut page = INTRODUCTION.to_owned();
    section(&mut page, &dm, "dm", true);
    page
}

fn section(page: &mut String, command: &Command, path: &str, top: bool) {
    let help = if top {
        help_of(command)
    } else {
        help_of(&without_globals(command))
    };
    let _ = write!(page, "## `{path}`\n\n```text\n{}\n```\n", help.trim_end());
    for inner in command.get_subcommands() {
        if inner.is_hide_set() || inner.get_name() == "help" {
            continue;
        }
        page.push('\n');
        section(page, inner, &format!("{path} {}", inner.get_name()), false);
    }
}

fn help_of(command: &Command) -> String {
    let help = command
        .clone()
        .term_width(100)
        .render_long_help()
        .to_string();
    help.lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n")
}

/// Hides the options that all commands have. The introduction documents them once.
fn without_globals(command: &Command) -> Command {
    let common = [
        "config", "help", "json", "progress", "quiet", "verbose", "yes",
    ];
    let mut shown = command.clone();
    for id in common {
        if shown
            .get_arguments()
            .any(|argument| argument.get_id() == id)
        {
            shown = shown.mut_arg(id, |argument| argument.hide(true));
        }
    }
    shown
}
