//! `dm hook` with the real git, where no node answers.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use insta::assert_snapshot;

use crate::binary::Home;

/// A repository with the branches `main` and `other`.
struct Repository {
    home: Home,
    top: PathBuf,
}

impl Repository {
    fn new() -> Self {
        let home = Home::new();
        // The path that git prints has no symbolic links.
        let top = home.path().canonicalize().unwrap().join("shop");
        std::fs::create_dir(&top).unwrap();
        let settings = "[user]\n\tname = A\n\temail = a@example.com\n";
        std::fs::write(home.path().join(".gitconfig"), settings).unwrap();
        let repository = Self { home, top };
        repository.git("init -q -b main");
        std::fs::write(repository.top.join("compose.yaml"), "services: {}\n").unwrap();
        repository.git("add .");
        repository.git("commit -q -m one");
        repository.git("branch other");
        repository
    }

    /// A command in the work tree, which finds `dm` as users do.
    fn command(&self, folder: &Path, line: &str) -> Command {
        let built = Path::new(env!("CARGO_BIN_EXE_dm")).parent().unwrap();
        let mut command = Command::new("sh");
        command
            .args(["-c", line])
            .current_dir(folder)
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", format!("{}:/usr/bin:/bin", built.display()))
            .env("DOTMESH_SOCKET", self.home.path().join("api.sock"))
            .stdin(Stdio::null());
        command
    }

    /// Stdout, stderr and the exit code of a line of shell.
    fn run_in(&self, folder: &Path, line: &str) -> String {
        self.home
            .shown(&self.command(folder, line).output().unwrap())
    }

    fn run(&self, line: &str) -> String {
        self.run_in(&self.top, line)
    }

    fn git(&self, line: &str) {
        let said = self.run(&format!("git {line}"));
        assert!(said.ends_with("--- 0\n"), "git {line}: {said}");
    }

    fn hook(&self) -> PathBuf {
        self.top.join(".git/hooks/post-checkout")
    }
}

fn write(path: &Path, text: &str, mode: u32) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// What the hook says without a node.
const AWAY: &str = "dotmesh: the dot stays as it is: the node does not answer\n";

#[test]
fn a_hook_is_added_once_and_removed() {
    let shop = Repository::new();
    assert_snapshot!(shop.run("dm hook install"), @r"
    ---
    Added to $HOME/shop/.git/hooks/post-checkout: the dot follows git's branch
    --- 0
    ");
    assert_snapshot!(shop.run("dm hook install"), @r"
    ---
    $HOME/shop/.git/hooks/post-checkout has the lines already
    --- 0
    ");
    assert_snapshot!(shop.run("cat .git/hooks/post-checkout"), @r#"
    #!/bin/sh
    # >>> dotmesh >>> The dot follows git's branch. 'dm hook uninstall' removes these lines.
    if [ "$3" = 1 ] && command -v dm >/dev/null 2>&1; then (
        # With git's variables, all of dm's questions would be about this repository.
        unset $(git rev-parse --local-env-vars)
        dm hook post-checkout '.'
    ) || :; fi
    # <<< dotmesh <<<
    ---
    --- 0
    "#);
    // Without a node, git's command succeeds, and one line says so.
    assert_eq!(
        shop.run("git checkout -q other"),
        format!("---\n{AWAY}--- 0\n")
    );
    assert_eq!(
        shop.run("git switch -q -c third"),
        format!("---\n{AWAY}--- 0\n")
    );
    // Files, detached heads and the same branch are no change of the branch.
    assert_eq!(shop.run("git checkout -q -- compose.yaml"), "---\n--- 0\n");
    assert_eq!(shop.run("git checkout -q --detach"), "---\n--- 0\n");
    assert_snapshot!(shop.run("dm hook uninstall --json"), @r#"
    {
      "file": "$HOME/shop/.git/hooks/post-checkout",
      "changed": true
    }
    ---
    --- 0
    "#);
    assert!(!shop.hook().exists());
    assert_eq!(shop.run("git checkout -q main"), "---\n--- 0\n");
    assert_snapshot!(shop.run("dm hook uninstall"), @r"
    ---
    $HOME/shop/.git/hooks/post-checkout has no lines of dm
    --- 0
    ");
}

#[test]
fn a_hook_of_the_user_goes_on() {
    let shop = Repository::new();
    let own = "#!/usr/bin/env bash\nset -eu\necho \"$0 $3\" >>ran\nexit 7\n";
    write(&shop.hook(), own, 0o750);
    shop.run("dm hook install");
    let said = shop.run("git checkout -q other");
    // Git fails as the user's own lines make it fail.
    assert_eq!(said, format!("---\n{AWAY}--- 1\n"));
    assert_eq!(read(&shop.top.join("ran")), ".git/hooks/post-checkout 1\n");
    let mode = std::fs::metadata(shop.hook()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o750);
    shop.run("dm hook uninstall");
    assert_eq!(read(&shop.hook()), own);

    // What `dm` cannot add to stays as it is.
    for (text, mode, why) in [
        ("#!/usr/bin/env python3\n", 0o755, "is no shell script"),
        ("#!/bin/sh\n", 0o644, "is not executable"),
    ] {
        write(&shop.hook(), text, mode);
        let said = shop.run("dm hook install");
        assert!(said.contains(why) && said.ends_with("--- 1\n"), "{said}");
        assert_eq!(read(&shop.hook()), text);
    }
    let script = shop.top.join("script");
    write(&script, own, 0o755);
    std::fs::remove_file(shop.hook()).unwrap();
    std::os::unix::fs::symlink(&script, shop.hook()).unwrap();
    let said = shop.run("dm hook install");
    assert!(said.contains("is no file but a link"), "{said}");
    assert_eq!(read(&script), own);
}

#[test]
fn the_hook_belongs_where_git_looks_for_it() {
    let shop = Repository::new();
    let home = shop.top.parent().unwrap().to_owned();
    shop.git("config core.hooksPath .githooks");
    std::fs::create_dir(shop.top.join("src")).unwrap();
    let said = shop.run_in(&shop.top.join("src"), "dm hook install");
    assert_snapshot!(said, @r"
    ---
    Added to $HOME/shop/.githooks/post-checkout: the dot follows git's branch
    hint: The hook is in the work tree, so other work trees have it only once it is committed.
    --- 0
    ");
    assert_eq!(
        shop.run("git checkout -q other"),
        format!("---\n{AWAY}--- 0\n")
    );

    // A folder that is not the repository's is changed only if the user says so.
    shop.git(&format!("config core.hooksPath {}/hooks", home.display()));
    let refused = shop.run("dm hook install");
    assert_snapshot!(refused, @r"
    ---
    Warning: core.hooksPath is $HOME/hooks, which is outside of this repository, so other repositories may use these hooks, too
    Error: nothing was done: this needs a confirmation, but stdin is not a terminal
    hint: Run it again with --yes to skip the question.
    --- 1
    ");
    assert!(!home.join("hooks").exists());
    shop.run("dm hook install --yes");
    assert_eq!(
        shop.run("git checkout -q main"),
        format!("---\n{AWAY}--- 0\n")
    );
    assert!(shop.run("dm hook uninstall").ends_with("--- 1\n"));
    shop.run("dm hook uninstall --yes");
    assert!(!home.join("hooks/post-checkout").exists());

    // Hooks are off.
    shop.git("config core.hooksPath /dev/null");
    let said = shop.run("dm hook install");
    assert!(
        said.contains("git's hooks belong in /dev/null, which is no folder"),
        "{said}"
    );
    let said = shop.run_in(&home, "dm hook install");
    assert!(said.contains("not a git repository"), "{said}");
}

#[test]
fn all_work_trees_have_the_hook() {
    let shop = Repository::new();
    shop.git("worktree add -q ../login other");
    let login = shop.top.parent().unwrap().join("login");
    let said = shop.run_in(&login, "dm hook install");
    assert!(
        said.contains("$HOME/shop/.git/hooks/post-checkout:"),
        "{said}"
    );
    for folder in [&shop.top, &login] {
        let said = shop.run_in(
            folder,
            &format!(
                "git checkout -q -b from-{}",
                folder.file_name().unwrap().display()
            ),
        );
        assert_eq!(said, format!("---\n{AWAY}--- 0\n"));
    }
    shop.run("dm hook uninstall");
    assert!(!shop.hook().exists());
}

#[test]
fn apps_may_be_below_the_top() {
    let shop = Repository::new();
    for app in ["front end", "back"] {
        write(
            &shop.top.join(app).join("compose.yaml"),
            "services: {}\n",
            0o644,
        );
        let said = shop.run_in(&shop.top.join(app), "dm hook install");
        assert!(
            said.contains(&format!("the dot of {app} follows")),
            "{said}"
        );
    }
    let text = read(&shop.hook());
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("dm hook p"))
        .collect();
    assert_eq!(
        lines,
        [
            "    dm hook post-checkout 'back'",
            "    dm hook post-checkout 'front end'"
        ]
    );
    // A folder that is not there on this branch is no problem.
    std::fs::remove_dir_all(shop.top.join("back")).unwrap();
    assert_eq!(
        shop.run("git checkout -q other"),
        format!("---\n{AWAY}--- 0\n")
    );
}

#[test]
fn nothing_happens_while_git_moves_by_itself() {
    let shop = Repository::new();
    shop.run("dm hook install");
    for number in 1..=3 {
        std::fs::write(shop.top.join("file"), format!("{number}\n")).unwrap();
        shop.git("add . ");
        shop.git(&format!("commit -q -m file-{number}"));
    }
    let said =
        shop.run("git bisect start -q HEAD HEAD~3 2>&1 && git bisect bad && git bisect reset");
    assert!(!said.contains("dotmesh"), "{said}");
    // A conflict stops the rebase, and the user looks at another branch.
    shop.run(
        "git checkout -q -b mine HEAD~3 && echo mine >file && git add . && git commit -qm mine",
    );
    let said = shop.run("git rebase main; git checkout -q -f other");
    assert!(
        said.contains("conflict") || said.contains("CONFLICT"),
        "{said}"
    );
    assert!(!said.contains("dotmesh"), "{said}");
}

#[test]
fn a_wrong_dotmesh_toml_is_told_in_a_line() {
    let shop = Repository::new();
    shop.run("dm hook install");
    std::fs::write(shop.top.join("dotmesh.toml"), "on-new-branch = 'always'\n").unwrap();
    let said = shop.run("git checkout -q other");
    assert!(
        said.contains("dotmesh: the dot stays as it is: $HOME/shop/dotmesh.toml is not"),
        "{said}"
    );
    assert!(
        said.ends_with("--- 0\n") && said.lines().count() == 3,
        "{said}"
    );
}
