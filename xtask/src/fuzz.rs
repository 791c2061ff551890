//! Runs the fuzz targets of `fuzz/`: all for a moment, or one for long.
//!
//! The targets are built as `cargo fuzz run --sanitizer none` builds them, which stable Rust supports. `cargo fuzz`
//! itself is not used, because it would have to be compiled first.
//!
//! Each target starts with the fixtures of `testdata/`, the former findings in `fuzz/corpus/TARGET`, and the inputs of
//! earlier runs in `target/fuzz/corpus/TARGET`.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use anyhow::{Context as _, Result, bail, ensure};

/// Compiler flags that add the coverage counters of libFuzzer.
const COVERAGE: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg=fuzzing",
];

/// The target folder of the build, separate from that of all other builds.
const BUILD_FOLDER: &str = "target/fuzz";

/// The number of seconds that each target runs among the other checks.
pub(crate) const MOMENT: u32 = 5;

/// `cargo xtask fuzz [SECONDS [TARGET]]`
pub(crate) fn run_with(mut arguments: impl Iterator<Item = String>) -> Result<()> {
    let seconds = arguments.next().unwrap_or_else(|| "600".to_owned());
    let seconds = seconds.parse().context("SECONDS is a number")?;
    run(seconds, arguments.next().as_deref())
}

/// Runs one target or all, as many at the same time as there are cores. Returns the first failure. After a failure, the
/// other threads still run the rest of the targets.
pub(crate) fn run(seconds: u32, only: Option<&str>) -> Result<()> {
    let mut targets = targets()?;
    if let Some(only) = only {
        ensure!(
            targets.iter().any(|target| target == only),
            "there is no target {only}, but {}",
            targets.join(", ")
        );
        targets.retain(|target| target == only);
    }
    let programs = build()?;
    let queue = Mutex::new(targets);
    let next = || queue.lock().ok().and_then(|mut queue| queue.pop());
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let runners: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    while let Some(target) = next() {
                        fuzz(&programs, &target, seconds)?;
                    }
                    Ok(())
                })
            })
            .collect();
        runners.into_iter().try_for_each(|runner| {
            let ended = runner.join();
            ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })
}

fn targets() -> Result<Vec<String>> {
    let mut targets = Vec::new();
    for file in std::fs::read_dir("fuzz/fuzz_targets")? {
        let path = file?.path();
        let name = path.file_stem().context("a target has a name")?;
        targets.push(name.to_string_lossy().into_owned());
    }
    targets.sort();
    Ok(targets)
}

/// Builds all targets, and returns the folder of the programs.
fn build() -> Result<String> {
    // With an explicit target, cargo builds build scripts and macros without the counters.
    let host = Command::new("rustc")
        .args(["--print", "host-tuple"])
        .output();
    let host = String::from_utf8(host.context("run rustc")?.stdout)?;
    let host = host.trim();
    let built = Command::new("cargo")
        .args(["build", "--quiet", "--bins"])
        .args(["--manifest-path", "fuzz/Cargo.toml"])
        .args(["--target", host, "--target-dir", BUILD_FOLDER])
        .env("RUSTFLAGS", COVERAGE.join(" "))
        .status()
        .context("run cargo")?;
    ensure!(built.success(), "the fuzz targets cannot be built");
    Ok(format!("{BUILD_FOLDER}/{host}/debug"))
}

fn fuzz(programs: &str, target: &str, seconds: u32) -> Result<()> {
    let found = format!("{BUILD_FOLDER}/corpus/{target}");
    let crashes = format!("fuzz/artifacts/{target}/");
    let kept = format!("fuzz/corpus/{target}");
    std::fs::create_dir_all(&found)?;
    std::fs::create_dir_all(&crashes)?;
    let log = format!("{BUILD_FOLDER}/{target}.log");
    let output = std::fs::File::create(&log)?;
    // New inputs go to the first folder. The other folders are only read.
    let seeds = [found.as_str(), &kept, "testdata"];
    let ended = Command::new(format!("{programs}/{target}"))
        .args(seeds.iter().filter(|folder| Path::new(folder).exists()))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={crashes}"))
        .args(["-timeout=30", "-rss_limit_mb=1024", "-print_final_stats=1"])
        .stdout(Stdio::null())
        .stderr(output)
        .status()
        .with_context(|| format!("run the fuzz target {target}"))?;
    if ended.success() {
        return Ok(());
    }
    let told = String::from_utf8_lossy(&std::fs::read(&log)?).into_owned();
    let lines: Vec<&str> = told.lines().collect();
    let end = lines[lines.len().saturating_sub(40)..].join("\n");
    bail!(
        "the fuzz target {target} found something:\n{end}\n\
         The input is in {crashes}; run it again with {programs}/{target} FILE. Once it is mended, move it to {kept}."
    )
}
