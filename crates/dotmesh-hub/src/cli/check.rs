//! `dothub check`

use dotmesh_hub_db::Opening;
use dotmesh_hub_model::show;
use dotmesh_hub_service::operations::check::{CheckReport, Checker, Defect};
use dotmesh_model::CommitId;

use super::ambient;
use super::error::CliError;
use super::{Data, Store, print};

/// The number of commits of a dot that are shown.
const SHOWN: usize = 5;

/// Check everything that the hub stores: each pack, each object against its hash, each dot, and the index
///
/// The command reads all data, and works while the hub is serving. It exits with 1 if it has found a problem that it did not
/// repair.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Mark what is lost, so that the next push from a machine that has it brings it again
    ///
    /// Commits that lack a part of their data are shown as commits without their data, and cannot be cloned until then. Restore
    /// lost packs from a backup first, if there is one.
    #[arg(long)]
    repair: bool,
    /// Show the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    store: Store,
}

/// Checks.
pub(super) async fn run(args: Args) -> Result<(), CliError> {
    let database = args.data.database(Opening::Existing).await?;
    let packs = args.store.packs(&args.data, Opening::Existing)?;
    let checker = Checker::new(database.clone(), packs);
    let checked = checker.check(args.repair, ambient::now()).await;
    let report = checked.map_err(|error| CliError::Check(Box::new(error)))?;
    database.close().await;
    if args.json {
        let text = serde_json::to_string_pretty(&report).unwrap_or_default();
        print(text)?;
    } else {
        show(&report)?;
    }
    match report.problems.len() {
        0 => Ok(()),
        _ if report.repaired => Ok(()),
        problems => Err(CliError::Problems(problems as u64)),
    }
}

fn show(report: &CheckReport) -> Result<(), CliError> {
    for problem in &report.problems {
        print(describe(problem))?;
    }
    print(format_args!(
        "Checked {} ({}), {}, {} and {}",
        show::count(report.packs, "pack"),
        show::bytes(report.bytes),
        show::count(report.objects, "object"),
        show::count(report.dots, "dot"),
        show::count(report.commits, "commit"),
    ))?;
    if report.repaired {
        print("Marked what is lost. Push these dots again from a machine that has their commits")?;
    }
    Ok(())
}

fn describe(problem: &Defect) -> String {
    let lost = |count: u64| match count {
        0 => "no object is lost".to_owned(),
        count => format!("{} lost", show::count(count, "object")),
    };
    match problem {
        Defect::PackMissing { pack, lost_objects } => {
            format!("pack {pack} is missing: {}", lost(*lost_objects))
        }
        Defect::PackDamaged { pack, lost_objects } => {
            format!("pack {pack} is damaged: {}", lost(*lost_objects))
        }
        Defect::IndexWrong { pack, lost_objects } => {
            format!("the index of pack {pack} is wrong: {}", lost(*lost_objects))
        }
        Defect::IndexIncomplete { pack, rows_missing } => format!(
            "the index of pack {pack} lacks {}",
            show::count(*rows_missing, "object")
        ),
        Defect::CommitsIncomplete { dot, commits, .. } => {
            let shown: Vec<String> = commits
                .iter()
                .take(SHOWN)
                .map(CommitId::to_string)
                .collect();
            let more = match commits.len().saturating_sub(SHOWN) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            format!(
                "{dot} has lost data of {}: {}{more}",
                show::count(commits.len() as u64, "commit"),
                shown.join(", ")
            )
        }
    }
}
