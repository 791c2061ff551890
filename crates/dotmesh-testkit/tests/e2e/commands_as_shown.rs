//! Runs every block of commands on the hub's pages and in the documentation, exactly as shown.
//!
//! A real browser reads the blocks of pages. Those of documents come from their Markdown. Each is pasted into `sh -e`
//! on a machine with a node, Docker, both versions of Compose and git. A block that is neither run nor excused with a
//! reason makes the test fail.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use dotmesh_testkit::{Network, wait_for};

use crate::browser::Browser;
use crate::world::{Hub, Node, SOON};

const PASSWORD: &str = "correct horse battery";

/// A browser for `dm login`: it logs in with the password, types the shown code, and approves.
const BROWSER: &str = "#!/bin/sh -e\n\
    code=$(sed -n 's/.*type the code //p' $HOME/told) hub=${1%/-/*} jar=$(mktemp)\n\
    page() { curl -fsS -o /dev/null -c $jar -b $jar -H \"Origin: $hub\" \"$@\"; }\n\
    page -d user=$(hostname) -d 'password=correct horse battery' $hub/-/login\n\
    page -d decision=approve -d code=$code $hub/-/authorize\n";

/// The project's root folder.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A user at a machine, who pastes commands.
struct Person<'a> {
    node: &'a Node,
    folder: PathBuf,
}

impl<'a> Person<'a> {
    /// A person whose shell is in a folder of the machine's home.
    async fn sits_in(node: &'a Node, folder: &str) -> Result<Self> {
        let home = node.machine.home();
        fs::write(home.join("browser"), BROWSER)?;
        node.machine.run("chmod +x browser").await.success();
        Ok(Self {
            node,
            folder: home.join(folder),
        })
    }

    /// Pastes a block with the variables that the surrounding text mentions. `typed` is the input for its prompts.
    async fn pastes_with(&self, block: &str, variables: &str, typed: &str) -> Result<String> {
        let script = self.node.machine.home().join("pasted.sh");
        fs::write(&script, block)?;
        let line = format!(
            "export BROWSER=$HOME/browser {variables}; ended=0; \
             printf '%s' '{typed}' | sh -e $HOME/pasted.sh 2>$HOME/told || ended=$?; cat $HOME/told >&2; exit $ended"
        );
        let output = self.node.machine.run_in(&self.folder, &line).await;
        ensure!(output.status.success(), "pasted\n{block}\n{output}");
        Ok(format!("{}{}", output.stdout, output.stderr))
    }

    async fn pastes(&self, block: &str) -> Result<String> {
        self.pastes_with(block, "", "").await
    }

    /// Pastes a block that stays in the foreground, and waits until the hub on this machine answers.
    async fn starts(&self, block: &str) -> Result<Serving<'a>> {
        let machine = &self.node.machine;
        fs::write(machine.home().join("serve.sh"), block)?;
        let line = "setsid sh -e $HOME/serve.sh >$HOME/serve.log 2>&1 & echo $!";
        let started = machine.run_in(&self.folder, line).await.success().stdout;
        wait_for("the hub to serve", SOON, async || {
            let output = machine
                .run("cat serve.log; curl -fsS localhost:8180/healthz")
                .await;
            ensure!(output.status.success(), "{output}");
            Ok(())
        })
        .await?;
        Ok(Serving {
            node: self.node,
            group: started.trim().to_owned(),
        })
    }
}

/// The process group of a block that stays in the foreground.
struct Serving<'a> {
    node: &'a Node,
    group: String,
}

impl Serving<'_> {
    async fn ends(self) -> Result<()> {
        let machine = &self.node.machine;
        machine
            .run(&format!("kill -- -{}", self.group))
            .await
            .success();
        wait_for("the hub to end", SOON, async || {
            let answer = machine.run("curl -sS localhost:8180/healthz").await;
            ensure!(!answer.status.success(), "{answer}");
            Ok(())
        })
        .await
    }
}

/// The ids of the blocks that were read from pages.
#[derive(Default)]
struct Pages {
    read: BTreeSet<String>,
}

impl Pages {
    /// Loads a page, and returns a block as the reader copies it.
    async fn block(&mut self, page: &Browser, path: &str, id: &str) -> Result<String> {
        page.go(path).await?;
        self.shown(page, id).await
    }

    /// A block of the current page.
    async fn shown(&mut self, page: &Browser, id: &str) -> Result<String> {
        page.find(&format!("pre.commands#{id}")).await?;
        let script = format!("return document.querySelector('pre.commands#{id} code').textContent");
        let text = page.script(&script).await?;
        self.read.insert(id.to_owned());
        Ok(text.as_str().context("a text")?.to_owned())
    }
}

/// The ids of the blocks in all page templates.
fn blocks_of_templates() -> Result<BTreeSet<String>> {
    let mut ids = BTreeSet::new();
    for entry in fs::read_dir(root().join("crates/dotmesh-hub/templates"))? {
        let path = entry?.path();
        let text = fs::read_to_string(&path)?;
        for block in text.split("<pre class=\"").skip(1) {
            let (class, rest) = block.split_once('"').context("a class")?;
            if class == "commands" {
                let id = rest
                    .strip_prefix(" id=\"")
                    .and_then(|rest| rest.split_once('"'));
                let (id, _) = id.with_context(|| format!("{}: no id", path.display()))?;
                ids.insert(id.to_owned());
            } else {
                let known = ["secret", "message-body", "code", "hex"].contains(&class);
                ensure!(
                    known,
                    "{}: is <pre class=\"{class}\"> commands?",
                    path.display()
                );
            }
        }
    }
    // It asks at a terminal before it starts anything. run.rs runs it.
    ensure!(ids.remove("commands-at-once"), "no page shows 'dm run'");
    // It builds everything in release mode. `scripts/check-setups.sh` tries its set-up.
    ensure!(
        ids.remove("commands-install"),
        "no page says how to install"
    );
    Ok(ids)
}

/// An app of one container with one volume.
const COMPOSE_FILE: &str = "\
services:
  db:
    image: debian:bookworm-slim
    network_mode: none
    init: true
    command: sleep 100000
    volumes:
      - app.data:/data
volumes:
  app.data:
    driver: dm
";

/// Alice's repository, which everyone can clone. It has the app at its top, and once more in a subfolder.
async fn repository(alice: &Node, shared: &Path) -> Result<PathBuf> {
    let work = alice.machine.home().join("alices-shop");
    fs::create_dir_all(work.join("deploy"))?;
    fs::write(work.join("docker-compose.yml"), COMPOSE_FILE)?;
    fs::write(work.join("deploy/test.yml"), COMPOSE_FILE)?;
    let line = format!(
        "git init -q --bare -b main {bare} && git init -q -b main . && git add . \
         && git -c user.name=a -c user.email=a@b commit -qm app \
         && git remote add origin file://{bare} && git push -q origin main",
        bare = shared.join("shop.git").display()
    );
    alice.machine.run_in(&work, &line).await.success();
    Ok(work)
}

/// The content of a file in the volume of a project's container.
async fn answer(node: &Node, project: &str) -> Result<String> {
    let line = format!("docker compose -p {project} exec -T db cat /data/answer");
    let output = node.machine.run(&line).await;
    ensure!(output.status.success(), "{output}");
    Ok(output.stdout)
}

async fn write(node: &Node, project: &str, answer: &str) {
    let line =
        format!("docker compose -p {project} exec -T db sh -c 'echo {answer} >/data/answer'");
    node.machine.run(&line).await.success();
}

/// A browser that is logged in.
async fn browser(hub: &Hub, user: &str) -> Result<Browser> {
    hub.set_password(user, PASSWORD).await?;
    let page = Browser::open(&hub.url).await?;
    page.go("/-/login").await?;
    page.submit("/-/login", &[("user", user), ("password", PASSWORD)])
        .await?;
    Ok(page)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_on_pages_run_as_they_are_shown() -> Result<()> {
    let network = Network::start().await?;
    let hub = Hub::start(&network).await?;
    let shared = tempfile::tempdir()?;
    let (alice, bob) =
        tokio::try_join!(Node::start(&network, "alice"), Node::start(&network, "bob"))?;
    let key = hub.add_user("alice").await?;
    hub.add_user("bob").await?;
    let mut pages = Pages::default();

    // Alice runs an app with Compose 1. Her page shows the first commands.
    let work = repository(&alice, shared.path()).await?;
    let up = "docker-compose up -d";
    alice.machine.run_in(&work, up).await.success();
    write(&alice, "alices-shop", "41").await;
    let page = browser(&hub, "alice").await?;
    let first = pages.block(&page, "/", "commands-first-push").await?;
    let same = pages.block(&page, "/alice", "commands-first-push").await?;
    assert_eq!(first, same);
    let at_work = Person::sits_in(&alice, "alices-shop").await?;
    at_work.pastes(&first).await?;

    // The start page shows the same commands without a login. Running them again is harmless.
    write(&alice, "alices-shop", "42").await;
    let stranger = Browser::open(&hub.url).await?;
    let hero = pages.block(&stranger, "/", "commands-first-push").await?;
    at_work.pastes(&hero).await?;
    write(&alice, "alices-shop", "43").await;
    let dot = "/alice/alices-shop_app";
    let push = pages.block(&page, dot, "commands-push").await?;
    at_work.pastes(&push).await?;

    let api = pages.block(&page, "/-/api", "commands-api").await?;
    let listed = at_work.pastes_with(&api, &format!("KEY={key}"), "").await?;
    assert!(listed.contains("alice/alices-shop_app"), "{listed}");

    // Bob's machine has only Dotmesh and Docker.
    hub.collaborate("alice/alices-shop_app", "bob", "write")
        .await?;
    let page = browser(&hub, "bob").await?;
    let at_home = Person::sits_in(&bob, "").await?;
    page.go("/-/settings/keys").await?;
    page.submit(
        "/-/settings/keys",
        &[("name", "laptop"), ("scope", "write")],
    )
    .await?;
    let log_in = pages.shown(&page, "commands-key").await?;
    let key = page
        .script("return document.querySelector('pre.secret code').textContent")
        .await?;
    let key = key.as_str().context("a key")?;
    at_home.pastes_with(&log_in, "", key).await?;
    let run = pages.block(&page, dot, "commands-run").await?;
    at_home.pastes(&run).await?;
    assert_eq!(answer(&bob, "alices-shop").await?, "43\n");

    // Bob pushes to her dot, as the page says.
    write(&bob, "alices-shop", "44").await;
    let push = pages.block(&page, dot, "commands-push").await?;
    assert!(
        push.contains("--remote-name alice/alices-shop_app"),
        "{push}"
    );
    at_home.pastes(&push).await?;

    elsewhere(&hub, &alice, &bob, &page, &mut pages).await?;
    assert_eq!(pages.read, blocks_of_templates()?, "each block is run");
    Ok(())
}

/// An app whose project has another name, file and folder, and a renamed dot.
async fn elsewhere(
    hub: &Hub,
    alice: &Node,
    bob: &Node,
    page: &Browser,
    pages: &mut Pages,
) -> Result<()> {
    let at_work = Person::sits_in(alice, "alices-shop").await?;
    at_work
        .pastes("docker compose -p staging -f deploy/test.yml up -d")
        .await?;
    write(alice, "staging", "99").await;
    let told = at_work
        .pastes(
            "dm switch staging_app\ndm commit -m staging\n\
             dm push --remote-name alice/library",
        )
        .await?;
    let commit = told
        .lines()
        .find_map(|line| line.split_once("/alice/library/commit/"))
        .with_context(|| told.clone())?
        .1
        .to_owned();
    hub.collaborate("alice/library", "bob", "read").await?;

    let path = format!("/alice/library/commit/{commit}");
    let run = pages.block(page, &path, "commands-run").await?;
    for part in [
        "cd deploy\n",
        "--local-name staging_app\n",
        "docker compose -p staging -f test.yml up -d\n",
    ] {
        assert!(run.contains(part), "no {part} in\n{run}");
    }
    bob.machine.run("mkdir another").await.success();
    let elsewhere = Person::sits_in(bob, "another").await?;
    let told = elsewhere.pastes(&run).await?;
    assert_eq!(answer(bob, "staging").await?, "99\n");
    // `dm clone` prints the same command.
    assert!(
        told.contains("    cd deploy\n    docker compose -p staging -f test.yml up -d\n"),
        "{told}"
    );
    let other = elsewhere
        .pastes(&format!("dm clone {}/alice/library", hub.url))
        .await?;
    assert!(
        other.contains("the app's volumes belong to dot staging_app, not to library"),
        "{other}"
    );
    Ok(())
}

/// A fenced block of a document.
#[derive(Debug)]
struct Block {
    document: String,
    language: String,
    text: String,
}

/// Blocks that are not run here: the document, the start of the block, and the reason.
const EXCUSED: &[(&str, &str, &str)] = &[
    ("README.md", "make demo", "demo.rs plays the demo"),
    (
        "README.md",
        "make install",
        "it installs into the system that runs the tests",
    ),
    (
        "README.md",
        "sudo dm cluster init",
        "it makes a service of the system that runs the tests",
    ),
    ("README.md", "make test", "it runs this test"),
    (
        "README.md",
        "docker plugin install",
        "managed_plugin.rs installs the plugin from a registry",
    ),
    (
        "docs/compatibility.md",
        "",
        "rootless.rs does the same without systemd, which the machine lacks",
    ),
    ("docs/getting-started.md", "", "tour.rs runs it"),
    (
        "docs/hub.md",
        "cd docker",
        "hub_image.rs starts the hub from its image",
    ),
    ("docs/plugin.md", "", "managed_plugin.rs runs the plugin"),
    (
        "docs/podman.md",
        "",
        "podman.rs runs on a machine with Podman",
    ),
    (
        "README.md",
        "git worktree add",
        "forks.rs runs an app in several work trees",
    ),
    (
        "docs/forks.md",
        "",
        "forks.rs runs an app in several work trees",
    ),
    (
        "docs/api.md",
        "",
        "the hub's own suite runs them (tests/hub/api_guide.rs)",
    ),
    (
        "docs/hub.md",
        "export DOTHUB_DATABASE_URL=",
        "it names a database and a bucket; the hub's own suite runs on both",
    ),
    (
        "docs/hub.md",
        "dothub serve --tls-certificate",
        "it needs a certificate; the hub's own suite makes one (tests/hub/tls.rs)",
    ),
    (
        "docs/node-api.md",
        "",
        "the node's own suite runs them (operations/switch/tests/api.rs)",
    ),
    (
        "docs/reliability.md",
        "make soak",
        "`make test` has a short soak",
    ),
    ("docs/tour.md", "", "tour.rs runs it"),
    // The nodes of this test keep nothing to undo.
    ("docs/undo.md", "dm undo  ", "undo.rs undoes each operation"),
    (
        "docs/undo.md",
        "dm undo --dot app",
        "undo.rs brings a deleted dot back",
    ),
    (
        "docs/undo.md",
        "dm dot delete app",
        "it names the id of a dot that was deleted",
    ),
    (
        "docs/volumes.md",
        "docker compose -p mobycounter up -d",
        "the README's block is the same, and is run",
    ),
];

/// The paths of the documents, relative to the project's root.
fn documents() -> Result<Vec<String>> {
    let root = root();
    let mut documents = Vec::new();
    for folder in [".", "docs", "examples/moby-counter"] {
        for entry in fs::read_dir(root.join(folder))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.ends_with(".md") {
                documents.push(
                    format!("{folder}/{name}")
                        .trim_start_matches("./")
                        .to_owned(),
                );
            }
        }
    }
    documents.sort();
    Ok(documents)
}

/// Whether a line is a command that the reader would type.
fn is_command(line: &str) -> bool {
    let programs = [
        "$",
        "dm",
        "dotmeshd",
        "dothub",
        "docker",
        "docker-compose",
        "git",
        "make",
        "sudo",
        "curl",
    ];
    let mut words = line.split_whitespace();
    // Drawings and synopses begin with program names, too.
    words.next().is_some_and(|word| programs.contains(&word))
        && words.next().is_none_or(str::is_ascii)
        && !line.contains(['<', '['])
}

/// The fenced blocks of a document. All commands are in such blocks, with a language that marks them.
fn blocks(document: &str) -> Result<Vec<Block>> {
    let text = fs::read_to_string(root().join(document))?;
    let mut blocks: Vec<Block> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        let at = || format!("{document}: {line}");
        if let Some(language) = line.strip_prefix("```") {
            open = !open;
            if open {
                ensure!(!language.is_empty(), "{}: say its language", at());
                blocks.push(Block {
                    document: document.to_owned(),
                    language: language.to_owned(),
                    text: String::new(),
                });
            }
        } else if open {
            let block = blocks.last_mut().context("an open block")?;
            ensure!(
                block.language == "sh" || !is_command(line),
                "{}: is it sh?",
                at()
            );
            block.text.push_str(line);
            block.text.push('\n');
        } else {
            let indented = line.strip_prefix("    ");
            ensure!(
                !indented.is_some_and(is_command),
                "{}: put it into a fence",
                at()
            );
        }
    }
    Ok(blocks)
}

/// The command blocks of all documents that were not yet taken.
struct Documents(Vec<Block>);

impl Documents {
    fn read() -> Result<Self> {
        let mut all = Vec::new();
        for document in documents()? {
            all.extend(
                blocks(&document)?
                    .into_iter()
                    .filter(|block| block.language == "sh"),
            );
        }
        Ok(Self(all))
    }

    /// Takes the next block of a document that starts with `beginning`.
    fn take(&mut self, document: &str, beginning: &str) -> Result<String> {
        let found = self
            .0
            .iter()
            .position(|block| block.document == document && block.text.starts_with(beginning));
        let found = found.with_context(|| format!("{document} has no '{beginning}'"))?;
        Ok(self.0.remove(found).text)
    }

    /// Fails if a block was neither taken nor excused, or if an excuse is unused.
    fn finish(mut self) -> Result<()> {
        for (document, beginning, reason) in EXCUSED {
            let before = self.0.len();
            self.0
                .retain(|block| block.document != *document || !block.text.starts_with(beginning));
            ensure!(
                self.0.len() < before,
                "nothing to excuse: {document}, {beginning}, {reason}"
            );
        }
        ensure!(self.0.is_empty(), "neither run nor excused: {:#?}", self.0);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_in_documents_run_as_they_are_shown() -> Result<()> {
    let mut documents = Documents::read()?;
    let network = Network::start().await?;
    let (alice, bob) =
        tokio::try_join!(Node::start(&network, "alice"), Node::start(&network, "bob"))?;
    running_a_hub(&bob, &mut documents).await?;

    let readme = "README.md";
    let at_app = Person::sits_in(&alice, "moby-counter").await?;
    at_app
        .pastes(&documents.take(readme, "docker compose up")?)
        .await?;
    alice.app_ready().await?;
    at_app.pastes(&documents.take(readme, "dm list")?).await?;
    alice.app_ready().await?;
    moby_counter(&alice, &at_app, &mut documents).await?;

    let serve = documents.take(readme, "dothub serve")?;
    let serving = at_app.starts(&serve).await?;
    let added = at_app
        .pastes(&documents.take(readme, "dothub user add alice")?)
        .await?;
    let key = added.lines().last().context("a key")?;
    let share = documents.take(readme, "dm remote add")?;
    let shared = at_app.pastes_with(&share, "", key).await?;
    assert!(
        shared.contains("/alice/mobycounter_app/commit/"),
        "{shared}"
    );

    let let_in = documents.take(readme, "dothub user add bob")?;
    let added = at_app.pastes(&let_in).await?;
    let link = added
        .lines()
        .find_map(|line| line.split_once("8180/-/password"));
    let link = format!("/-/password{}", link.with_context(|| added.clone())?.1);

    // The hub listened only on the loopback interface. Now it listens on all interfaces.
    serving.ends().await?;
    let serve = serve.replace("--listen 127.0.0.1", "--listen 0.0.0.0");
    let _serving = at_app.starts(&serve).await?;
    let hub = format!("http://{}:8180", alice.machine.address());
    let page = Browser::open(&hub).await?;
    page.go(&link).await?;
    page.submit("/-/password", &[("password", PASSWORD)])
        .await?;
    page.until_says("alice/mobycounter_app").await?;
    let clone = documents.take(readme, "dm login https://hub.example.com")?;
    let at_app = Person::sits_in(&bob, "moby-counter").await?;
    at_app
        .pastes(&clone.replace("https://hub.example.com", &hub))
        .await?;
    bob.app_ready().await?;
    assert_eq!(bob.sql("select count(*) from users").await, "11");
    at_app
        .pastes(&documents.take("docs/pool.md", "dm fsck")?)
        .await?;
    documents.finish()
}

/// The commands of the example's README, on Alice's machine.
async fn moby_counter(alice: &Node, at_app: &Person<'_>, documents: &mut Documents) -> Result<()> {
    let page = "examples/moby-counter/README.md";
    at_app
        .pastes(&documents.take(page, "docker compose up")?)
        .await?;
    alice.ok("dm checkout many-users").await;
    alice.app_ready().await?;
    for n in 1..=11 {
        alice.log_in(&format!("user{n}")).await;
    }
    let count = documents.take(page, "docker compose exec users-db")?;
    let counted = at_app.pastes(&count).await?;
    assert!(counted.contains(" 11\n"), "{counted}");
    alice
        .ok("dm commit -m 'Eleven users' && dm checkout -b security master")
        .await;
    alice.app_ready().await?;
    let nobody = alice.log_in("").await;
    alice.upload(&nobody, "samples/pirate-flag.png").await;
    at_app.pastes(&documents.take(page, "curl -s -d")?).await?;
    Ok(())
}

/// The commands of the manual for hubs, on Bob's machine.
async fn running_a_hub(bob: &Node, documents: &mut Documents) -> Result<()> {
    let manual = "docs/hub.md";
    let mount = "mkdir -p /var/backups && mount -t tmpfs tmpfs /var/backups";
    bob.machine.run(mount).await.success();
    let at_home = Person::sits_in(bob, "").await?;
    let serving = at_home
        .starts(&documents.take(manual, "dothub serve --data")?)
        .await?;
    let added = at_home
        .pastes(&documents.take(manual, "dothub user add alice --admin")?)
        .await?;
    assert!(added.contains("/-/password?token="), "{added}");
    at_home
        .pastes(&documents.take(manual, "dothub backup")?)
        .await?;
    let repacked = at_home
        .pastes(&documents.take(manual, "dothub repack")?)
        .await?;
    assert!(repacked.contains("Would repack 0 packs"), "{repacked}");
    let checked = at_home
        .pastes(&documents.take(manual, "dothub check")?)
        .await?;
    assert!(checked.contains("Checked 0 packs"), "{checked}");
    let restored = at_home
        .pastes(&documents.take(manual, "dothub restore")?)
        .await?;
    assert!(restored.contains("Restored 1 user"), "{restored}");
    serving.ends().await?;
    let serving = at_home
        .starts(&documents.take(manual, "dothub serve --url")?)
        .await?;
    serving.ends().await
}
