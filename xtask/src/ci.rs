//! Runs every check and test, those that fail fastest first.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use crate::{deny, fuzz, matrix, tidy};

/// Runs all steps. Stops at the first failure.
pub(crate) fn run() -> Result<()> {
    // Both download and unpack packages, and leave most of the CPU to the compiler.
    let images = Background::start("scripts/images.sh", &["--prepared"])?;
    let setups = Background::start("scripts/check-setups.sh", &[])?;
    let engines = Background::start("scripts/engines.sh", &["--test"])?;
    step("cargo", &["fmt", "--all", "--check"])?;
    let fuzz = ["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"];
    step("cargo", &fuzz)?;
    tidy::run()?;
    deny::run()?;
    cargo(
        "clippy",
        &["--quiet", "--all-targets", "--", "--deny=warnings"],
    )?;
    // `dm` is excluded: its doc comments are help texts with brackets in them.
    cargo_with(
        "doc",
        &[
            "--quiet",
            "--exclude=dotmesh-cli",
            "--no-deps",
            "--document-private-items",
        ],
        &[("RUSTDOCFLAGS", "--deny=warnings")],
    )?;
    // From here on, each step names the whole workspace. For one package, cargo would choose other features of shared
    // dependencies, and compile most crates once more.
    cargo("build", &["--quiet", "--bins", "--tests"])?;
    images.finish()?;
    setups.finish()?;
    engines.finish()?;
    in_memory(&["--lib", "--bins", "--test=it", "--test=hub"], &[])?;
    cargo("test", &["--quiet", "--doc"])?;
    // The steps above tested the hub on SQLite and the disk. A team runs it like this.
    let elsewhere = [
        ("DOTHUB_TEST_DATABASE", "postgres"),
        ("DOTHUB_TEST_STORE", "s3"),
    ];
    in_memory(&["--test=hub"], &elsewhere)?;
    announce("fuzz targets, for a moment each");
    fuzz::run(fuzz::MOMENT, None)?;
    // Each of these tests has machines with their own Docker Engines. If more tests than cores run at once, they only
    // wait for each other.
    let machines = ["--test=machines", "--test=e2e", "--test=soak"];
    cargo(
        "test",
        &[&machines[..], &["--", "--test-threads=2"]].concat(),
    )?;
    // The tests above had the host's Engine, which is the oldest, except those that name another one. `make test-matrix`
    // runs more of them on each Engine.
    let newest = [("DOTMESH_TEST_ENGINE", matrix::NEWEST)];
    cargo_with(
        "test",
        &["--quiet", "--test=e2e", "--", "tutorial::"],
        &newest,
    )
}

/// A step that runs beside others.
struct Background {
    line: String,
    begun: Instant,
    child: Child,
    /// Where its output is kept until it has ended.
    output: File,
}

impl Background {
    fn start(program: &str, arguments: &[&str]) -> Result<Self> {
        let line = line(program, arguments, &[]);
        announce(&format!("{line}, in the background"));
        let output = tempfile::tempfile()?;
        let child = command(program, arguments)
            .stdout(output.try_clone()?)
            .stderr(output.try_clone()?)
            .process_group(0)
            .spawn()
            .with_context(|| format!("run {program}"))?;
        Ok(Self {
            line,
            begun: Instant::now(),
            child,
            output,
        })
    }

    /// Waits for its end, and prints its output.
    fn finish(mut self) -> Result<()> {
        let status = self.child.wait()?;
        let mut text = String::new();
        self.output.rewind()?;
        self.output.read_to_string(&mut text)?;
        let seconds = self.begun.elapsed().as_secs();
        announce(&format!("{}: ended within {seconds} s\n{text}", self.line));
        ensure!(status.success(), "{} failed", self.line);
        Ok(())
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // It is still running if another step has failed. A script is ended with the programs that it runs.
        if let Ok(None) = self.child.try_wait() {
            let group = format!("-{}", self.child.id());
            drop(Command::new("kill").args(["--", &group]).status());
            drop(self.child.wait());
        }
    }
}

/// Runs a command of cargo on the whole workspace.
fn cargo(command: &str, arguments: &[&str]) -> Result<()> {
    cargo_with(command, arguments, &[])
}

fn cargo_with(command: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Result<()> {
    let common = [command, "--locked", "--workspace"];
    step_with("cargo", &[&common[..], arguments].concat(), variables)
}

/// Mounts an empty file system in memory, which ends with the command that it runs.
const IN_MEMORY: &str = "mount -t tmpfs -o size=75% tmpfs /dev/shm && TMPDIR=/dev/shm exec \"$@\"";

/// Runs tests with their temporary files in memory. They make and delete so many that a disk takes twice as long.
fn in_memory(arguments: &[&str], variables: &[(&str, &str)]) -> Result<()> {
    let namespace = ["--mount", "--propagation=private"];
    let shell = ["sh", "-c", IN_MEMORY, "sh"];
    let cargo = ["cargo", "test", "--locked", "--workspace", "--quiet"];
    let words = [&namespace[..], &shell, &cargo, arguments].concat();
    step_with("unshare", &words, variables)
}

fn step(program: &str, arguments: &[&str]) -> Result<()> {
    step_with(program, arguments, &[])
}

fn step_with(program: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Result<()> {
    let line = line(program, arguments, variables);
    announce(&line);
    let begun = Instant::now();
    let status = command(program, arguments)
        .envs(variables.iter().copied())
        .status()
        .with_context(|| format!("run {program}"))?;
    ensure!(status.success(), "{line} failed");
    announce(&format!("took {} s", begun.elapsed().as_secs()));
    Ok(())
}

fn line(program: &str, arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let set = variables
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    let words = std::iter::once(program).chain(arguments.iter().copied());
    let words = set.chain(words.map(str::to_owned));
    words.collect::<Vec<_>>().join(" ")
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    if let Some(path) = declared_programs() {
        command.env("PATH", path);
    }
    command.args(arguments);
    command
}

/// The folder of the programs in `scripts/programs`, which `scripts/setup.sh test` makes. With it as their only PATH,
/// checks and tests can't start an undeclared program. It does not exist on systems other than Debian.
fn declared_programs() -> Option<OsString> {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let folder = Path::new(&target).join("tools/path").canonicalize();
    folder.ok().map(PathBuf::into_os_string)
}

#[expect(clippy::print_stderr, reason = "it is what this program is for")]
pub(crate) fn announce(what: &str) {
    eprintln!("==> {what}");
}
