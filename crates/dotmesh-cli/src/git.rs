//! Asks git about the folder that `dm` runs in: the author, and the version of the code.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use dotmesh_model::CodeVersion;

/// The timeout of each git command, so that a hanging git does not block `dm commit`.
const PATIENCE: Duration = Duration::from_secs(10);

/// `Name <email>` from git's configuration. Only one of the two if the other is missing.
pub async fn author() -> Option<String> {
    let (name, email) = tokio::join!(
        git(&["config", "--get", "user.name"]),
        git(&["config", "--get", "user.email"])
    );
    match (name, email) {
        (Some(name), Some(email)) => Some(format!("{name} <{email}>")),
        (name, email) => name.or(email),
    }
}

/// The commit that is checked out, or `None` outside a work tree and before the first commit.
pub async fn code_version() -> Option<CodeVersion> {
    if git(&["rev-parse", "--is-inside-work-tree"]).await? != "true" {
        return None;
    }
    let commit = git(&["rev-parse", "--verify", "HEAD^{commit}"]).await?;
    let (branch, status, work_tree) = tokio::join!(
        git(&["symbolic-ref", "--short", "-q", "HEAD"]),
        output(&["status", "--porcelain"]),
        git(&["rev-parse", "--show-toplevel"])
    );
    let remote = remote(branch.as_deref()).await;
    let remote = remote.map(|url| absolute(&url, work_tree.as_deref()));
    // If `git status` failed, assume that there are changes.
    let dirty = status.is_none_or(|changes| !changes.is_empty());
    Some(CodeVersion {
        remote,
        branch,
        commit,
        dirty,
        work_tree,
    })
}

/// The work tree that a folder is in. This looks for `.git` itself, as git refuses work trees of another user.
pub fn work_tree(folder: &Path) -> Option<PathBuf> {
    let folder = folder.canonicalize().ok()?;
    let mut ancestors = folder.ancestors();
    ancestors
        .find(|folder| folder.join(".git").exists())
        .map(Path::to_owned)
}

/// The URL of the code's remote: the one that the branch tracks, else `origin`, else the first.
async fn remote(branch: Option<&str>) -> Option<String> {
    let followed = match branch {
        Some(branch) => git(&["config", "--get", &format!("branch.{branch}.remote")]).await,
        None => None,
    };
    let names = git(&["remote"]).await?;
    let known = |name: &&str| names.lines().any(|known| known == *name);
    let name = followed.as_deref().filter(known);
    let name = name
        .or(Some("origin").filter(known))
        .or(names.lines().next())?;
    git(&["remote", "get-url", name])
        .await
        .map(|url| without_credentials(&url))
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

/// The output of a git command. `None` if git fails, is missing, or prints nothing.
async fn git(arguments: &[&str]) -> Option<String> {
    output(arguments).await.filter(|text| !text.is_empty())
}

async fn output(arguments: &[&str]) -> Option<String> {
    let output = tokio::process::Command::new("git")
        // These commands only read, and must not lock the index against the user's own git.
        .arg("--no-optional-locks")
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, output).await.ok()?.ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
