//! `dm help`

use clap::CommandFactory as _;
use serde::Serialize;
use utoipa::ToSchema;

use crate::cli::Cli;
use crate::error::{CliError, Result};
use crate::output::{Answer, Human, answer};
use crate::table;
use crate::ui::Ui;

/// Has a table from git's commands to those of `dm`, which is the only one.
const README: &str = include_str!("../../../../README.md");

/// The heading above the table.
const HEADING: &str = "### From git to dm\n";

/// Print this message or the help of the given subcommand(s)
///
/// 'dm help git' prints a table from git's commands to those of dm.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The subcommand, or 'git'
    #[arg(value_name = "COMMAND")]
    words: Vec<String>,
}

/// A help text.
#[derive(Debug, Serialize, ToSchema)]
pub struct Help {
    /// The text.
    pub text: String,
}

/// The commands of git, and those of `dm` that do the same.
#[derive(Debug, Serialize, ToSchema)]
pub struct FromGit {
    /// The commands.
    pub commands: Vec<Pair>,
}

/// Commands of git, and those of `dm` that do the same.
#[derive(Debug, Serialize, ToSchema)]
pub struct Pair {
    /// With git.
    pub git: String,
    /// With `dm`.
    pub dm: String,
    /// How they differ, or empty.
    pub differs: String,
}

pub(super) fn run(args: &Args) -> Result<Answer> {
    match args.words.as_slice() {
        [word] if word == "git" => Ok(answer(FromGit::of(README))),
        words => help(words).map(answer),
    }
}

fn help(words: &[String]) -> Result<Help> {
    let mut dm = Cli::command();
    dm.build();
    let mut command = &mut dm;
    for word in words {
        command = command.find_subcommand_mut(word).ok_or_else(|| {
            CliError::usage(format!("unrecognized subcommand '{word}'"))
                .hint("List the subcommands with 'dm help'.")
        })?;
    }
    let text = command.render_long_help().to_string();
    Ok(Help { text })
}

impl FromGit {
    /// Reads the table in the README.
    pub fn of(readme: &str) -> Self {
        let (_, table) = readme.split_once(HEADING).unwrap_or_default();
        let rows = table.lines().skip_while(|line| !line.starts_with('|'));
        let rows = rows.take_while(|line| line.starts_with('|'));
        // Below the header is a line of dashes.
        let commands = rows.skip(2).map(|row| {
            let mut cells = row.trim_matches('|').split('|').map(plain);
            let mut cell = || cells.next().unwrap_or_default();
            Pair {
                git: cell(),
                dm: cell(),
                differs: cell(),
            }
        });
        Self {
            commands: commands.collect(),
        }
    }
}

impl Human for FromGit {
    fn show(&self, ui: &Ui) -> Result<()> {
        let rows = self.commands.iter();
        let rows = rows.map(|pair| vec![pair.git.clone(), pair.dm.clone()]);
        let table = table::aligned(&rows.collect::<Vec<_>>());
        let lines = table.lines().zip(&self.commands);
        let lines = lines.map(|(line, pair)| match pair.differs.as_str() {
            "" => format!("{line}\n"),
            differs => format!("{line}\n    {differs}\n"),
        });
        ui.out(&lines.collect::<String>())
    }
}

impl Human for Help {
    fn show(&self, ui: &Ui) -> Result<()> {
        ui.out(&self.text)
    }
}

/// A cell without its Markdown: backticks, and the addresses of links.
fn plain(cell: &str) -> String {
    let mut text = cell.trim().replace('`', "");
    while let Some((before, rest)) = text.split_once("](")
        && let Some((address, after)) = rest.split_once(')')
        && !address.contains(' ')
    {
        let (start, link) = before.rsplit_once('[').unwrap_or(("", before));
        text = format!("{start}{link}{after}");
    }
    text
}
