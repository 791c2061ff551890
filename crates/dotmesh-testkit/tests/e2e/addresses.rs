//! URLs of commits and branches: a push prints one, `dm open` opens it, and a colleague pastes it.

use anyhow::Result;
use dotmesh_testkit::Network;

use crate::world::{Hub, Node, Team};

impl Node {
    /// Adds a file and commits; returns the commit's id.
    async fn kept(&self, name: &str) -> String {
        self.in_volume("app", &format!("echo {name} >/v/{name}"))
            .await;
        self.ok(&format!("dm commit -m {name}")).await;
        self.head().await
    }

    async fn head(&self) -> String {
        let log = self.ok("dm log -n 1").await;
        let first = log.lines().next().unwrap_or_default();
        first.split(' ').nth(1).unwrap_or_default().to_owned()
    }

    async fn files_of(&self, dot: &str) -> String {
        self.in_volume(dot, "ls -m /v").await.trim().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_tells_where_its_commit_can_be_seen() -> Result<()> {
    let Team { hub, alice, .. } = Team::start().await?;
    let dot = format!("{}/alice/app", hub.url);
    let refused = alice.fails("dm open").await;
    assert!(refused.contains("No current dot"), "{refused}");
    let first = alice.kept("one").await;
    let refused = alice.fails("dm open --print").await;
    assert!(
        refused.contains("was not found on any remote")
            && refused.contains("hint: Send it with 'dm push'."),
        "{refused}"
    );
    assert_eq!(
        alice.ok("dm push hub").await,
        format!("{dot}/commit/{first}\n")
    );
    assert_eq!(
        alice.ok("dm push hub").await,
        format!("{dot}/commit/{first}\n"),
        "up to date"
    );
    alice.ok("dm checkout -b many-users").await;
    let second = alice.kept("two").await;
    assert_eq!(
        alice.ok("dm push hub").await,
        format!("{dot}/commit/{second}\n")
    );
    let all = alice.ok("dm push hub --all").await;
    assert_eq!(
        all,
        format!("{dot}/commit/{second}\n{dot}/commit/{first}\n")
    );

    for (line, address) in [
        ("dm open --print", format!("{dot}/commit/{second}")),
        ("dm open --print HEAD^", format!("{dot}/commit/{first}")),
        ("dm open --print master", format!("{dot}/commit/{first}")),
        (
            "dm open --print --branch",
            format!("{dot}/commits/many-users"),
        ),
        (
            "dm open --print --branch master",
            format!("{dot}/commits/master"),
        ),
        ("dm open --print --overview", dot.clone()),
        (
            "dm open --print --remote hub",
            format!("{dot}/commit/{second}"),
        ),
        // `BROWSER` names a command of the user's choice, or nothing usable.
        (
            "BROWSER=false:echo dm open",
            format!("{dot}/commit/{second}"),
        ),
        ("BROWSER=false dm open", format!("{dot}/commit/{second}")),
        ("dm open", format!("{dot}/commit/{second}")),
    ] {
        assert_eq!(alice.ok(line).await, format!("{address}\n"), "{line}");
    }

    let third = alice.kept("three").await;
    let refused = alice.fails("dm open").await;
    assert!(
        refused.contains(&format!(
            "commit {} of app was not found on any remote",
            &third[..10]
        )),
        "{refused}"
    );
    let refused = alice.fails("dm open --print --branch absent").await;
    assert!(
        refused.contains("branch absent of app was not found on any remote"),
        "{refused}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_cloned_as_it_was_pasted() -> Result<()> {
    let Team { hub, alice, bob } = Team::start().await?;
    let first = alice.kept("one").await;
    alice.ok("dm checkout -b many-users").await;
    let second = alice.kept("two").await;
    let third = alice.kept("three").await;
    alice.ok("dm push hub").await;
    let dot = format!("{}/alice/app", hub.url);

    // To Bob, a dot without access does not exist.
    let refused = bob.fails(&format!("dm clone {dot}/commit/{second}")).await;
    assert!(refused.contains("there is no dot alice/app"), "{refused}");
    hub.collaborate("alice/app", "bob", "read").await?;

    // Whole dots, branches, and commits in every form.
    bob.ok(&format!(
        "dm clone '{dot}?tab=branches#top' --local-name whole"
    ))
    .await;
    assert_eq!(
        bob.ok("dm switch whole && dm branch").await,
        "  many-users\n* master\n"
    );
    for (address, name, branch, head, files) in [
        (
            format!("{dot}/tree/many-users/data/a%20b?x=1#L3"),
            "tree",
            "many-users",
            &third,
            "one, three, two",
        ),
        (
            format!("{dot}/commits/master"),
            "branch",
            "master",
            &first,
            "one",
        ),
        (
            format!("{dot}/commit/{third}"),
            "head",
            "many-users",
            &third,
            "one, three, two",
        ),
        (
            format!("{dot}/commit/{first}"),
            "first",
            "master",
            &first,
            "one",
        ),
        (
            format!("{dot}/commit/{second}"),
            "between",
            &format!("at-{}", &second[..10]),
            &second,
            "one, two",
        ),
        (
            format!("{dot}/tree/{}", &second[..8]),
            "prefix",
            &format!("at-{}", &second[..10]),
            &second,
            "one, two",
        ),
        (
            format!("hub alice/app@{}", &second[..6]),
            "at",
            &format!("at-{}", &second[..10]),
            &second,
            "one, two",
        ),
        (
            "alice/app@many-users".to_owned(),
            "at-branch",
            "many-users",
            &third,
            "one, three, two",
        ),
    ] {
        bob.ok(&format!(
            "dm clone '{}' --local-name {name}",
            address.replace(' ', "' '")
        ))
        .await;
        bob.ok(&format!("dm switch {name}")).await;
        let branches = bob.ok("dm branch").await;
        assert!(
            branches.contains(&format!("* {branch}\n")),
            "{name}: {branches}"
        );
        assert_eq!(bob.head().await, *head, "{name}");
        assert_eq!(bob.files_of(name).await, files, "{name}");
    }

    // The dot is already on this node, with a running app. The clone checks out what the URL names.
    bob.ok(&format!("dm clone {dot}/commits/many-users")).await;
    bob.ok("dm switch app").await;
    bob.keep_running("app", "app").await;
    let told = bob
        .run(&format!("dm clone {dot}/commit/{second}"))
        .await
        .success()
        .stderr;
    let branch = format!("at-{}", &second[..10]);
    assert!(
        told.contains(&format!("On branch '{branch}' of app"))
            && told.contains("Restarted containers: app"),
        "{told}"
    );
    assert_eq!(bob.ok("docker exec app ls -m /v").await, "one, two\n");
    // Pasting the URL again does not undo later commits.
    let mine = bob.kept("mine").await;
    let told = bob
        .run(&format!("dm clone {dot}/commit/{second}"))
        .await
        .success()
        .stderr;
    assert!(
        told.contains(&format!("branch {branch} has newer commits here than")),
        "{told}"
    );
    assert_eq!(bob.head().await, mine);

    for (line, reason, hint) in [
        (
            format!("{dot}/compare/master...many-users"),
            "compares two states, master and many-users",
            "Clone one of them",
        ),
        (
            format!("{dot}/commits/absent"),
            "alice/app has no branch, tag or commit 'absent'",
            "lists its branches and tags",
        ),
        (
            format!("{dot}/commit/{}", "0".repeat(31) + "1"),
            "has no branch, tag or commit",
            "",
        ),
        (
            format!("{dot}/commit/012345678"),
            "alice/app has no branch, tag or commit '012345678'",
            "",
        ),
        (
            "https://hub.example.com/alice/app".to_owned(),
            "cannot reach https://hub.example.com",
            "",
        ),
        (
            hub.url.clone(),
            "is not the address of a dot's page",
            "Paste the address of a dot",
        ),
    ] {
        let refused = bob
            .fails(&format!("dm clone {line} --local-name refused"))
            .await;
        assert!(
            refused.contains(reason) && refused.contains(hint),
            "{line}: {refused}"
        );
    }
    assert!(!bob.dots().await.contains(&"refused".to_owned()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_approved_in_the_browser() -> Result<()> {
    let Team { hub, alice, .. } = Team::start().await?;
    hub.set_password("alice", "correct horse").await?;
    alice.ok("dm remote rm hub").await;
    let refused = alice
        .fails(&format!("echo dmk_wrong | dm login {} --key", hub.url))
        .await;
    assert!(refused.contains("Permission denied"), "{refused}");

    // The script stands for a browser: it logs in, types the code that `dm` shows, and approves.
    let browser = "#!/bin/sh -e\n\
        code=$(sed -n 's/.*type the code //p' $HOME/told) hub=${1%/-/*} jar=$(mktemp)\n\
        page() { curl -fsS -o /dev/null -c $jar -b $jar -H \"Origin: $hub\" \"$@\"; }\n\
        page -d user=alice -d 'password=correct horse' $hub/-/login\n\
        page -d decision=${DECISION:-approve} -d code=$code $hub/-/authorize\n";
    alice
        .ok(&format!(
            "cat >browser <<'EOT'\n{browser}EOT\nchmod +x browser"
        ))
        .await;
    let denied = alice
        .fails(&format!(
            "DECISION=deny BROWSER=./browser dm login {} 2>~/told || {{ cat ~/told >&2; false; }}",
            hub.url
        ))
        .await;
    assert!(denied.contains("was denied"), "{denied}");
    assert_eq!(alice.ok("dm remote").await, "");

    let line = format!(
        "BROWSER=./browser dm login {} --name team 2>~/told; cat ~/told",
        hub.url
    );
    let told = alice.ok(&line).await;
    assert!(
        told.contains("/-/authorize\n") && told.contains("as alice, with the remote 'team'"),
        "{told}"
    );
    alice.kept("one").await;
    alice.ok("dm push").await;
    // A second login makes another key for the same remote.
    let key = alice.ok("grep api_key ~/.config/dotmesh/config").await;
    alice
        .ok(&format!("BROWSER=./browser dm login {} 2>~/told", hub.url))
        .await;
    assert_ne!(alice.ok("grep api_key ~/.config/dotmesh/config").await, key);
    assert_eq!(alice.ok("dm remote").await, "team\n");
    alice.kept("two").await;
    alice.ok("dm push").await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_has_any_name_that_git_takes() -> Result<()> {
    let Team { hub, alice, bob } = Team::start().await?;
    let first = alice.kept("one").await;
    alice.ok("dm checkout -b feature/login").await;
    let second = alice.kept("two").await;
    alice.ok("dm checkout -b v1.2 feature/login^").await;
    assert_eq!(alice.head().await, first);
    let third = alice.kept("three").await;
    assert_eq!(
        alice.ok("dm branch").await,
        "  feature/login\n  master\n* v1.2\n"
    );
    assert_eq!(alice.cell("app", 2).await, "v1.2");
    for (line, reason) in [
        (
            "dm checkout -b HEAD",
            "HEAD stands for the commit that is checked out",
        ),
        (
            "dm checkout -b feature//login",
            "a part between slashes is empty",
        ),
        (
            "dm checkout -b feature/login",
            "Branch already exists: feature/login",
        ),
        ("dm checkout feature", "Branch does not exist: feature"),
        (
            "dm checkout feature~2flogin",
            "'feature~2flogin' does not name a commit",
        ),
        ("dm log v1.2~9", "Commits don't go back that far"),
        (
            "docker volume create -d dm app@feature~2Flogin",
            "does not spell a branch name",
        ),
        (
            "docker volume create -d dm app@v1.2.db",
            "write a '.' in BRANCH as ~2e",
        ),
    ] {
        let refused = alice.fails(line).await;
        assert!(refused.contains(reason), "{line}: {refused}");
    }

    // Pinned volumes take the encoded name. Without a dot in it, the plain name works, too.
    alice.keep_running("pinned", "app@feature~2flogin").await;
    assert_eq!(alice.files_of("app@feature/login").await, "one, two");
    assert_eq!(alice.files_of("app@v1~2e2").await, "one, three");
    let running = alice.started_at(&["pinned"]).await;
    alice.keep_running("follows", "app").await;
    alice.ok("dm checkout feature/login").await;
    assert_eq!(alice.started_at(&["pinned"]).await, running);
    assert_eq!(alice.ok("docker exec follows ls -m /v").await, "one, two\n");
    let folder = alice.folder_of("app@feature~2flogin").await;
    assert!(
        folder.contains("/branches/feature~2flogin/data/"),
        "{folder}"
    );
    alice.ok("docker rm -f follows pinned").await;

    alice.ok("dm push hub app feature/login").await;
    alice.ok("dm push hub app v1.2").await;
    let dot = format!("{}/alice/app", hub.url);
    for (line, address) in [
        (
            "dm open --print --branch",
            format!("{dot}/commits/feature~2flogin"),
        ),
        (
            "dm open --print --branch v1.2",
            format!("{dot}/commits/v1~2e2"),
        ),
        ("dm open --print v1.2", format!("{dot}/commit/{third}")),
        ("dm open --print v1.2~1", format!("{dot}/commit/{first}")),
    ] {
        assert_eq!(alice.ok(line).await, format!("{address}\n"), "{line}");
    }

    hub.collaborate("alice/app", "bob", "write").await?;
    for (words, name, branch, head) in [
        (
            format!("{dot}/commits/feature~2flogin"),
            "app",
            "feature/login",
            &second,
        ),
        (
            format!("{dot}/tree/feature%2Flogin/data"),
            "encoded",
            "feature/login",
            &second,
        ),
        (
            format!("{dot}/commits/feature/login"),
            "typed",
            "feature/login",
            &second,
        ),
        ("alice/app@v1.2".to_owned(), "at", "v1.2", &third),
        ("hub alice/app v1.2".to_owned(), "named", "v1.2", &third),
    ] {
        bob.ok(&format!("dm clone {words} --local-name {name}"))
            .await;
        bob.ok(&format!("dm switch {name}")).await;
        let branches = bob.ok("dm branch").await;
        assert!(branches.contains(&format!("* {branch}\n")), "{branches}");
        assert_eq!(bob.head().await, *head, "{name}");
    }

    // Both sides continue on the branch.
    bob.ok("dm switch app").await;
    assert_eq!(bob.files_of("app@feature~2flogin").await, "one, two");
    alice.kept("four").await;
    alice.ok("dm push hub").await;
    bob.ok("dm pull hub app feature/login").await;
    assert_eq!(bob.files_of("app@feature~2flogin").await, "four, one, two");
    bob.kept("five").await;
    alice.kept("six").await;
    alice.ok("dm push hub").await;
    let told = bob.run("dm pull hub --stash-on-divergence").await;
    let told = told.success().stderr;
    assert!(
        told.contains("the local line is now branch 'feature/login-DIVERGED-"),
        "{told}"
    );
    assert_eq!(bob.files_of("app").await, "four, one, six, two");
    let branches = bob.ok("dm branch").await;
    let stash = branches.lines().find(|line| line.contains("-DIVERGED-"));
    let stash = stash.unwrap_or_default().trim().replace('/', "~2f");
    assert_eq!(
        bob.files_of(&format!("app@{stash}")).await,
        "five, four, one, two"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_dot_is_cloned_without_a_login() -> Result<()> {
    let network = Network::start().await?;
    let hub = Hub::start(&network).await?;
    let (alice, bob) =
        tokio::try_join!(Node::start(&network, "alice"), Node::start(&network, "bob"))?;
    let key = hub.add_user("alice").await?;
    alice
        .ok(&format!("echo {key} | dm remote add hub alice@{}", hub.url))
        .await;
    let first = alice.kept("one").await;
    alice.ok("dm push hub").await;
    let dot = format!("{}/alice/app", hub.url);

    // A private dot does not exist for strangers.
    let refused = bob.fails(&format!("dm clone {dot}")).await;
    assert!(
        refused.contains("this needs a login") && refused.contains("dm login"),
        "{refused}"
    );
    assert_eq!(bob.ok("dm remote -v").await, "");

    alice
        .ok(&format!(
            "curl -fsS -u alice:{key} -X PATCH {}/api/v1/dots/alice/app/settings -d '{{\"visibility\":\"public\"}}'",
            hub.url
        ))
        .await;
    bob.ok(&format!("dm clone {dot}/commit/{first}")).await;
    assert_eq!(bob.files_of("app").await, "one");
    let second = alice.kept("two").await;
    alice.ok("dm push hub").await;
    bob.ok("dm pull").await;
    assert_eq!(
        (bob.head().await, bob.files_of("app").await),
        (second, "one, two".to_owned())
    );
    let refused = bob.fails("dm push").await;
    assert!(
        refused.contains("a push needs an account") && refused.contains("hint: Log in there first"),
        "{refused}"
    );

    // A login gives the remote its account.
    let key = hub.add_user("bob").await?;
    bob.ok(&format!("echo {key} | dm login --key {}", hub.url))
        .await;
    let remotes = bob.ok("dm remote -v").await;
    assert_eq!(remotes.lines().count(), 1, "{remotes}");
    assert!(remotes.contains("bob@"), "{remotes}");
    bob.ok("dm pull").await;
    Ok(())
}
