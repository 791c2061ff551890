//! Forks of the demo app: three work trees that run at the same time, each with its own data.

use std::path::Path;

use anyhow::{Result, ensure};
use dotmesh_testkit::{Network, wait_for};

use crate::world::{Node, SOON};

/// A work tree of the demo app that runs as a fork.
struct Tree<'a> {
    node: &'a Node,
    /// The folder's name.
    name: &'a str,
    /// What `dm` runs Compose by.
    compose: &'a str,
}

impl Tree<'_> {
    /// Runs a line of shell in the work tree. It must succeed.
    async fn ok(&self, line: &str) -> String {
        let line = format!(
            "cd ~/{} && export DOTMESH_COMPOSE='{}' && {line}",
            self.name, self.compose
        );
        self.node.ok(&line).await.trim().to_owned()
    }

    /// The same, and returns what it says on stderr.
    async fn says(&self, line: &str) -> String {
        let line = format!(
            "cd ~/{} && export DOTMESH_COMPOSE='{}' && {line}",
            self.name, self.compose
        );
        self.node.says(&line).await
    }

    async fn sql(&self, query: &str) -> String {
        let line = format!("dm compose -- exec -T users-db psql -U postgres -tAc \"{query}\"");
        self.ok(&line).await
    }

    async fn redis(&self, command: &str) -> String {
        self.ok(&format!("dm compose -- exec -T redis redis-cli {command}"))
            .await
    }

    /// Waits until the page and PostgreSQL answer.
    async fn ready(&self) -> Result<()> {
        wait_for("the fork to answer", SOON, async || {
            let ping = "curl -fsS -m 5 $(dm url web)/v1/ping";
            let line = format!(
                "cd ~/{} && export DOTMESH_COMPOSE='{}' && {ping} && dm compose -- exec -T users-db psql -U postgres -tAc 'select 1'",
                self.name, self.compose
            );
            let answer = self.node.run(&line).await;
            ensure!(
                answer.status.success() && answer.stdout.contains("true"),
                "{} {}",
                answer.stdout,
                answer.stderr
            );
            Ok(())
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_work_trees_run_side_by_side() -> Result<()> {
    let node = Node::start_with(
        &Network::start().await?,
        "alice",
        &["--undo-time", "3600", "--pool-limit", "8G"],
    )
    .await?;
    // Without a fixed project, each work tree has another one by default, and the dot is found by the main work tree.
    node.ok("sed -i /COMPOSE_PROJECT_NAME/d .env").await;
    node.app_up().await?;
    node.ok(
        "git init -q -b main && git add . && git -c user.name=a -c user.email=a@b commit -qm one",
    )
    .await;
    node.ok("git worktree add -q ../login -b feature/login && git worktree add -q ../many -b many")
        .await;
    node.sql("create table notes (text text)").await;
    node.sql("insert into notes values ('app')").await;
    node.redis("set who app").await;
    // The example's Redis keeps new keys in memory only.
    node.redis("save").await;

    // Two more, with both generations of Compose. Nothing was committed: a fork has what the app has now.
    let login = Tree {
        node: &node,
        name: "login",
        compose: "docker compose",
    };
    let many = Tree {
        node: &node,
        name: "many",
        compose: "docker-compose",
    };
    for tree in [&login, &many] {
        let said = tree.says("dm up").await;
        assert!(said.contains("Forked moby-counter_app"), "{said}");
        tree.ready().await?;
        assert_eq!(tree.sql("select text from notes").await, "app");
        assert_eq!(tree.redis("get who").await, "app");
    }
    assert!(Path::new(&node.machine.home()).join("login").is_dir());
    assert_eq!(
        login.ok("git status --porcelain").await,
        "",
        "no file changed"
    );

    // Each changes without a trace in the others.
    for (tree, who) in [(&login, "login"), (&many, "many")] {
        tree.sql(&format!("update notes set text = '{who}'")).await;
        tree.redis(&format!("set who {who}")).await;
    }
    assert_eq!(node.sql("select text from notes").await, "app");
    assert_eq!(node.redis("get who").await, "app");
    for (tree, who) in [(&login, "login"), (&many, "many")] {
        assert_eq!(tree.sql("select text from notes").await, who);
        assert_eq!(tree.redis("get who").await, who);
    }

    // Commands are about the fork of the folder. A commit is on its branch only.
    let said = login.says("dm commit -m 'The login page'").await;
    assert!(said.contains("[moby-counter_app feature/login "), "{said}");
    assert!(node.ok("dm log --oneline").await.trim().is_empty());
    let log = login.ok("dm log --oneline").await;
    assert!(
        log.contains("(HEAD -> feature/login) The login page"),
        "{log}"
    );
    let status = login.ok("dm status").await;
    assert!(
        status.contains("On branch feature/login of dot moby-counter_app"),
        "{status}"
    );

    // A reset restarts the containers of this fork only.
    let ids =
        "docker ps -q --no-trunc | sort | xargs docker inspect -f '{{.Name}} {{.State.StartedAt}}'";
    let before = node.ok(ids).await;
    many.says("dm reset --hard HEAD").await;
    let after = node.ok(ids).await;
    let same = before.lines().filter(|line| !line.contains("-many"));
    for line in same {
        assert!(after.contains(line), "{line} in {after}");
    }
    assert_ne!(before, after);
    // The branch has no commit, so its state is the empty one. An undo brings the data back, and leaves the others alone.
    many.says("dm undo").await;
    many.ready().await?;
    assert_eq!(many.sql("select text from notes").await, "many");
    assert_eq!(login.sql("select text from notes").await, "login");
    let refused = node.fails("cd ~/many && dm checkout master").await;
    assert!(refused.contains("stays on branch many"), "{refused}");
    let refused = node.fails("dm checkout many").await;
    assert!(refused.contains("branch many has a fork"), "{refused}");

    // `dm up` again changes nothing.
    let running = node.ok(ids).await;
    for tree in [&login, &many] {
        tree.ok("dm up").await;
    }
    assert_eq!(node.ok(ids).await, running);

    // Plain Compose in the work tree is another app, and `dm status` says so.
    let ps = node.ok("cd ~ && dm ps").await;
    assert!(
        ps.contains("feature/login") && ps.contains("running"),
        "{ps}"
    );
    let env = login.ok("dm env").await;
    let url = login.ok("dm url web").await;
    assert!(env.contains(&format!("WEB_URL={url}")), "{env}");

    // Down keeps the data and the ports.
    login.says("dm down").await;
    let ps = node.ok("cd ~ && dm ps").await;
    assert!(ps.contains("stopped"), "{ps}");
    login.ok("dm up").await;
    login.ready().await?;
    assert_eq!(login.ok("dm url web").await, url);
    assert_eq!(login.sql("select text from notes").await, "login");

    // A deletion can be undone, and the others go on.
    node.says("cd ~ && dm down many --delete").await;
    let branches = node.ok("dm branch").await;
    assert!(!branches.contains("many"), "{branches}");
    node.says("dm undo").await;
    many.ok("dm up").await;
    many.ready().await?;
    assert_eq!(many.sql("select text from notes").await, "many");
    assert_eq!(node.sql("select text from notes").await, "app");
    Ok(())
}
