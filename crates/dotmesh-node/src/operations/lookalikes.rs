//! Finds empty dots that were made beside a cloned dot by mistake, because Compose ran under another project name.
//!
//! Compose prefixes a volume's name with its project's name, and derives that from the folder. Versions differ:
//! `mobycounter` or `moby-counter`. So a clone of `mobycounter_app` stays unused, and `moby-counter_app` is silently
//! created.

use dotmesh_api::node::Lookalike;
use dotmesh_model::CommitId;

use crate::engine::Container;
use crate::error::NodeError;
use crate::node::Node;
use crate::registry::{Dot, MadeBy};

/// All such dots. A dot with a commit is not one any more.
pub(crate) async fn lookalikes(node: &Node) -> Result<Vec<Lookalike>, NodeError> {
    let made = node.registry.made_by().await?;
    let dots = node.registry.dots().await?;
    let by = |maker: MadeBy| {
        let made = made
            .iter()
            .enumerate()
            .filter(move |(_, (_, by))| *by == maker);
        made.filter_map(|(at, (id, _))| Some((at, dots.iter().find(|dot| dot.id == *id)?)))
    };
    let is_empty = |dot: &Dot| {
        let mut branches = dot.branches.values();
        branches.all(|branch| branch.head == CommitId::ROOT)
    };
    let pairs: Vec<(&Dot, &Dot)> = by(MadeBy::Docker)
        .filter(|(_, dot)| is_empty(dot))
        .flat_map(|(at, dot)| {
            let cloned = by(MadeBy::Clone).filter(move |(then, _)| *then < at);
            cloned.map(move |(_, cloned)| (dot, cloned))
        })
        .filter(|(dot, cloned)| dot.name.namespace == cloned.name.namespace)
        .collect();
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    // If Docker is down, compare only the names.
    let containers = node.docker.active().await.unwrap_or_default();
    let mut found: Vec<Lookalike> = Vec::new();
    for (dot, cloned) in pairs {
        let known = found.iter().any(|known| known.id == dot.id);
        let project = project_of(dot, &containers);
        if let Some(likeness) = likeness(dot.name.name(), cloned.name.name(), project)
            // If the clone is in use, the empty dot belongs to another app.
            && (likeness.is_spelling || !containers.iter().any(|one| one.uses_dot(&cloned.name)))
            && !known
        {
            found.push(Lookalike {
                dot: dot.name.clone(),
                id: dot.id.clone(),
                cloned: cloned.name.clone(),
                project: likeness.project,
            });
        }
    }
    Ok(found)
}

/// The Compose project in the labels of a dot's containers.
fn project_of<'a>(dot: &Dot, containers: &'a [Container]) -> Option<&'a str> {
    let mut users = containers.iter().filter(|one| one.uses_dot(&dot.name));
    users.find_map(|one| one.label("com.docker.compose.project"))
}

/// In what way two names are similar.
#[derive(Debug, PartialEq, Eq)]
struct Likeness {
    /// Whether they differ only in characters that Compose changes.
    is_spelling: bool,
    /// The Compose project of the cloned dot.
    project: Option<String>,
}

/// Compares the name of a new dot with that of a cloned one. `project` is the Compose project that made the new dot.
fn likeness(made: &str, cloned: &str, project: Option<&str>) -> Option<Likeness> {
    // The name is `PROJECT_VOLUME`. Both parts may contain `_`, so only the project's name tells where to split.
    let volume = match project {
        Some(project) => made.strip_prefix(project)?.strip_prefix('_'),
        None => made.rsplit_once('_').map(|(_, volume)| volume),
    };
    let project_of_clone = volume
        .filter(|volume| !volume.is_empty())
        .and_then(|volume| cloned.strip_suffix(volume)?.strip_suffix('_'))
        .filter(|project| !project.is_empty())
        .map(str::to_owned);
    let is_spelling = plain(made) == plain(cloned);
    let is_alike = made != cloned && (is_spelling || project_of_clone.is_some());
    is_alike.then_some(Likeness {
        is_spelling,
        project: project_of_clone,
    })
}

/// The name without the characters that Compose's versions treat differently, in lowercase.
fn plain(name: &str) -> String {
    let kept = name.chars().filter(|c| !"-_.".contains(*c));
    kept.flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::likeness;

    #[test]
    fn names_are_alike_by_spelling_or_by_the_volume() {
        let check =
            |made: &str, cloned: &str, project: Option<&str>| match likeness(made, cloned, project)
            {
                None => "no".to_owned(),
                Some(found) => format!(
                    "{} {}",
                    if found.is_spelling {
                        "spelling"
                    } else {
                        "volume"
                    },
                    found.project.as_deref().unwrap_or("?")
                ),
            };
        let cloned = "mobycounter_app";
        assert_eq!(
            check("moby-counter_app", cloned, None),
            "spelling mobycounter"
        );
        assert_eq!(
            check("moby-counter_app", cloned, Some("moby-counter")),
            "spelling mobycounter"
        );
        assert_eq!(
            check("Moby_Counter_App", cloned, None),
            "spelling ?",
            "no project makes the clone's volume of this one"
        );
        assert_eq!(check("shop_app", cloned, None), "volume mobycounter");
        assert_eq!(
            check("my_shop_app", cloned, Some("my_shop")),
            "volume mobycounter"
        );
        assert_eq!(
            check("shop_my_app", "moby_my_app", Some("shop")),
            "volume moby"
        );
        assert_eq!(
            check("shop_my_app", "moby_app", Some("shop")),
            "no",
            "the volume is my_app"
        );
        assert_eq!(check("shop_db", cloned, None), "no");
        assert_eq!(check("app", cloned, None), "no", "not of Compose");
        assert_eq!(check("shop_app", "app", None), "no");
        assert_eq!(check("shop_app", "myapp", None), "no");
        assert_eq!(check("moby-app", "mobyapp", None), "spelling ?");
        assert_eq!(check(cloned, cloned, None), "no");
        assert_eq!(
            check("app", cloned, Some("shop")),
            "no",
            "a volume with a name of its own"
        );
    }
}
