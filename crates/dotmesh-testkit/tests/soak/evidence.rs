//! Evidence of a violation: how the nodes' copies of a commit differ.

use std::collections::BTreeSet;

use anyhow::Result;

use crate::world::{SOON, World};

/// Lists a snapshot: each entry with its attributes, and each file with its hash.
const LIST: &str = "find . -printf '%p %y %m %U:%G %s bytes, %T@ -> %l\\n' | sort; \
    find . -type f -print0 | sort -z | xargs -0 sha256sum";

impl World {
    /// For each commit that a violation names, prints how the nodes' snapshots differ.
    pub(crate) async fn show_evidence(&mut self) -> Result<()> {
        let text = self.report.to_string();
        let words = text.split(|letter: char| !letter.is_ascii_hexdigit());
        let ids: BTreeSet<&str> = words
            .filter(|word| self.model.commits.contains_key(*word))
            .collect();
        for id in ids {
            let mut lists = Vec::new();
            for node in &self.nodes {
                let folder = format!("/var/lib/dotmesh/pool/dots/admin/app/commits/{id}/data");
                let line = format!("cd {folder} && {LIST}");
                // A damaged pool may not answer.
                let list = tokio::time::timeout(SOON, node.run(&line)).await?;
                let lines = list.stdout.lines().map(str::to_owned);
                lists.push(lines.collect::<BTreeSet<String>>());
            }
            if lists.iter().any(BTreeSet::is_empty) {
                continue;
            }
            let (first, second) = (&lists[0], &lists[1]);
            let alike = first.intersection(second).count();
            self.report
                .say(&format!("evidence: {alike} lines of commit {id} are alike"));
            for (name, lines) in [
                ("first", first.difference(second)),
                ("second", second.difference(first)),
            ] {
                for line in lines.take(40) {
                    self.report
                        .say(&format!("  only on the {name} node: {line}"));
                }
            }
        }
        Ok(())
    }
}
