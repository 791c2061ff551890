//! The command line as programs use it: each result matches its schema, names complete, and nobody is asked.

use std::path::Path;

use anyhow::{Context as _, Result};
use boon::{Compiler, Draft, Schemas};
use dotmesh_testkit::Network;
use serde_json::Value;

use crate::world::{Hub, Node, Team};

/// The URI under which the schemas are compiled.
const ADDRESS: &str = "urn:dotmesh:cli";

/// Runs commands, and checks what they print.
struct Checked<'a> {
    node: &'a Node,
    compiler: Compiler,
    schemas: Schemas,
}

impl<'a> Checked<'a> {
    fn new(node: &'a Node) -> Result<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli-json.schema.json");
        let document = serde_json::from_str(&std::fs::read_to_string(path)?)?;
        let mut compiler = Compiler::new();
        compiler.set_default_draft(Draft::V2020_12);
        compiler.enable_format_assertions();
        compiler
            .add_resource(ADDRESS, document)
            .map_err(|error| anyhow::anyhow!("{error:#}"))?;
        Ok(Self {
            node,
            compiler,
            schemas: Schemas::new(),
        })
    }

    fn check(&mut self, command: &str, text: &str) -> Value {
        let value: Value = serde_json::from_str(text)
            .with_context(|| format!("{command}: {text}"))
            .expect("one document");
        let pointer = format!("{ADDRESS}#/commands/{}", command.replace(' ', "%20"));
        let schema = self.compiler.compile(&pointer, &mut self.schemas);
        let schema = schema.unwrap_or_else(|error| panic!("{command}: {error:#}"));
        if let Err(error) = self.schemas.validate(&value, schema) {
            panic!("{command}: {error:#}\n{text}");
        }
        value
    }

    /// Runs a command that succeeds with these arguments. It says nothing else.
    async fn ok(&mut self, command: &str, arguments: &str) -> Value {
        let program = command.replace(" NAME", "");
        let line = format!("{program} {arguments} --json");
        let output = self.node.run(&line).await.success();
        assert_eq!(output.stderr, "", "{line}");
        self.check(command, &output.stdout)
    }

    /// Runs a line that fails, and returns the error's code.
    async fn code(&mut self, line: &str) -> String {
        let output = self.node.run(&format!("{line} --json")).await.failure();
        let error = self.check("error", &output.stderr);
        error["error"]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_command_prints_what_its_schema_says() -> Result<()> {
    let network = Network::start().await?;
    let hub = Hub::start(&network).await?;
    let arguments = ["--undo-time", "7d", "--undo-space", "1GiB"];
    let alice = Node::start_with(&network, "alice", &arguments).await?;
    let bob = Node::start(&network, "bob").await?;
    hub.log_in(&alice, "alice").await?;
    hub.log_in(&bob, "bob").await?;
    alice.keep_running("web", "app.files").await;
    let write = async |line: &str| {
        alice
            .ok(&format!("docker exec web sh -c '{line} >/v/file'"))
            .await
    };
    let mut dm = Checked::new(&alice)?;

    // A dot and its states.
    assert_eq!(dm.ok("dm list", "").await["dots"][0]["name"], "admin/app");
    assert_eq!(dm.ok("dm log", "").await["commits"], Value::Array(vec![]));
    assert_eq!(dm.code("dm show").await, "no_commits");
    write("echo one").await;
    let first = dm.ok("dm commit", "-m one").await;
    write("echo two").await;
    let diff = dm.ok("dm diff", "").await;
    assert_eq!(diff["changes"][0]["path"], "files/file");
    assert_eq!(dm.ok("dm status", "").await["containers"][0]["name"], "web");
    dm.ok("dm commit", "-m two -d key=value").await;
    let log = dm.ok("dm log", "").await;
    assert_eq!(log["commits"][1]["id"], first["id"]);
    assert_eq!(dm.ok("dm show", "HEAD").await["commit"]["message"], "two");
    dm.ok("dm tag NAME", "v1 -m tagged").await;
    assert_eq!(dm.ok("dm tag", "").await["tags"][0]["name"], "v1");
    let done = dm.ok("dm checkout", "-b work").await;
    assert_eq!(done["restarted"][0], "web");
    write("echo three").await;
    assert_eq!(
        dm.ok("dm stash", "-m aside").await["stash"]["message"],
        "aside"
    );
    dm.ok("dm stash list", "").await;
    dm.ok("dm stash show", "").await;
    dm.ok("dm stash apply", "").await;
    dm.ok("dm reset", "--hard HEAD^").await;
    assert_eq!(dm.code("dm stash pop").await, "diverged");
    dm.ok("dm undo", "").await;
    dm.ok("dm redo", "").await;
    dm.ok("dm op log", "").await;
    dm.ok("dm stash branch", "side").await;
    dm.ok("dm restore", "-s master files/file").await;
    assert_eq!(
        dm.ok("dm cp", "HEAD:files/file copy").await["target"],
        "./copy"
    );
    assert_eq!(dm.code("dm cp HEAD:files/file -").await, "usage");
    dm.ok("dm branch --move", "aside").await;
    dm.ok("dm branch", "-v").await;
    assert_eq!(dm.code("dm branch -d aside").await, "in_use");
    dm.ok("dm checkout", "master").await;
    dm.ok("dm branch --delete", "work").await;
    dm.ok("dm tag --delete", "v1").await;

    // Hubs.
    assert_eq!(dm.ok("dm remote", "").await["remotes"][0]["remote"], "hub");
    let push = alice.run("dm push --json --progress=json").await.success();
    let pushed = dm.check("dm push", &push.stdout);
    let address = pushed["permalinks"][0].as_str().unwrap_or_default();
    assert!(address.starts_with(&hub.url), "{pushed}");
    assert!(!push.stderr.is_empty(), "a push has events");
    for line in push.stderr.lines() {
        assert!(dm.check("event", line)["transfer"].is_object(), "{line}");
    }
    dm.ok("dm pull", "").await;
    dm.ok("dm open", "--print").await;
    dm.ok("dm remote rename", "hub team").await;
    dm.ok("dm remote switch", "team").await;
    dm.ok("dm remote set-url", &format!("team {}", hub.url))
        .await;
    dm.ok("dm dot set-upstream", "team app").await;
    assert_eq!(dm.code("dm push gone").await, "no_remote");

    // The node, and dots as a whole.
    dm.ok("dm version", "").await;
    dm.ok("dm cluster init", "").await;
    dm.ok("dm mount", "app.files ./mounted").await;
    dm.ok("dm unmount", "./mounted").await;
    dm.ok("dm init", "other").await;
    dm.ok("dm dot rename", "other another").await;
    dm.ok("dm dot show", "another").await;
    assert_eq!(
        dm.code("dm dot delete another </dev/null").await,
        "no_terminal"
    );
    dm.ok("dm dot delete", "another --yes").await;
    assert_eq!(dm.code("dm status").await, "no_current_dot");
    assert_eq!(dm.code("dm switch nothing").await, "not_found");
    dm.ok("dm switch", "app").await;
    dm.ok("dm remote rm", "team").await;

    // A container that cannot be started is an error beside the result.
    hub.collaborate("alice/app", "bob", "read").await?;
    let mut dm = Checked::new(&bob)?;
    assert_eq!(
        dm.ok("dm clone", "hub alice/app").await["current"],
        "admin/app"
    );
    dm.ok("dm logout", "").await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_gets_names_pages_and_questions() -> Result<()> {
    let Team { alice, .. } = Team::start().await?;
    alice.in_volume("app", "echo 1 >/v/file").await;
    alice
        .ok("dm commit -m one && dm tag v1 && dm checkout -b feature")
        .await;

    // The shell's own completion, with what `make install` installs.
    let complete = async |words: &str| {
        let line = format!(
            "bash -c 'source <(DOTMESH_COMPLETE=bash dm); words=({words}); COMP_WORDS=(\"${{words[@]}}\"); \
             COMP_CWORD=$((${{#words[@]}} - 1)); _clap_complete_dm dm \"${{words[-1]}}\" \"\"; \
             printf \"%s\\n\" \"${{COMPREPLY[@]}}\"'"
        );
        let found = alice.ok(&line).await;
        let found = found.split_whitespace().map(str::to_owned);
        found.collect::<Vec<_>>()
    };
    assert_eq!(complete("dm switch a").await, ["app"]);
    assert_eq!(complete("dm --dot a").await, ["app"]);
    assert_eq!(complete("dm branch -d f").await, ["feature"]);
    assert_eq!(complete("dm checkout m").await, ["master"]);
    assert_eq!(complete("dm show v").await, ["v1"]);
    assert_eq!(complete("dm tag -d v").await, ["v1"]);
    assert_eq!(complete("dm push h").await, ["hub"]);

    // On a terminal a log goes through the pager, and has colours if they are wanted.
    let at_terminal = |variables: &str, command: &str| {
        format!("TERM=xterm {variables} script -qec '{command}' /dev/null </dev/null")
    };
    let pager = "PAGER='sed s/^/paged:/'";
    let log = alice.ok(&at_terminal(pager, "dm log")).await;
    assert!(log.starts_with("paged:\u{1b}[33mcommit "), "{log:?}");
    let plain = alice
        .ok(&at_terminal("NO_COLOR=1 PAGER=cat", "dm log"))
        .await;
    assert!(plain.starts_with("commit "), "{plain:?}");
    assert_eq!(alice.ok("dm log | head -c 7").await, "commit ");

    // Ctrl-C leaves no half of a copy, whenever it comes.
    alice
        .in_volume("app.big", "head -c 200M /dev/urandom >/v/file")
        .await;
    for delay in ["0.02", "0.05", "0.1", "0.2"] {
        let line =
            format!("timeout -s INT {delay} dm cp big/file copy; wc -c copy; rm -f copy; ls -A");
        let left = alice.ok(&line).await;
        assert!(!left.contains(".dm-cp-"), "after {delay} s: {left}");
        let whole = left.contains("209715200 copy") || !left.contains(" copy");
        assert!(whole, "after {delay} s: {left}");
    }
    Ok(())
}
