//! Finds files that look like secrets among those that a push adds to a public dot. It goes by their names: this warns
//! about oversights, and does not prove that there are no secrets.

use std::fs::{self, File, Metadata};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use dotmesh_model::branch_name::is_deceptive;
use dotmesh_model::secret_names::{PEM_LENGTH, Suspicion, has_private_key, suspicion};

/// The number of paths in the error.
const SHOWN: usize = 10;

/// The files found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Suspects {
    /// Their number.
    pub(super) count: usize,
    /// The paths of the first few.
    pub(super) first: Vec<String>,
}

impl Suspects {
    /// Searches a commit's data for files that its parent does not have, if the parent's data is here. Skips unreadable
    /// files: sealing the commit fails on them, and says why.
    pub(super) fn look(&mut self, data: &Path, parent: Option<&Path>) {
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            let entries = fs::read_dir(data.join(&folder)).into_iter().flatten();
            let mut entries: Vec<_> = entries.flatten().collect();
            entries.sort_by_key(fs::DirEntry::file_name);
            for entry in entries {
                let path = folder.join(entry.file_name());
                // Both calls do not follow symbolic links.
                let (Ok(kind), Ok(metadata)) = (entry.file_type(), entry.metadata()) else {
                    continue;
                };
                if kind.is_dir() {
                    folders.push(path);
                } else if kind.is_file()
                    && is_suspicious(&entry)
                    && !is_as_before(&metadata, parent, &path)
                {
                    self.add(&path);
                }
            }
        }
    }

    fn add(&mut self, path: &Path) {
        self.count += 1;
        if self.first.len() < SHOWN {
            let text = path.display().to_string();
            let shown = |c| if is_deceptive(c) { '\u{fffd}' } else { c };
            self.first.push(text.chars().map(shown).collect());
        }
    }
}

/// Whether the parent has the same file, judged by size and modification time.
fn is_as_before(file: &Metadata, parent: Option<&Path>, path: &Path) -> bool {
    let before = parent.and_then(|parent| fs::symlink_metadata(parent.join(path)).ok());
    before.is_some_and(|before| {
        before.len() == file.len() && before.modified().ok() == file.modified().ok()
    })
}

fn is_suspicious(entry: &fs::DirEntry) -> bool {
    match suspicion(entry.file_name().as_bytes()) {
        Suspicion::Secret => true,
        Suspicion::PerhapsKey => {
            let mut beginning = Vec::new();
            let reading = File::open(entry.path())
                .map(|file| file.take(PEM_LENGTH as u64).read_to_end(&mut beginning));
            reading.is_ok() && has_private_key(&beginning)
        }
        Suspicion::None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "-----BEGIN EC PRIVATE KEY-----\nAA==\n-----END EC PRIVATE KEY-----\n";

    fn look(files: &[(&str, &str)], parent: Option<&Path>) -> (tempfile::TempDir, Vec<String>) {
        let folder = tempfile::tempdir().expect("a folder");
        for (path, content) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(path, content).expect("a file");
        }
        let mut found = Suspects::default();
        found.look(folder.path(), parent);
        assert_eq!(found.count, found.first.len());
        (folder, found.first)
    }

    #[test]
    fn secrets_are_told_by_their_names() {
        let (_folder, found) = look(
            &[
                ("app/.env", "KEY=1"),
                ("app/.env.production", "KEY=1"),
                ("app/.env.example", "KEY="),
                ("app/env", "x"),
                ("app/ssh/id_rsa", KEY),
                ("app/ssh/id_rsa.pub", "ssh-rsa AA"),
                ("db/.pgpass", "x"),
                ("db/server.key", KEY),
                ("db/server.pem", "-----BEGIN CERTIFICATE-----"),
                ("files/Credentials.JSON", "{}"),
                ("files/credentials.json.md", "x"),
                ("files/keyboard.key", "qwerty"),
                ("files/store.p12", "x"),
            ],
            None,
        );
        let expected = [
            "app/.env",
            "app/.env.production",
            "app/ssh/id_rsa",
            "db/.pgpass",
            "db/server.key",
            "files/Credentials.JSON",
            "files/store.p12",
        ];
        let mut found = found;
        found.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_the_parent_has_is_not_told_again() {
        let (before, _) = look(&[(".env", "old"), ("db/.pgpass", "same")], None);
        let copied = |name: &str, folder: &Path| {
            let from = File::open(before.path().join(name)).expect("a file");
            let time = from
                .metadata()
                .expect("metadata")
                .modified()
                .expect("a time");
            let to = File::options().write(true).open(folder.join(name));
            to.expect("a file")
                .set_modified(time)
                .expect("its own file");
        };
        let (after, _) = look(&[(".env", "newer"), ("db/.pgpass", "same")], None);
        copied("db/.pgpass", after.path());
        let mut found = Suspects::default();
        found.look(after.path(), Some(before.path()));
        assert_eq!(found.first, [".env"]);
    }

    #[test]
    fn links_are_not_followed_and_no_name_deceives() {
        let (folder, _) = look(&[("a/x", "x")], None);
        std::os::unix::fs::symlink("/", folder.path().join("root")).expect("a link");
        std::os::unix::fs::symlink("/nowhere", folder.path().join(".env")).expect("a link");
        fs::create_dir(folder.path().join("b\u{202e}\u{1b}[2J")).expect("a folder");
        fs::write(folder.path().join("b\u{202e}\u{1b}[2J/.netrc"), "x").expect("a file");
        let mut found = Suspects::default();
        found.look(folder.path(), None);
        assert_eq!(found.first, ["b\u{fffd}\u{fffd}[2J/.netrc"]);
    }
}
