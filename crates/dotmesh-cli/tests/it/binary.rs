//! Runs the program where no node answers.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use insta::assert_snapshot;

/// A temporary home folder, in which `dm` runs with a clean environment.
pub(crate) struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dm"));
        command
            .args(arguments.split_whitespace())
            .current_dir(self.path())
            .env_clear()
            .env("HOME", self.path())
            .env("PATH", "/usr/bin:/bin")
            .env("DOTMESH_SOCKET", self.path().join("api.sock"))
            .stdin(Stdio::null());
        command
    }

    /// Runs `dm`. Returns stdout, stderr and the exit code as one text.
    pub(crate) fn run(&self, arguments: &str) -> String {
        self.shown(&self.command(arguments).output().unwrap())
    }

    pub(crate) fn run_with_input(&self, arguments: &str, input: &str) -> String {
        let mut command = self.command(arguments);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        self.shown(&child.wait_with_output().unwrap())
    }

    pub(crate) fn shown(&self, output: &Output) -> String {
        let home = self.path().to_str().unwrap();
        let text = |bytes: &[u8]| {
            String::from_utf8_lossy(bytes)
                .replace(home, "$HOME")
                .replace(env!("CARGO_PKG_VERSION"), "$VERSION")
                .replace('\t', "<tab>")
        };
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        format!("{out}---\n{err}--- {}\n", output.status.code().unwrap())
    }
}

#[test]
fn a_machine_without_certificates_reaches_its_node() {
    let home = Home::new();
    let mut list = home.command("list");
    list.env("SSL_CERT_FILE", "/nowhere")
        .env("SSL_CERT_DIR", "/nowhere");
    let said = home.shown(&list.output().unwrap());
    assert!(said.contains("No such file or directory"), "{said}");
}

#[test]
fn a_node_elsewhere_is_reached_by_a_command() {
    let home = Home::new();
    let with = |host: &str| {
        let mut list = home.command("list");
        // There is no program at all, and so no ssh.
        list.env("DOTMESH_HOST", host).env("PATH", home.path());
        home.shown(&list.output().unwrap())
    };
    assert_snapshot!(with("ssh://alice@box"), @r"
    ---
    Error: cannot reach the Dotmesh node at ssh://alice@box: cannot run 'ssh': No such file or directory (os error 2)
    hint: 'ssh box dm version' must work: the other machine needs 'dm', and your account there must be allowed to use it.
    --- 3
    ");
    assert_snapshot!(with("tcp://box"), @r"
    ---
    Error: DOTMESH_HOST is 'tcp://box', which is no address of a node
    hint: Write docker://PLUGIN, ssh://[USER@]HOST[:PORT] or unix:///PATH.
    --- 2
    ");
}

#[test]
fn without_a_node_it_says_how_to_start_one() {
    let home = Home::new();
    assert_snapshot!(home.run("list"), @r"
    ---
    Error: cannot reach the Dotmesh node at $HOME/api.sock: No such file or directory (os error 2)
    hint: Start Dotmesh with 'sudo dm cluster init'.
    hint: If the node listens at another path, set DOTMESH_SOCKET to that path.
    --- 3
    ");
    assert_snapshot!(home.run("version"), @r"
    Client:
    <tab>Version: $VERSION
    ---
    Error: cannot reach the Dotmesh node at $HOME/api.sock: No such file or directory (os error 2)
    hint: Start Dotmesh with 'sudo dm cluster init'.
    hint: If the node listens at another path, set DOTMESH_SOCKET to that path.
    --- 3
    ");
    assert_snapshot!(home.run("--verbose log"), @r"
    ---
    > GET /v1/compose
    Error: cannot reach the Dotmesh node at $HOME/api.sock: No such file or directory (os error 2)
    hint: Start Dotmesh with 'sudo dm cluster init'.
    hint: If the node listens at another path, set DOTMESH_SOCKET to that path.
    --- 3
    ");
    assert!(!home.path().join(".dotmesh").exists(), "nothing was kept");
}

#[test]
fn a_dead_socket_is_no_node() {
    let home = Home::new();
    drop(std::os::unix::net::UnixListener::bind(home.path().join("api.sock")).unwrap());
    assert_snapshot!(home.run("branch"), @r"
    ---
    Error: cannot reach the Dotmesh node at $HOME/api.sock: Connection refused (os error 111)
    hint: Start Dotmesh with 'sudo dm cluster init'.
    hint: If the node listens at another path, set DOTMESH_SOCKET to that path.
    --- 3
    ");
}

#[test]
fn wrong_usage_is_told_apart() {
    let home = Home::new();
    assert_snapshot!(home.run("commit"), @r#"
    ---
    Error: Please provide a commit message
    hint: Say what this state is: dm commit -m "Users with long names"
    --- 2
    "#);
    assert_snapshot!(home.run("init a/b/c"), @r"
    ---
    Error: invalid value 'a/b/c' for '[DOT]': a dot is named NAMESPACE/DOT or just DOT, got 'a/b/c'

    For more information, try '--help'.
    --- 2
    ");
    assert_snapshot!(home.run("checkout -b x --clean HEAD"), @r"
    ---
    Error: the argument '--clean' cannot be used with '[COMMIT]'

    Usage: dm checkout --branch --clean <BRANCH> [COMMIT]

    For more information, try '--help'.
    --- 2
    ");
    assert_snapshot!(home.run("pushh"), @r"
    ---
    Error: unrecognized subcommand 'pushh'

      tip: some similar subcommands exist: 'ps', 'push'

    Usage: dm [OPTIONS] <COMMAND>

    For more information, try '--help'.
    --- 2
    ");
    assert_snapshot!(home.run("remote add hub dothub.com"), @r"
    ---
    Error: invalid value 'dothub.com' for '<USER@HOST[:PORT]>': please specify USER@HOST[:PORT]

    For more information, try '--help'.
    --- 2
    ");
    assert_snapshot!(home.run("remote add hub alice@host:99999"), @r"
    ---
    Error: invalid value 'alice@host:99999' for '<USER@HOST[:PORT]>': Please specify a port as an integer, e.g. user@host:8080, got '99999'

    For more information, try '--help'.
    --- 2
    ");
}

#[test]
fn help_needs_nothing_and_goes_to_standard_output() {
    let home = Home::new();
    let output = home.command("--help").env_remove("HOME").output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    let output = home.command("").output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
    assert!(output.stderr.starts_with(b"Git for the state"));
}

#[test]
fn remotes_are_not_added_unseen() {
    let home = Home::new();
    assert_snapshot!(home.run("remote -v"), @r"
    ---
    There are no remotes yet.
    hint: Log in to a hub with 'dm login HUB', or add one with 'dm remote add NAME USER@HOST'.
    --- 0
    ");
    assert_snapshot!(home.run("push"), @r"
    ---
    Error: there are no remotes yet
    hint: Log in to a hub with 'dm login HUB'.
    --- 1
    ");
    assert_snapshot!(home.run("pull hub"), @r"
    ---
    Error: No such remote 'hub'
    hint: List the remotes with 'dm remote -v', or add it with 'dm remote add NAME USER@HOST'.
    --- 1
    ");
    assert_snapshot!(home.run("remote rm hub"), @r"
    ---
    Error: No such remote 'hub'
    hint: List the remotes with 'dm remote -v', or add it with 'dm remote add NAME USER@HOST'.
    --- 1
    ");
    assert_snapshot!(home.run("remote switch hub"), @r"
    ---
    Error: No such remote 'hub'
    hint: List the remotes with 'dm remote -v', or add it with 'dm remote add NAME USER@HOST'.
    --- 1
    ");
    assert_snapshot!(home.run("remote add hub alice@127.0.0.1:1"), @r"
    ---
    Error: no API key was given
    hint: Type it when asked, pipe it in, or put it in DOTMESH_PASSWORD.
    --- 2
    ");
    assert_snapshot!(home.run_with_input("remote add hub alice@127.0.0.1:1", "key\n"), @r"
    ---
    Error: cannot reach http://127.0.0.1:1: Connection refused (os error 111)
    hint: Check the host and the port, and that the hub runs.
    --- 3
    ");
    assert!(!home.path().join(".dotmesh/config").exists());
}

#[test]
fn an_unusable_config_file_is_an_error() {
    let home = Home::new();
    std::fs::write(home.path().join("config"), "{}").unwrap();
    assert_snapshot!(home.run("-c config remote"), @r"
    ---
    Error: cannot understand the config file config: missing field `version` at line 1 column 2
    hint: Repair it, move it away, or use another one with --config.
    --- 1
    ");
    assert_snapshot!(home.run("-c config/below remote"), @r"
    ---
    Error: cannot read the config file config/below: Not a directory (os error 20)
    --- 1
    ");
    let output = home.command("remote").env_remove("HOME").output().unwrap();
    assert_snapshot!(home.shown(&output), @r"
    ---
    Error: HOME is not set, so there is no config file
    hint: Say where it is with --config FILE.
    --- 2
    ");
}

#[test]
fn an_interruption_is_told_by_the_exit_code() {
    let home = Home::new();
    let mut command = home.command("remote add hub alice@127.0.0.1:1");
    command.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // `dm` waits for a key on stdin. `/proc` shows when its SIGINT handler is installed.
    let id = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    let caught = |id: u32| {
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let mask = status
            .lines()
            .find_map(|line| line.strip_prefix("SigCgt:"))
            .unwrap();
        u64::from_str_radix(mask.trim(), 16).unwrap() & 0b10 != 0
    };
    while !caught(child.id()) {
        std::thread::yield_now();
    }
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    let pipe = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    drop(pipe);
    assert_snapshot!(home.shown(&output), @r"
    ---
    Interrupted.
    --- 130
    ");
}

#[test]
fn nobody_reading_is_no_failure() {
    let home = Home::new();
    let mut command = home.command("--help");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = output.wait_with_output().unwrap();
    assert_snapshot!(home.shown(&output), @r"
    ---
    --- 0
    ");
}

#[test]
fn a_full_disk_is_one() {
    let home = Home::new();
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = home.command("--help").stdout(full).output().unwrap();
    assert_snapshot!(home.shown(&output), @r"
    ---
    Error: cannot write to standard output: No space left on device (os error 28)
    --- 1
    ");
}
