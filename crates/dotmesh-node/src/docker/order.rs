//! The order in which containers are started: each after those that it depends on.
//!
//! Compose writes what a service depends on into a label, from version 2 on. Version 1 does not, but creates containers in
//! the order of their dependencies; so among those of one project, the age decides. Links, shared volumes and shared
//! namespaces are dependencies for everyone.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";
const DEPENDS_ON: &str = "com.docker.compose.depends_on";

/// What is known of a container's dependencies.
#[derive(Debug, Clone, Default)]
pub(super) struct Node {
    pub(super) id: String,
    pub(super) name: String,
    /// To the nanosecond: Compose creates several within a second.
    pub(super) created: Timestamp,
    pub(super) labels: HashMap<String, String>,
    /// `/target:/source/alias`
    pub(super) links: Vec<String>,
    /// `target[:mode]`
    pub(super) volumes_from: Vec<String>,
    /// Network, IPC and PID modes; `container:target` among them.
    pub(super) namespaces: Vec<String>,
}

impl Node {
    fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).map(String::as_str)
    }

    fn depends_on(&self, other: &Self) -> bool {
        let is_other = |target: &str| {
            let target = target.trim_start_matches('/');
            target == other.name || (target.len() >= 12 && other.id.starts_with(target))
        };
        let first = |text: &str| text.split(':').next().unwrap_or_default().to_owned();
        self.links.iter().any(|link| is_other(&first(link)))
            || self.volumes_from.iter().any(|from| is_other(&first(from)))
            || self
                .namespaces
                .iter()
                .any(|mode| mode.strip_prefix("container:").is_some_and(is_other))
            || self.depends_within_project(other)
    }

    fn depends_within_project(&self, other: &Self) -> bool {
        if self.label(PROJECT).is_none() || self.label(PROJECT) != other.label(PROJECT) {
            return false;
        }
        match self.label(DEPENDS_ON) {
            Some(services) => services
                .split(',')
                .filter_map(|service| service.split(':').next())
                .any(|service| Some(service) == other.label(SERVICE)),
            None => other.created < self.created,
        }
    }
}

/// Ids in steps; a cycle, which nobody can start in order, becomes one last step.
pub(super) fn steps(nodes: &[Node]) -> Vec<Vec<String>> {
    let mut waiting: Vec<&Node> = nodes.iter().collect();
    let mut steps = Vec::new();
    while !waiting.is_empty() {
        let ready: HashSet<&str> = waiting
            .iter()
            .filter(|node| {
                !waiting
                    .iter()
                    .any(|other| other.id != node.id && node.depends_on(other))
            })
            .map(|node| node.id.as_str())
            .collect();
        let (step, rest): (Vec<&Node>, Vec<&Node>) = waiting
            .into_iter()
            .partition(|node| ready.is_empty() || ready.contains(node.id.as_str()));
        steps.push(step.into_iter().map(|node| node.id.clone()).collect());
        waiting = rest;
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::{Node, steps};

    fn node(name: &str, created: i64, labels: &[(&str, &str)]) -> Node {
        Node {
            id: format!("{name}-id"),
            name: name.to_owned(),
            created: jiff::Timestamp::from_nanosecond(created.into()).unwrap(),
            labels: labels
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            ..Node::default()
        }
    }

    #[test]
    fn strangers_start_together() {
        let nodes = [node("a", 1, &[]), node("b", 2, &[])];
        assert_eq!(steps(&nodes), [["a-id", "b-id"]]);
    }

    #[test]
    fn links_and_shared_namespaces_come_first() {
        let mut web = node("web", 1, &[]);
        web.links = vec!["/redis:/web/redis".to_owned()];
        let mut sidecar = node("sidecar", 1, &[]);
        sidecar.namespaces = vec!["container:web".to_owned()];
        let nodes = [sidecar, web, node("redis", 9, &[])];
        assert_eq!(steps(&nodes), [["redis-id"], ["web-id"], ["sidecar-id"]]);
    }

    #[test]
    fn compose_says_it_in_a_label_or_by_age() {
        let labels = |service, depends| {
            vec![
                ("com.docker.compose.project", "p"),
                ("com.docker.compose.service", service),
                ("com.docker.compose.depends_on", depends),
            ]
        };
        let app = node(
            "app",
            1,
            &labels("app", "db:service_started:false,cache:service_started:true"),
        );
        let db = node("db", 2, &labels("db", ""));
        let cache = node("cache", 3, &labels("cache", ""));
        assert_eq!(
            steps(&[app, db, cache]),
            [vec!["db-id", "cache-id"], vec!["app-id"]]
        );

        let project = [("com.docker.compose.project", "p")];
        let nodes = [
            node("young", 2, &project),
            node("old", 1, &project),
            node("other", 3, &[]),
        ];
        assert_eq!(
            steps(&nodes),
            [vec!["old-id", "other-id"], vec!["young-id"]]
        );
    }

    #[test]
    fn a_cycle_is_started_all_the_same() {
        let mut a = node("a", 1, &[]);
        a.links = vec!["/b:/a/b".to_owned()];
        let mut b = node("b", 1, &[]);
        b.links = vec!["/a:/b/a".to_owned()];
        assert_eq!(steps(&[a, b]), [["a-id", "b-id"]]);
    }
}
