//! People who share a node: with sudo, and as members of the group `dotmesh`.

use anyhow::Result;
use dotmesh_testkit::Network;

use crate::world::Node;

impl Node {
    /// Runs a line as a person who has logged in.
    fn as_person(name: &str, line: &str) -> String {
        let quoted = line.replace('\'', r"'\''");
        format!(
            "cd /run/people/{name} && setpriv --reuid={name} --regid={name} --init-groups \
             env HOME=/run/people/{name} USER={name} LOGNAME={name} sh -ec '{quoted}'"
        )
    }

    /// Makes a git work tree of a person, and returns its commit.
    async fn code_of(&self, name: &str) -> String {
        let line = format!(
            "git init -q code && cd code && git config user.name {name} && git config user.email {name}@example.com && \
             echo code >file && git add . && git commit -q -m one && git rev-parse HEAD"
        );
        let commit = self.ok(&Self::as_person(name, &line)).await;
        commit.trim().to_owned()
    }

    /// Fails unless the newest commit has the person as its author, and the version of the person's code.
    async fn is_by(&self, name: &str, code: &str) -> Result<()> {
        let log = self.commits("HEAD --dot app -n 1").await?;
        let commit = &log[0];
        assert_eq!(
            (&commit["author"], &commit["code"]["commit"]),
            (&format!("{name} <{name}@example.com>").into(), &code.into()),
            "{log}"
        );
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_commit_with_sudo_and_as_members_of_the_group() -> Result<()> {
    let machine = Network::start().await?.machine("alice").await?;
    machine
        .run(
            "mkdir /run/people && sed -i /^dotmesh:/d /etc/group && echo dotmesh:x:2999:dave >>/etc/group && \
             number=3000 && for name in carol dave; do number=$((number + 1)) && \
             echo $name:x:$number:$number::/run/people/$name:/bin/sh >>/etc/passwd && echo $name:x:$number: >>/etc/group && \
             mkdir /run/people/$name && chown $name:$name /run/people/$name; done",
        )
        .await
        .success();
    let node = Node::start_in(machine, &[]).await?;
    node.keep_running("web", "app.files").await;

    // Carol is no member. With sudo she is root, and her git and her name count.
    let code = node.code_of("carol").await;
    let commit = "dm --dot app commit -m one";
    node.says_no(&Node::as_person("carol", commit), &["usermod -aG dotmesh"])
        .await;
    // This is the environment that sudo makes.
    let with_sudo = format!(
        "cd /run/people/carol/code && env -i PATH=\"$PATH\" TERM=dumb SHELL=/bin/sh HOME=\"$HOME\" USER=root LOGNAME=root \
         SUDO_COMMAND='/usr/local/bin/{commit}' SUDO_USER=carol SUDO_UID=$(id -u carol) SUDO_GID=$(id -g carol) {commit}"
    );
    node.ok(&with_sudo).await;
    node.is_by("carol", &code).await?;
    // Git did not leave files of root in her work tree.
    let owners = "find /run/people/carol ! -user carol";
    assert_eq!(node.ok(owners).await, "");

    // Dave is a member, and needs no rights of root.
    let code = node.code_of("dave").await;
    node.ok("docker exec web sh -c 'echo two >/v/file'").await;
    node.ok(&Node::as_person("dave", &format!("cd code && {commit}")))
        .await;
    node.is_by("dave", &code).await?;
    let listed = node.ok(&Node::as_person("dave", "dm list -H")).await;
    assert!(listed.contains("app"), "{listed}");
    // A variable that anybody may set does not make him somebody else.
    let line = format!("cd code && SUDO_USER=carol SUDO_UID=1 SUDO_GID=1 {commit}");
    node.ok(&Node::as_person("dave", &line)).await;
    node.is_by("dave", &code).await
}
