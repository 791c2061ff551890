//! Chooses the image that opens a database: the one that the commit recorded, or one like it that is here.

use dotmesh_api::{ErrorBody, ErrorCode};
use dotmesh_model::{CommitRecord, ImageUse};
use dotmesh_rows::model::{DatabaseKind, Store};

use crate::engine::throwaway::{LocalImage, Workshop};
use crate::error::NodeError;

/// Images to try, the best one first.
pub(super) async fn choose(
    workshop: &Workshop,
    record: Option<&CommitRecord>,
    store: &Store,
    state: &str,
) -> Result<Vec<String>, NodeError> {
    let local = workshop.images().await.map_err(|error| NodeError::Docker {
        doing: format!("looking for an image that opens {store}"),
        message: error.to_string(),
    })?;
    let recorded = record
        .map(|record| record.images.as_slice())
        .unwrap_or_default();
    let recorded = of_store(recorded, store);
    let found = find(&local, &recorded, store);
    if !found.is_empty() {
        return Ok(found);
    }
    let wanted = match recorded.first() {
        Some(used) => used.image.clone(),
        None => usual(store),
    };
    let message = format!("no image that opens {store} of {state} is on this machine");
    let error = ErrorBody::new(ErrorCode::NotFound, message);
    Err(error.hint(format!("Pull it: docker pull {wanted}")).into())
}

/// Names in images of a kind.
fn words(kind: DatabaseKind) -> &'static [&'static str] {
    match kind {
        DatabaseKind::Postgres => &["postgres", "postgis", "timescale", "pgvector"],
        DatabaseKind::Mariadb => &["mariadb", "maria"],
        DatabaseKind::Mysql => &["mysql", "percona"],
        DatabaseKind::Redis => &["redis", "valkey", "keydb"],
        DatabaseKind::Sqlite => &[],
    }
}

/// The image that most people use.
fn usual(store: &Store) -> String {
    let name = words(store.kind).first().copied().unwrap_or_default();
    let version = match store.kind {
        DatabaseKind::Postgres => store.version.as_str(),
        DatabaseKind::Mariadb => store
            .version
            .rsplit_once('.')
            .map_or("", |(version, _)| version),
        _ => "",
    };
    match version {
        "" => name.to_owned(),
        version => format!("{name}:{version}"),
    }
}

/// The recorded images of containers that had the store's subdot. Those that sound like its kind come first.
fn of_store<'a>(images: &'a [ImageUse], store: &Store) -> Vec<&'a ImageUse> {
    let has_it = |used: &&ImageUse| {
        let mut mounts = used.mounts.iter();
        mounts.any(|mount| mount.subdot == store.subdot || mount.subdot == "__root__")
    };
    let mut found: Vec<&ImageUse> = images.iter().filter(has_it).collect();
    // Earlier versions did not record what a container had mounted.
    if found.is_empty() {
        let is_like =
            |used: &&ImageUse| used.mounts.is_empty() && sounds_like(store.kind, &used.image);
        found = images.iter().filter(is_like).collect();
    }
    found.sort_by_key(|used| !sounds_like(store.kind, &used.image));
    found
}

fn sounds_like(kind: DatabaseKind, image: &str) -> bool {
    words(kind).iter().any(|word| image.contains(word))
}

/// The repository and the tag of an image's name.
fn split(image: &str) -> (&str, &str) {
    let image = image.split('@').next().unwrap_or(image);
    match image.rsplit_once(':') {
        // The part after a port of a registry has a slash.
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (image, "latest"),
    }
}

/// A repository without the registry that is meant if none is named.
fn bare(repository: &str) -> &str {
    let without = ["docker.io/library/", "docker.io/", "library/", "localhost/"];
    without
        .iter()
        .find_map(|prefix| repository.strip_prefix(prefix))
        .unwrap_or(repository)
}

fn major(tag: &str) -> &str {
    let end = tag.find(|letter: char| !letter.is_ascii_digit());
    &tag[..end.unwrap_or(tag.len())]
}

fn find(local: &[LocalImage], recorded: &[&ImageUse], store: &Store) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut add = |id: &String| {
        if !found.contains(id) {
            found.push(id.clone());
        }
    };
    for used in recorded {
        let same = local
            .iter()
            .filter(|image| image.id == used.digest || image.digests.contains(&used.digest));
        same.for_each(|image| add(&image.id));
    }
    for used in recorded {
        let (repository, tag) = split(&used.image);
        let wanted = match store.kind {
            // The format of the files tells which version can read them.
            DatabaseKind::Postgres => major(&store.version),
            _ => major(tag),
        };
        for image in local {
            let mut tags = image.tags.iter().map(|tag| split(tag));
            let is_exact =
                |(other, its): (&str, &str)| bare(other) == bare(repository) && its == tag;
            let is_like = |(other, its): (&str, &str)| {
                bare(other) == bare(repository) && !wanted.is_empty() && major(its) == wanted
            };
            if tags.clone().any(is_exact) || tags.any(is_like) {
                add(&image.id);
            }
        }
    }
    // Nobody recorded which image it was, or it is not of a public repository.
    for word in words(store.kind) {
        for image in local {
            let fits = |(repository, tag): (&str, &str)| {
                let name = bare(repository).rsplit('/').next().unwrap_or_default();
                let is_version =
                    store.kind != DatabaseKind::Postgres || major(tag) == major(&store.version);
                name == *word && is_version
            };
            if image.tags.iter().map(|tag| split(tag)).any(fits) {
                add(&image.id);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use dotmesh_model::commit::MountUse;

    use super::*;

    fn store(kind: DatabaseKind, version: &str) -> Store {
        Store {
            subdot: "db".to_owned(),
            path: String::new(),
            kind,
            version: version.to_owned(),
        }
    }

    fn local(id: &str, tag: &str, digest: &str) -> LocalImage {
        LocalImage {
            id: id.to_owned(),
            tags: vec![tag.to_owned()],
            digests: vec![digest.to_owned()],
        }
    }

    fn used(image: &str, digest: &str) -> ImageUse {
        ImageUse {
            image: image.to_owned(),
            digest: digest.to_owned(),
            mounts: vec![MountUse {
                subdot: "db".to_owned(),
                path: "/data".to_owned(),
            }],
            ..ImageUse::default()
        }
    }

    #[test]
    fn the_recorded_image_comes_before_one_like_it() {
        let here = [
            local("a", "postgres:15-alpine", "postgres@sha256:1"),
            local("b", "registry:5000/own/db:3", "own@sha256:2"),
            local("c", "postgres:16", "postgres@sha256:3"),
        ];
        let recorded = used("registry:5000/own/db:3", "own@sha256:2");
        let images = [recorded];
        let of = of_store(&images, &store(DatabaseKind::Postgres, "15"));
        assert_eq!(
            find(&here, &of, &store(DatabaseKind::Postgres, "15")),
            ["b", "a"]
        );
        let other = [used("postgres:15.4", "postgres@sha256:9")];
        let of = of_store(&other, &store(DatabaseKind::Postgres, "15"));
        assert_eq!(
            find(&here, &of, &store(DatabaseKind::Postgres, "15")),
            ["a"]
        );
        assert_eq!(
            find(&here, &[], &store(DatabaseKind::Postgres, "14")),
            Vec::<String>::new()
        );
        assert_eq!(usual(&store(DatabaseKind::Postgres, "14")), "postgres:14");
    }
}
