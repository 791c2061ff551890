//! Runs end-to-end tests on each Engine of the matrix, and writes the results into the documentation.
//!
//! The Engines are in the roots that `scripts/engines.sh` makes.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};

/// The page that has the table of results, and the lines around it.
const PAGE: &str = "docs/compatibility.md";
const BEGIN: &str = "<!-- begin: written by make test-matrix -->\n";
const END: &str = "<!-- end -->\n";

/// An Engine, its packages as they are shown, and the release of Debian that has them.
struct Engine {
    name: &'static str,
    release: &'static str,
    engine: Package,
    compose: Package,
    /// The tests of switching. Podman has its own: it has no Swarm, no daemon that restarts containers, and refuses a start
    /// during a switch, where Docker waits.
    switching: &'static str,
    /// Tests of what this Engine does not have.
    skipped: &'static [&'static str],
}

/// A name, and the Debian package whose version is shown.
struct Package(&'static str, &'static str);

/// Podman has no option `--volume-driver`, no `/` or `@` in volumes' names, and other words for a volume in use.
const NOT_WITH_PODMAN: &[&str] = &[
    "a_forgotten_volume_loses_no_data",
    "a_name_says_which_part_of_which_dot",
    "a_new_volume_starts_with_what_the_image_has_there",
    "what_a_container_puts_in_a_subdots_place",
    "what_cannot_be_a_volume_is_refused",
];

const ENGINES: [Engine; 4] = [
    Engine {
        name: "docker-20",
        release: "Debian 12 (bookworm)",
        engine: Package("Docker", "docker.io"),
        compose: Package("Compose", "docker-compose"),
        switching: "switching::",
        skipped: &["a_container_waits_for_what_its_compose_file_says"],
    },
    Engine {
        name: "docker-26",
        release: "Debian 13 (trixie)",
        engine: Package("Docker", "docker.io"),
        compose: Package("Compose", "docker-compose"),
        switching: "switching::",
        skipped: &[],
    },
    Engine {
        name: "docker-28",
        release: "Debian unstable (sid)",
        engine: Package("Docker", "docker.io"),
        compose: Package("Compose", "docker-compose"),
        switching: "switching::",
        skipped: &[],
    },
    Engine {
        name: "podman-5",
        release: "Debian unstable (sid)",
        engine: Package("Podman (rootful)", "podman"),
        compose: Package("Compose", "docker-compose"),
        switching: "podman::",
        skipped: NOT_WITH_PODMAN,
    },
];

/// The columns of tests.
const TITLES: [&str; 4] = [
    "tutorial",
    "switching",
    "volumes",
    "state from another Engine",
];

impl Engine {
    /// The tests of each column, by a part of their names.
    fn filters(&self) -> [&'static str; 4] {
        [
            "tutorial::",
            self.switching,
            "volumes::",
            "a_state_runs_on_another_engine",
        ]
    }
}

/// The newest Engine, on which `cargo xtask ci` runs the tutorial. The host's is the oldest.
pub(crate) const NEWEST: &str = "docker-28";

/// `cargo xtask matrix [ENGINE…]`: by default all. Their rows in the page's table are replaced.
pub(crate) fn run(chosen: &[String]) -> Result<()> {
    for name in chosen {
        let known = ENGINES.iter().any(|engine| engine.name == name);
        ensure!(known, "there is no Engine {name}");
    }
    build()?;
    let mut failed = Vec::new();
    for engine in &ENGINES {
        if !chosen.is_empty() && !chosen.iter().any(|name| name == engine.name) {
            continue;
        }
        let mut cells = Vec::new();
        for (title, filter) in TITLES.into_iter().zip(engine.filters()) {
            match test(engine, filter)? {
                Outcome::Passed(count) => cells.push(format!("{count} passed")),
                Outcome::Failed(counts) => {
                    cells.push(format!("**{counts}**"));
                    failed.push(format!("{title} on {}", engine.name));
                }
            }
        }
        write(row(engine, &cells)?)?;
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

/// The results of the tests of one group.
enum Outcome {
    Passed(usize),
    Failed(String),
}

fn build() -> Result<()> {
    for arguments in [
        &["build", "--locked", "--workspace", "--bins"][..],
        &[
            "test",
            "--locked",
            "--package",
            "dotmesh-testkit",
            "--no-run",
        ],
    ] {
        let status = Command::new("cargo")
            .args(arguments)
            .arg("--quiet")
            .status();
        ensure!(status.context("run cargo")?.success(), "the build failed");
    }
    Ok(())
}

#[expect(clippy::print_stderr, reason = "it is what this program is for")]
fn test(engine: &Engine, filter: &str) -> Result<Outcome> {
    eprintln!("==> {filter} on {}", engine.name);
    let begun = Instant::now();
    let mut command = Command::new("cargo");
    command
        .args([
            "test",
            "--locked",
            "--package",
            "dotmesh-testkit",
            "--test",
            "e2e",
        ])
        .args(["--", "--test-threads", "2", filter])
        .env("DOTMESH_TEST_ENGINE", engine.name)
        .stderr(Stdio::inherit());
    for skipped in engine.skipped {
        command.args(["--skip", skipped]);
    }
    let output = command.output().context("run cargo")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let result = text
        .lines()
        .find_map(|line| line.strip_prefix("test result: "));
    let result = result.with_context(|| format!("no result in:\n{text}"))?;
    let counts = counts(result);
    let passed = counts.get("passed").copied().unwrap_or(0);
    eprintln!("{result}, took {} s", begun.elapsed().as_secs());
    if output.status.success() {
        ensure!(passed > 0, "no test has the name {filter}");
        return Ok(Outcome::Passed(passed));
    }
    eprintln!("{text}");
    let failed = counts.get("failed").copied().unwrap_or(0);
    Ok(Outcome::Failed(format!("{passed} passed, {failed} failed")))
}

/// The counts in `ok. 6 passed; 0 failed; 1 ignored`.
fn counts(result: &str) -> BTreeMap<&str, usize> {
    let parts = result.split([';', '.']);
    let pairs = parts.filter_map(|part| part.trim().split_once(' '));
    pairs
        .filter_map(|(count, what)| Some((what, count.parse().ok()?)))
        .collect()
}

fn row(engine: &Engine, cells: &[String]) -> Result<String> {
    let root = output("scripts/engines.sh", &[engine.name])?;
    let date = output("date", &["-u", "+%Y-%m-%d"])?;
    let mut words = Vec::new();
    for Package(title, package) in [&engine.engine, &engine.compose] {
        words.push(format!("{title} {}", version(Path::new(&root), package)?));
    }
    words.push(engine.release.to_owned());
    words.extend(cells.iter().cloned());
    words.push(date);
    Ok(format!("| {} |\n", words.join(" | ")))
}

/// The upstream version of a package that is installed in a root: `20.10.24` of `20.10.24+dfsg1-1`.
fn version(root: &Path, package: &str) -> Result<String> {
    let database = format!("--admindir={}", root.join("var/lib/dpkg").display());
    let format = ["--show", "--showformat=${Version}", package];
    let version = output("dpkg-query", &[&[database.as_str()], &format[..]].concat())?;
    let upstream = version.split(['+', '-']).next().unwrap_or_default();
    Ok(upstream.to_owned())
}

fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .stderr(Stdio::inherit())
        .output();
    let output = output.with_context(|| format!("run {program}"))?;
    ensure!(output.status.success(), "{program} failed");
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Puts a row into the page's table, in place of the Engine's earlier one.
fn write(new: String) -> Result<()> {
    let page = std::fs::read_to_string(PAGE).with_context(|| format!("read {PAGE}"))?;
    let split = page.split_once(BEGIN);
    let split = split.and_then(|(before, rest)| {
        let (table, after) = rest.split_once(END)?;
        Some((before, table, after))
    });
    let Some((before, table, after)) = split else {
        bail!("{PAGE} has no place for the table");
    };
    let earlier = table.lines().filter(|line| line.starts_with("| ")).skip(1);
    let mut rows: BTreeMap<String, String> = BTreeMap::new();
    for row in earlier.map(|line| format!("{line}\n")).chain([new]) {
        rows.insert(key(&row), row);
    }
    let rows: String = rows.into_values().collect();
    let head = format!(
        "| Engine | Compose | from | {} | date |\n",
        TITLES.join(" | ")
    );
    let rule = format!("|{}\n", "---|".repeat(TITLES.len() + 4));
    let page = format!("{before}{BEGIN}\n{head}{rule}{rows}\n{END}{after}");
    std::fs::write(PAGE, page).with_context(|| format!("write {PAGE}"))
}

/// What a row is about, whatever the versions: the Engine and the release of Debian.
fn key(row: &str) -> String {
    let cells: Vec<&str> = row.split('|').map(str::trim).collect();
    let (engine, from) = (cells.get(1), cells.get(3));
    let engine = engine.map_or("", |engine| {
        engine.trim_end_matches(|c: char| !c.is_alphabetic())
    });
    format!("{engine} {}", from.unwrap_or(&""))
}
