//! `/OWNER/DOT/tree/REF/PATH`: the folders and files of a commit.

use askama::Template;
use axum::extract::State;
use dotmesh_api::page::Reference;
use dotmesh_browse::TreePath;
use dotmesh_browse::content::FileBytes;
use dotmesh_browse::entries::DirectoryListing;
use dotmesh_browse::file_type::{self, FileType};
use dotmesh_browse::path::shown;
use dotmesh_hub_db::paging::Part;
use dotmesh_hub_model::access::Action;
use dotmesh_hub_model::show;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::operations::objects_of_dot::DotReader;
use dotmesh_model::BranchName;
use dotmesh_store::{EntryName, Inode, InodeKind};
use serde::Deserialize;

use crate::error::HttpError;
use crate::extract::DotPath;
use crate::web::query::Query;
use crate::web::tree_address::{OpenCommit, TreeAddress, address};
use crate::web::visit::{DotHeader, Tab};
use crate::web::{Page, Visit, go, highlight, markdown, render};

/// The most entries of a folder on a page.
const PAGE: usize = 500;

/// The most branches, and the most tags, to choose from.
const MAX_CHOICES: u32 = 100;

/// The largest README that is shown below its folder, in bytes.
const MAX_README: u64 = 256 << 10;

/// The common parts of the pages of a folder and of a file.
struct Place {
    reference: Reference,
    path: TreePath,
    commit: dotmesh_hub_service::operations::describe_commit::CommitDetails,
    branches: Vec<BranchName>,
    tags: Vec<BranchName>,
}

impl Place {
    async fn new(hub: &Hub, at: TreeAddress, open: &OpenCommit) -> Result<Self, HttpError> {
        let id = open.dot.existing()?;
        let branches = hub.database.newest_branches(id, MAX_CHOICES).await?;
        let part = Part {
            after: None,
            limit: MAX_CHOICES,
        };
        let tags = hub.database.tags(id, part).await?;
        let branches = branches.into_iter().map(|branch| branch.name);
        let tags = tags.into_iter().map(|tag| tag.name);
        Ok(Self {
            reference: at.reference,
            path: at.path,
            commit: open.commit.clone(),
            branches: branches.collect(),
            tags: tags.collect(),
        })
    }

    /// Returns the address of the same path as another kind of content, under the same reference. `in_reference` takes
    /// another reference, and `permalink` takes the commit.
    fn here(&self, dot: &DotHeader, kind: &str) -> String {
        address(dot, kind, &self.reference, &self.path)
    }

    fn in_reference(&self, dot: &DotHeader, name: &BranchName) -> String {
        address(dot, "tree", &name.clone().into(), &self.path)
    }

    fn permalink(&self, dot: &DotHeader) -> String {
        address(dot, "tree", &self.commit.id.into(), &self.path)
    }

    fn top(&self, dot: &DotHeader) -> String {
        address(dot, "tree", &self.reference, &TreePath::default())
    }

    fn is_at(&self, name: &BranchName) -> bool {
        name.as_str() == self.reference.as_str()
    }

    /// Returns the reference's name, or the first digits of the commit's id.
    fn shown_reference(&self) -> String {
        if self.reference == self.commit.id.into() {
            self.short_commit()
        } else {
            self.reference.to_string()
        }
    }

    fn below(&self, dot: &DotHeader, name: &EntryName) -> String {
        address(dot, "tree", &self.reference, &self.path.join(name))
    }

    /// Returns the location of a text in a folder of this commit.
    fn markdown(&self, dot: &DotHeader, folder: &TreePath) -> markdown::TextPlace {
        markdown::TextPlace {
            dot: dot.url(),
            reference: self.reference.clone(),
            folder: folder.address(),
        }
    }

    fn history(&self, dot: &DotHeader) -> String {
        if self.branches.iter().any(|name| self.is_at(name)) {
            format!("{}/commits/{}", dot.url(), self.reference.spelling())
        } else {
            format!("{}/commit/{}", dot.url(), self.commit.id)
        }
    }

    /// Returns the folders on the way, each with its name and address.
    fn crumbs(&self, dot: &DotHeader) -> Vec<(String, String)> {
        let crumb = |path: TreePath| {
            let name = path.last().map(|name| shown(name.as_bytes()));
            let address = address(dot, "tree", &self.reference, &path);
            (name.unwrap_or_default(), address)
        };
        self.path.ancestors().map(crumb).collect()
    }

    fn title(&self) -> String {
        if self.path.is_root() {
            self.reference.to_string()
        } else {
            format!("{} at {}", self.path, self.reference)
        }
    }

    fn short_commit(&self) -> String {
        self.commit.id.to_string()[..12].to_owned()
    }
}

#[derive(Template)]
#[template(path = "folder.html")]
struct FolderPage {
    visit: Visit,
    dot: DotHeader,
    place: Place,
    listing: DirectoryListing,
    /// The number of entries before the first one on the page.
    skip: u64,
    readme: Option<Readme>,
}

struct Readme {
    name: String,
    html: String,
}

impl FolderPage {
    fn tab(&self) -> Tab {
        Tab::Files
    }

    fn last(&self) -> u64 {
        self.skip + self.listing.entries.len() as u64
    }

    fn previous(&self) -> Option<u64> {
        (self.skip > 0).then(|| self.skip.saturating_sub(PAGE as u64))
    }

    fn next(&self) -> Option<u64> {
        (self.last() < self.listing.total && !self.listing.entries.is_empty()).then(|| self.last())
    }
}

#[derive(Template)]
#[template(path = "file.html")]
struct FileView {
    visit: Visit,
    dot: DotHeader,
    place: Place,
    inode: Inode,
    /// The file's first name, if this is another hard link.
    first: Option<TreePath>,
    content: Shown,
}

/// How a file is shown.
enum Shown {
    Empty,
    Image,
    Markdown { html: String },
    Text { html: String, lines: usize },
    LongText,
    Binary { lines: Vec<String> },
    Symlink { target: String },
    Fifo,
}

impl FileView {
    fn tab(&self) -> Tab {
        Tab::Files
    }

    fn lines(&self) -> Option<String> {
        match self.content {
            Shown::Text { lines, .. } => Some(show::count(lines as u64, "line")),
            _ => None,
        }
    }

    fn is_file(&self) -> bool {
        FileBytes::of(&self.inode).is_some()
    }
}

/// The entry of a long folder where the page begins.
#[derive(Debug, Deserialize)]
pub(crate) struct From {
    from: Option<u64>,
}

/// Redirects to the files of the default branch.
pub(crate) async fn get_default(
    State(hub): State<Hub>,
    visit: Visit,
    DotPath(name): DotPath,
) -> Page {
    let (_, dot) = visit.open(&hub, &name, Action::Read).await?;
    go(&format!(
        "{}/tree/{}",
        dot.url(),
        dot.default_branch.spelling()
    ))
}

/// Shows a folder or a file.
pub(crate) async fn get(
    State(hub): State<Hub>,
    visit: Visit,
    at: TreeAddress,
    Query(From { from }): Query<From>,
) -> Page {
    let open = at.open(&hub, &visit).await?;
    let found = open.reader.entry_at(open.root(), &at.path).await?;
    let place = Place::new(&hub, at, &open).await?;
    if let InodeKind::Directory { tree } = found.inode.kind {
        let skip = from.unwrap_or(0);
        let mut listing = open.reader.list(open.root(), tree, skip, PAGE).await?;
        if listing.total == listing.entries.len() as u64 {
            // The sort is stable, so that the entries stay sorted by name otherwise.
            listing.entries.sort_by_key(|entry| !entry.is_folder());
        }
        let folder = place.markdown(&open.header, &place.path);
        let readme = readme(&open.reader, &listing, folder).await?;
        return render(&FolderPage {
            visit,
            dot: open.header,
            place,
            listing,
            skip,
            readme,
        });
    }
    let folder = place.path.parent().unwrap_or_default();
    let folder = place.markdown(&open.header, &folder);
    let content = content(&open.reader, &place.path, &found.inode, folder).await?;
    render(&FileView {
        visit,
        dot: open.header,
        place,
        inode: found.inode,
        first: found.first,
        content,
    })
}

async fn readme(
    reader: &DotReader,
    listing: &DirectoryListing,
    folder: markdown::TextPlace,
) -> Result<Option<Readme>, HttpError> {
    let readme = listing.entries.iter().find_map(|entry| {
        let name = entry.name.as_bytes();
        let is_readme = name.eq_ignore_ascii_case(b"readme.md");
        let file = entry.inode.as_ref().and_then(FileBytes::of)?;
        (is_readme && file.size <= MAX_README).then_some((entry, file))
    });
    let Some((entry, file)) = readme else {
        return Ok(None);
    };
    let text = reader.beginning(file, MAX_README as usize).await?;
    let name = shown(entry.name.as_bytes());
    let rendering = reader.source().share().run(move |watch| {
        let text = std::str::from_utf8(&text).ok()?;
        let html = markdown::render(text, &folder, watch);
        Some(Readme { name, html })
    });
    Ok(rendering.await?)
}

async fn content(
    reader: &DotReader,
    path: &TreePath,
    inode: &Inode,
    folder: markdown::TextPlace,
) -> Result<Shown, HttpError> {
    let (file, name) = match (&inode.kind, FileBytes::of(inode), path.last()) {
        (InodeKind::Symlink { target }, _, _) => {
            let target = shown(target);
            return Ok(Shown::Symlink { target });
        }
        (_, Some(file), Some(name)) => (file, name),
        _ => return Ok(Shown::Fifo),
    };
    if file.size == 0 {
        return Ok(Shown::Empty);
    }
    let beginning = reader.beginning(file, file_type::BEGINNING_LENGTH).await?;
    let kind = FileType::of(name, &beginning, file.size);
    let binary = || Shown::Binary {
        lines: file_type::hex_lines(&beginning[..beginning.len().min(256)]),
    };
    match kind {
        FileType::Image(_) if file.size <= file_type::MAX_SHOWN_IMAGE => Ok(Shown::Image),
        FileType::Image(_) | FileType::Binary => Ok(binary()),
        FileType::Text | FileType::Markdown if file.size > file_type::MAX_SHOWN_TEXT => {
            Ok(Shown::LongText)
        }
        FileType::Text | FileType::Markdown => {
            let bytes = reader
                .beginning(file, file_type::MAX_SHOWN_TEXT as usize)
                .await?;
            let name = name.to_string();
            // The type was detected from the beginning of the file, so the rest may not be text.
            let rendering = reader.source().share().run(move |watch| {
                let text = std::str::from_utf8(&bytes)
                    .ok()
                    .filter(|text| !text.contains('\0'))?;
                Some(match kind {
                    FileType::Markdown => Shown::Markdown {
                        html: markdown::render(text, &folder, watch),
                    },
                    _ => Shown::Text {
                        html: highlight::render(&name, text, watch),
                        lines: text.lines().count(),
                    },
                })
            });
            Ok(rendering.await?.unwrap_or_else(binary))
        }
    }
}

/// Returns a file's size. Empty for anything else.
pub(crate) fn size(inode: &Inode) -> String {
    FileBytes::of(inode).map_or_else(String::new, |file| show::bytes(file.size))
}

/// Returns the permissions.
pub(crate) fn mode(inode: &Inode) -> String {
    show::mode(inode.attributes.mode)
}

/// Returns the modification time, if a calendar can show it.
pub(crate) fn changed(inode: &Inode) -> Option<jiff::Timestamp> {
    jiff::Timestamp::from_second(inode.attributes.mtime.seconds).ok()
}
