//! Asks git about the folder that `dm` runs in: the author, and the version of the code.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use dotmesh_model::CodeVersion;
use serde::Deserialize;

use crate::error::{CliError, Code, Result};

/// A commit of data does not wait longer for git than this.
const PATIENCE: Duration = Duration::from_secs(10);

/// The settings that git tells of while it looks at the work tree.
const SETTINGS: &str = "user.name,user.email,remote.*.url,branch.*.remote,url.*.insteadof";

/// The person whose rights git has, and whose settings it reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Its number.
    pub uid: u32,
    /// The number of its group.
    pub gid: u32,
    /// Its home.
    pub home: Option<PathBuf>,
}

/// What git says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// `Name <email>`, or one of them.
    pub author: Option<String>,
    /// The commit that is checked out. `None` outside a work tree, and before the first commit.
    pub code: Option<CodeVersion>,
}

/// Asks git once about the work tree of a folder. `person` is who ran `sudo`: with root's rights, git would run programs that
/// the settings of a foreign repository name, so it refuses to look into one.
pub async fn ask(folder: &Path, person: Option<&Person>) -> Said {
    if work_tree(folder).is_some() {
        let status = ["status", "--porcelain=v2", "--branch"];
        if let Some(output) = run(folder, &status, person).await
            && output.status.success()
        {
            return read(&output.stdout, &output.stderr);
        }
    }
    let settings = ["config", "--get-regexp", r"^user\.(name|email)$"];
    let output = run(folder, &settings, person).await;
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let mut known = Settings::default();
    for line in text.unwrap_or_default().lines() {
        if let Some((name, value)) = line.split_once(' ') {
            known.set(name, value);
        }
    }
    let (author, code) = (known.author(), None);
    Said { author, code }
}

/// Reads git's status, and the events in which it tells of its settings and of the work tree.
fn read(status: &[u8], events: &[u8]) -> Said {
    let mut known = Settings::default();
    for line in events.split(|byte| *byte == b'\n') {
        match serde_json::from_slice(line) {
            Ok(Event::DefParam { param, value }) => known.set(&param, &value),
            Ok(Event::DefRepo { worktree }) => known.work_tree = Some(worktree),
            // Other events, and warnings.
            Ok(Event::Other) | Err(_) => {}
        }
    }
    let text = String::from_utf8_lossy(status);
    let header = |name: &str| {
        let mut lines = text.lines();
        lines.find_map(|line| {
            line.strip_prefix("# branch.")?
                .strip_prefix(name)?
                .strip_prefix(' ')
        })
    };
    let branch = header("head").filter(|name| *name != "(detached)");
    let commit = header("oid").filter(|id| *id != "(initial)");
    let code = commit.map(|commit| CodeVersion {
        remote: known.remote(branch),
        branch: branch.map(str::to_owned),
        commit: commit.to_owned(),
        dirty: text.lines().any(|line| !line.starts_with('#')),
        work_tree: known.work_tree.clone(),
    });
    Said {
        author: known.author(),
        code,
    }
}

/// An event as git writes it with `GIT_TRACE2_EVENT`.
#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Event {
    DefParam {
        param: String,
        #[serde(default)]
        value: String,
    },
    DefRepo {
        worktree: String,
    },
    #[serde(other)]
    Other,
}

/// Git's settings, in the order in which git reads them. The last one of a name counts.
#[derive(Debug, Default)]
struct Settings {
    all: Vec<(String, String)>,
    work_tree: Option<String>,
}

impl Settings {
    fn set(&mut self, name: &str, value: &str) {
        self.all.push((name.to_owned(), value.to_owned()));
    }

    fn get(&self, name: &str) -> Option<&str> {
        let mut found = self.all.iter().rev();
        let (_, value) = found.find(|(known, _)| known == name)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }

    fn author(&self) -> Option<String> {
        match (self.get("user.name"), self.get("user.email")) {
            (Some(name), Some(email)) => Some(format!("{name} <{email}>")),
            (name, email) => name.or(email).map(str::to_owned),
        }
    }

    /// Where others find the code: the remote that the branch follows, else `origin`, else the first.
    fn remote(&self, branch: Option<&str>) -> Option<String> {
        let url = |name: &str| {
            let key = format!("remote.{name}.url");
            // Of several addresses git fetches from the first.
            let (_, url) = self.all.iter().find(|(known, _)| *known == key)?;
            Some(url.as_str())
        };
        let followed = branch.and_then(|branch| self.get(&format!("branch.{branch}.remote")));
        let first = || {
            let mut names = self.all.iter();
            names.find(|(name, _)| name.starts_with("remote.") && name.ends_with(".url"))
        };
        let url = followed
            .and_then(url)
            .or_else(|| url("origin"))
            .or_else(|| first().map(|(_, url)| url.as_str()))?;
        let url = without_credentials(&self.instead_of(url));
        Some(absolute(&url, self.work_tree.as_deref()))
    }

    /// The address that the settings `url.BASE.insteadOf` make of one. The longest beginning counts.
    fn instead_of(&self, url: &str) -> String {
        let bases = self.all.iter().filter_map(|(name, begin)| {
            let base = name.strip_prefix("url.")?.strip_suffix(".insteadof")?;
            Some((base, url.strip_prefix(begin.as_str())?))
        });
        match bases.min_by_key(|(_, rest)| rest.len()) {
            Some((base, rest)) => format!("{base}{rest}"),
            None => url.to_owned(),
        }
    }
}

/// The work tree that a folder is in. This looks for `.git` itself, as git refuses work trees of another user.
pub fn work_tree(folder: &Path) -> Option<PathBuf> {
    let folder = folder.canonicalize().ok()?;
    let mut ancestors = folder.ancestors();
    ancestors
        .find(|folder| folder.join(".git").exists())
        .map(Path::to_owned)
}

/// Returns the URL. A path relative to the work tree's top becomes an absolute one.
pub fn absolute(url: &str, work_tree: Option<&str>) -> String {
    match work_tree {
        Some(top) if url.starts_with("./") || url.starts_with("../") => format!("{top}/{url}"),
        _ => url.to_owned(),
    }
}

/// Removes passwords and tokens from a URL.
pub fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        // `git@host:path` has a user but no password. Anything else is a path.
        return url.to_owned();
    };
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, ""),
    };
    let (login, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let user = login.split(':').next().unwrap_or("");
    // Over HTTP, the user may be a token. Over SSH, the user is necessary and not a secret.
    if user.is_empty() || !scheme.contains("ssh") {
        format!("{scheme}://{host}{path}")
    } else {
        format!("{scheme}://{user}@{host}{path}")
    }
}

/// The branch that is checked out in the work tree of a folder.
pub async fn branch(folder: &Path) -> Option<String> {
    let said = run(folder, &["symbolic-ref", "--short", "-q", "HEAD"], None).await?;
    let name = String::from_utf8_lossy(&said.stdout).trim().to_owned();
    (said.status.success() && !name.is_empty()).then_some(name)
}

/// All work trees of the repository of a folder, the main one first.
pub async fn work_trees(folder: &Path) -> Vec<PathBuf> {
    let said = run(folder, &["worktree", "list", "--porcelain"], None).await;
    let text = said.map(|said| String::from_utf8_lossy(&said.stdout).into_owned());
    let text = text.unwrap_or_default();
    let trees = text
        .lines()
        .filter_map(|line| line.strip_prefix("worktree "));
    trees.map(PathBuf::from).collect()
}

/// Where git keeps what belongs to a work tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folders {
    /// The top of the work tree.
    pub top: PathBuf,
    /// What all work trees of the repository share, usually `.git` of the main one.
    pub common: PathBuf,
    /// The hooks that git runs in this work tree.
    pub hooks: PathBuf,
}

/// Asks git for the folders of the work tree that a folder is in.
pub async fn folders(folder: &Path) -> Result<Folders> {
    let top = PathBuf::from(say(folder, &["rev-parse", "--show-toplevel"]).await?);
    // Git prints paths that are relative to the folder in which it runs. A relative `core.hooksPath` is relative to the top.
    let words = ["rev-parse", "--git-common-dir", "--git-path", "hooks"];
    let said = say(&top, &words).await?;
    let (common, hooks) = said.split_once('\n').unwrap_or((&said, ".git/hooks"));
    Ok(Folders {
        common: top.join(common),
        hooks: top.join(hooks),
        top,
    })
}

/// Whether git moves through commits by itself: a rebase or a bisection is under way.
pub async fn is_moving(folder: &Path) -> bool {
    let marks = ["rebase-merge", "rebase-apply", "BISECT_LOG"];
    let words = marks.iter().flat_map(|mark| ["--git-path", mark]);
    let words: Vec<&str> = std::iter::once("rev-parse").chain(words).collect();
    let said = say(folder, &words).await.unwrap_or_default();
    said.lines().any(|path| folder.join(path).exists())
}

/// What git prints, without the last line's end.
async fn say(folder: &Path, arguments: &[&str]) -> Result<String> {
    let shown = || format!("'git {}' failed", arguments.join(" "));
    let Some(output) = run(folder, arguments, None).await else {
        return Err(CliError::io(shown()).hint("Check that git is installed."));
    };
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    // The other lines are events.
    let said: Vec<&str> = said.lines().filter(|line| !line.starts_with('{')).collect();
    Err(CliError::new(Code::Refused, shown()).because(said.join("\n")))
}

async fn run(folder: &Path, arguments: &[&str], person: Option<&Person>) -> Option<Output> {
    let mut git = tokio::process::Command::new("git");
    // A question must not get in the way of the user's own git.
    git.arg("--no-optional-locks")
        .args(arguments)
        .current_dir(folder)
        .env("GIT_TRACE2_EVENT", "2")
        .env("GIT_TRACE2_CONFIG_PARAMS", SETTINGS)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    if let Some(person) = person {
        git.uid(person.uid)
            .gid(person.gid)
            .env_remove("XDG_CONFIG_HOME");
        if let Some(home) = &person.home {
            git.env("HOME", home);
        }
    }
    tokio::time::timeout(PATIENCE, git.output())
        .await
        .ok()?
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn root_asks_as_the_person_who_ran_sudo() {
        assert!(
            rustix::process::geteuid().is_root(),
            "only root gives up rights: run this test as root"
        );
        let folder = tempfile::tempdir().expect("a folder");
        let home = folder.path();
        let settings = "[user]\n\tname = Ann\n\temail = ann@example.com\n";
        std::fs::write(home.join(".gitconfig"), settings).expect("a file");
        let give = |path: &Path| std::os::unix::fs::chown(path, Some(65534), Some(65534));
        give(home).expect("a change of owner");
        let person = Person {
            uid: 65534,
            gid: 65534,
            home: Some(home.to_owned()),
        };
        for line in [
            &["init", "-q", "-b", "trunk", "shop"][..],
            &["-C", "shop", "commit", "-q", "--allow-empty", "-m", "first"],
        ] {
            let made = run(home, line, Some(&person)).await.expect("git");
            assert!(made.status.success(), "{made:?}");
        }
        let shop = home.join("shop");
        let said = ask(&shop, Some(&person)).await;
        assert_eq!(said.author.as_deref(), Some("Ann <ann@example.com>"));
        let code = said.code.expect("a version of the code");
        assert_eq!((code.branch.as_deref(), code.dirty), (Some("trunk"), false));
        // Outside of a work tree there is an author all the same.
        let outside = ask(home, Some(&person)).await;
        assert_eq!(outside.author.as_deref(), Some("Ann <ann@example.com>"));
        assert_eq!(outside.code, None);
    }

    #[test]
    fn all_is_read_from_one_answer() {
        let status = b"# branch.oid 65074c81c348ba05841cea147bc4cb6e1e4a2e77\n\
            # branch.head feature/login\n\
            # branch.upstream team/feature/login\n\
            1 .M N... 100644 100644 100644 3dfd 3dfd README.md\n";
        let setting = |name: &str, value: &str| {
            format!(r#"{{"event":"def_param","scope":"local","param":"{name}","value":"{value}"}}"#)
        };
        let events = [
            r#"{"event":"version","evt":"4","exe":"2.47.3"}"#.to_owned(),
            "warning: something".to_owned(),
            r#"{"event":"def_repo","repo":1,"worktree":"/home/alice/shop"}"#.to_owned(),
            setting("user.name", "Everybody"),
            setting("user.name", "Alice"),
            setting("user.email", "alice@example.com"),
            setting("url.https://git.example.com/.insteadof", "work:"),
            setting("remote.origin.url", "https://example.com/shop"),
            setting("remote.team.url", "work:shop"),
            setting("branch.feature/login.remote", "team"),
        ];
        let said = read(status, events.join("\n").as_bytes());
        assert_eq!(said.author.as_deref(), Some("Alice <alice@example.com>"));
        let code = said.code.expect("there is a commit");
        assert_eq!(code.remote.as_deref(), Some("https://git.example.com/shop"));
        assert_eq!(code.branch.as_deref(), Some("feature/login"));
        assert_eq!(code.commit, "65074c81c348ba05841cea147bc4cb6e1e4a2e77");
        assert_eq!(code.work_tree.as_deref(), Some("/home/alice/shop"));
        assert!(code.dirty);

        let initial = read(b"# branch.oid (initial)\n# branch.head main\n", b"");
        assert_eq!(initial, Said::default());
        let detached = read(b"# branch.oid 65074c81\n# branch.head (detached)\n", b"");
        let code = detached.code.expect("there is a commit");
        assert_eq!((code.branch, code.remote, code.dirty), (None, None, false));
    }
}
