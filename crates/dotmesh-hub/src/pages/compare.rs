//! `/OWNER/DOT/compare/A...B`: the differences between two commits. `/OWNER/DOT/compare`: the choice of two commits.

use askama::Template;
use axum::extract::State;
use dotmesh_api::page::Reference;
use dotmesh_browse::TreePath;
use dotmesh_browse::content::FileBytes;
use dotmesh_browse::diff::{DiffLimits, SubdotChange, TreeChange, TreeChangeKind, TreeDiff};
use dotmesh_browse::entries::kind;
use dotmesh_browse::facts::{CommitFacts, StoreKind};
use dotmesh_browse::file_type::{self, FileType, ImageType};
use dotmesh_browse::path::shown;
use dotmesh_browse::renames::{Rename, find_renames};
use dotmesh_browse::text_diff::{self, LineKind, TextChanges};
use dotmesh_hub_db::paging::Part;
use dotmesh_hub_model::access::Action;
use dotmesh_hub_model::commit_summary::GraphCommit;
use dotmesh_hub_model::show;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::operations::commit_facts::commit_facts;
use dotmesh_hub_service::operations::compare_databases::compare_databases;
use dotmesh_hub_service::operations::describe_commit::{CommitDetails, describe_with_data};
use dotmesh_hub_service::operations::objects_of_dot::{DotReader, reader};
use dotmesh_hub_service::operations::resolve_ref::resolve_ref;
use dotmesh_store::{EntryName, Inode, InodeKind};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::Deserialize;

use crate::error::HttpError;
use crate::extract::{ComparePath, DotPath, reference};
use crate::web::databases::Changes;
use crate::web::query::Query;
use crate::web::tree_address::address;
use crate::web::visit::{DotHeader, Tab};
use crate::web::{Page, Visit, go, render};

/// The limits of what the page lists and reads.
const LIMITS: DiffLimits = DiffLimits {
    changes: 400,
    pages: 3000,
};

/// The most files whose content is compared.
const MAX_COMPARED: usize = 30;

/// The most branches, and the most tags, to choose from. Users can type others.
const MAX_CHOICES: u32 = 100;

/// The most lines of text on the page.
const MAX_LINES: usize = 4000;

/// The number of files that are read at once.
const AT_ONCE: usize = 4;

#[derive(Template)]
#[template(path = "compare.html")]
struct ComparePage {
    visit: Visit,
    dot: DotHeader,
    from: Side,
    to: Side,
    /// What changed in the databases. `None` if the hub was not told.
    databases: Option<Changes>,
    subdots: Vec<Subdot>,
    files: Vec<File>,
    unlisted: u64,
    complete: bool,
}

struct Side {
    reference: Reference,
    commit: CommitDetails,
}

struct Subdot {
    name: String,
    kind: StoreKind,
    change: SubdotChange,
    /// The listed files of a database. Few people need them, so they are folded.
    folded: Vec<File>,
}

struct File {
    path: TreePath,
    /// The old name, if the file was renamed.
    from: Option<TreePath>,
    label: &'static str,
    what: &'static str,
    before: Option<u64>,
    after: Option<u64>,
    body: Body,
}

/// How a file's change is shown.
enum Body {
    /// Only as a line in the list.
    None,
    Text(TextChanges),
    /// The addresses of the old and the new picture.
    Images {
        before: Option<String>,
        after: Option<String>,
    },
    /// The attributes that differ, before and after.
    Attributes(Vec<(&'static str, String, String)>),
}

impl ComparePage {
    fn tab(&self) -> Tab {
        Tab::Commits
    }

    fn has_database(&self) -> bool {
        self.subdots.iter().any(|subdot| subdot.kind.is_database())
    }

    fn sides(&self) -> [&Side; 2] {
        [&self.from, &self.to]
    }

    fn more(&self) -> Option<String> {
        (self.unlisted > 0).then(|| show::count(self.unlisted, "more change"))
    }

    /// Returns permalinks of a file in the two commits.
    fn address_before(&self, file: &File) -> String {
        address(
            &self.dot,
            "tree",
            &self.from.commit.id.into(),
            file.from.as_ref().unwrap_or(&file.path),
        )
    }

    fn address_after(&self, file: &File) -> String {
        address(&self.dot, "tree", &self.to.commit.id.into(), &file.path)
    }

    fn swapped(&self) -> String {
        compare_address(&self.dot, &self.to.reference, &self.from.reference)
    }
}

impl Side {
    fn is_id(&self) -> bool {
        self.reference == self.commit.id.into()
    }

    fn short(&self) -> String {
        self.commit.id.to_string()[..12].to_owned()
    }
}

impl Subdot {
    /// `PostgreSQL, 46 files`.
    fn folded_label(&self) -> String {
        let files = show::count(self.folded.len() as u64, "file");
        format!("{}, {files}", self.kind.label())
    }

    fn new_bytes(&self) -> String {
        show::bytes(self.change.new_bytes)
    }
}

impl File {
    fn of(rename: Rename) -> Self {
        let size = FileBytes::of(&rename.inode).map(|file| file.size);
        Self {
            path: rename.to,
            from: Some(rename.from),
            label: "renamed",
            what: kind(&rename.inode),
            before: size,
            after: size,
            body: Body::None,
        }
    }

    fn label(&self) -> &'static str {
        self.label
    }

    fn sizes(&self) -> String {
        match (self.before, self.after) {
            (None, None) => String::new(),
            (None, Some(size)) | (Some(size), None) => show::bytes(size),
            (Some(before), Some(after)) if before == after => show::bytes(after),
            (Some(before), Some(after)) => {
                format!("{} → {}", show::bytes(before), show::bytes(after))
            }
        }
    }
}

#[derive(Template)]
#[template(path = "compare_form.html")]
struct FormPage {
    visit: Visit,
    dot: DotHeader,
    names: Vec<String>,
    /// Recent commits: the id and the title.
    commits: Vec<(String, String)>,
    from: String,
    to: String,
}

/// A list to choose a state from.
struct Field<'a> {
    name: &'static str,
    label: &'static str,
    chosen: &'a str,
}

impl FormPage {
    fn fields(&self) -> [Field<'_>; 2] {
        let field = |name, label, chosen| Field {
            name,
            label,
            chosen,
        };
        [
            field("from", "From", &self.from),
            field("to", "To", &self.to),
        ]
    }

    /// Returns whether the reference is none of the choices.
    fn is_other(&self, reference: &str) -> bool {
        let is_commit = self.commits.iter().any(|(id, _)| id == reference);
        !(reference.is_empty() || is_commit || self.names.iter().any(|name| name == reference))
    }

    fn tab(&self) -> Tab {
        Tab::Commits
    }
}

/// The two chosen references.
#[derive(Debug, Deserialize)]
pub(crate) struct Choice {
    from: Option<String>,
    to: Option<String>,
}

/// Asks for two references, or redirects to their comparison.
pub(crate) async fn choose(
    State(hub): State<Hub>,
    visit: Visit,
    DotPath(name): DotPath,
    Query(choice): Query<Choice>,
) -> Page {
    let (open, dot) = visit.open(&hub, &name, Action::Read).await?;
    let given = |text: Option<String>| text.map(|text| text.trim().to_owned()).unwrap_or_default();
    let (from, to) = (given(choice.from), given(choice.to));
    if !from.is_empty() && !to.is_empty() {
        for reference in [&from, &to] {
            resolve_ref(&hub, &open, reference).await?;
        }
        let (from, to) = (reference(&name, &from)?, reference(&name, &to)?);
        return go(&compare_address(&dot, &from, &to));
    }
    let id = open.existing()?;
    let branches = hub.database.newest_branches(id, MAX_CHOICES).await?;
    let part = Part {
        after: None,
        limit: MAX_CHOICES,
    };
    let tags = hub.database.tags(id, part).await?;
    let newest = hub.database.newest_commits(id, MAX_CHOICES).await?;
    let commits = newest.into_iter().map(|GraphCommit { commit, .. }| {
        let title = format!("{}: {}", show::date(&commit.time), commit.title);
        (commit.id.to_string(), show::cut(&title, 100).into_owned())
    });
    let names = branches.iter().map(|branch| branch.name.to_string());
    let names = names.chain(tags.iter().map(|tag| tag.name.to_string()));
    render(&FormPage {
        visit,
        from: match from.parse::<Reference>() {
            _ if from.is_empty() => dot.default_branch.to_string(),
            Ok(reference) => reference.to_string(),
            Err(_) => from,
        },
        dot,
        names: names.collect(),
        commits: commits.collect(),
        to,
    })
}

/// Shows the differences.
pub(crate) async fn get(
    State(hub): State<Hub>,
    visit: Visit,
    DotPath(name): DotPath,
    ComparePath { from, to }: ComparePath,
) -> Page {
    let (open, dot) = visit.open(&hub, &name, Action::Read).await?;
    let mut sides = Vec::new();
    for reference in [from, to] {
        let commit = resolve_ref(&hub, &open, reference.as_str()).await?;
        let commit = describe_with_data(&hub, &open, commit).await?;
        sides.push(Side { reference, commit });
    }
    let [from, to] = <[Side; 2]>::try_from(sides).map_err(|_| HttpError::NoSuchAddress)?;
    let reader = reader(&hub, open.share(&hub), open.owner, open.existing()?);
    let diff = reader
        .diff(Some(from.commit.root), to.commit.root, LIMITS)
        .await?;
    let facts = [
        commit_facts(&hub, &open, to.commit.id).await?,
        commit_facts(&hub, &open, from.commit.id).await?,
    ];
    let mut subdots = subdots(&diff, &facts);
    let page = Compared {
        reader,
        dot: &dot,
        from: &from,
        to: &to,
        facts: &facts,
    };
    let (changes, renames) = find_renames(diff.changes);
    let mut files = page.files(changes).await?;
    files.extend(renames.into_iter().map(File::of));
    files.sort_by(|one, other| one.path.cmp(&other.path));
    let mut shown_files = Vec::new();
    for file in files {
        let name = file.path.names().first().map(|name| shown(name.as_bytes()));
        let is_of =
            |subdot: &&mut Subdot| subdot.kind.is_database() && Some(&subdot.name) == name.as_ref();
        match subdots.iter_mut().find(is_of) {
            Some(subdot) => subdot.folded.push(file),
            None => shown_files.push(file),
        }
    }
    let databases = compare_databases(&hub, &open, from.commit.id, to.commit.id).await?;
    render(&ComparePage {
        visit,
        databases: databases.map(Changes::between),
        subdots,
        files: shown_files,
        unlisted: diff.unlisted,
        complete: diff.complete,
        dot,
        from,
        to,
    })
}

fn compare_address(dot: &DotHeader, from: &Reference, to: &Reference) -> String {
    let (from, to) = (from.spelling(), to.spelling());
    format!("{}/compare/{from}...{to}", dot.url())
}

fn subdots(diff: &TreeDiff, facts: &[CommitFacts]) -> Vec<Subdot> {
    let subdot = |(name, change): (&EntryName, &SubdotChange)| Subdot {
        name: shown(name.as_bytes()),
        kind: store_kind(facts, name),
        change: *change,
        folded: Vec::new(),
    };
    diff.subdots.iter().map(subdot).collect()
}

fn store_kind(facts: &[CommitFacts], name: &EntryName) -> StoreKind {
    let mut subdots = facts.iter().flat_map(|facts| &facts.subdots);
    let subdot = subdots.find(|subdot| subdot.name.last() == Some(name) && !subdot.gone);
    subdot.map_or(StoreKind::Files, |subdot| subdot.kind)
}

struct Compared<'a> {
    reader: DotReader,
    dot: &'a DotHeader,
    from: &'a Side,
    to: &'a Side,
    facts: &'a [CommitFacts],
}

impl Compared<'_> {
    async fn files(&self, changes: Vec<TreeChange>) -> Result<Vec<File>, HttpError> {
        let mut left = MAX_COMPARED;
        let changes: Vec<(TreeChange, bool)> = changes
            .into_iter()
            .map(|change| {
                let looked_into = left > 0 && self.is_worth_reading(&change);
                left -= usize::from(looked_into);
                (change, looked_into)
            })
            .collect();
        let mut files: Vec<File> = stream::iter(changes)
            .map(|(change, looked_into)| self.file(change, looked_into))
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        let mut lines = 0;
        for file in &mut files {
            if let Body::Text(changes) = &file.body {
                lines += changes.hunks.iter().map(Vec::len).sum::<usize>();
                if lines > MAX_LINES {
                    file.body = Body::None;
                }
            }
        }
        Ok(files)
    }

    /// Returns whether the change's content is worth comparing. The files of databases are not, because they tell users
    /// nothing.
    fn is_worth_reading(&self, change: &TreeChange) -> bool {
        let is_file = |inode: &Option<Inode>| inode.as_ref().and_then(FileBytes::of).is_some();
        let subdot = change.path.names().first();
        change.kind != TreeChangeKind::Attributes
            && (is_file(&change.before) || is_file(&change.after))
            && subdot.is_some_and(|name| !store_kind(self.facts, name).is_database())
    }

    async fn file(&self, change: TreeChange, looked_into: bool) -> Result<File, HttpError> {
        let size = |inode: &Option<Inode>| Some(FileBytes::of(inode.as_ref()?)?.size);
        let body = if looked_into {
            self.body(&change).await?
        } else {
            match (&change.before, &change.after) {
                (Some(before), Some(after)) => Body::Attributes(attributes(before, after)),
                _ => Body::None,
            }
        };
        Ok(File {
            from: None,
            label: match change.kind {
                TreeChangeKind::Added => "added",
                TreeChangeKind::Removed => "removed",
                TreeChangeKind::Changed => "changed",
                TreeChangeKind::Attributes => "attributes",
            },
            what: change
                .after
                .as_ref()
                .or(change.before.as_ref())
                .map_or("", kind),
            before: size(&change.before),
            after: size(&change.after),
            path: change.path,
            body,
        })
    }

    async fn body(&self, change: &TreeChange) -> Result<Body, HttpError> {
        let old = change.before.as_ref().and_then(FileBytes::of);
        let new = change.after.as_ref().and_then(FileBytes::of);
        let types = (
            self.file_type(&change.path, old).await?,
            self.file_type(&change.path, new).await?,
        );
        let image = |kind: Option<FileType>| matches!(kind, Some(FileType::Image(_)));
        // A picture that is also a text, such as SVG, is shown as a picture.
        if image(types.0) || image(types.1) {
            let raw = |side: &Side, kind| {
                let reference = side.commit.id.into();
                image(kind).then(|| address(self.dot, "raw", &reference, &change.path))
            };
            return Ok(Body::Images {
                before: raw(self.from, types.0),
                after: raw(self.to, types.1),
            });
        }
        let is_text = |kind: Option<FileType>| {
            let text = |kind| matches!(kind, FileType::Text | FileType::Markdown);
            kind.is_none_or(text)
        };
        let is_short = |file: Option<FileBytes>| {
            file.is_none_or(|file| file.size <= text_diff::MAX_LENGTH as u64)
        };
        if !(is_text(types.0) && is_text(types.1) && is_short(old) && is_short(new)) {
            return Ok(Body::None);
        }
        let (old, new) = (self.read(old).await?, self.read(new).await?);
        let share = self.reader.source().share();
        let compared = share.run(move |watch| text_diff::compare(&old, &new, watch.until()));
        Ok(compared.await?.map_or(Body::None, Body::Text))
    }

    async fn file_type(
        &self,
        path: &TreePath,
        file: Option<FileBytes>,
    ) -> Result<Option<FileType>, HttpError> {
        let (Some(file), Some(name)) = (file, path.last()) else {
            return Ok(None);
        };
        let beginning = self
            .reader
            .beginning(file, file_type::BEGINNING_LENGTH)
            .await?;
        let kind = FileType::of(name, &beginning, file.size);
        let is_long = file.size > file_type::MAX_SHOWN_IMAGE;
        Ok(Some(match kind {
            FileType::Image(ImageType::Svg) if is_long => FileType::Text,
            FileType::Image(_) if is_long => FileType::Binary,
            kind => kind,
        }))
    }

    async fn read(&self, file: Option<FileBytes>) -> Result<bytes::Bytes, HttpError> {
        match file {
            Some(file) => Ok(self.reader.beginning(file, text_diff::MAX_LENGTH).await?),
            None => Ok(bytes::Bytes::new()),
        }
    }
}

/// Returns the attributes that differ, with their old and new values.
fn attributes(before: &Inode, after: &Inode) -> Vec<(&'static str, String, String)> {
    let values = |inode: &Inode| {
        let attributes = &inode.attributes;
        let target = match &inode.kind {
            InodeKind::Symlink { target } => shown(target),
            _ => String::new(),
        };
        let names = attributes.xattrs.iter().map(|xattr| shown(&xattr.name));
        let names: Vec<String> = names.collect();
        [
            ("kind", kind(inode).to_owned()),
            ("target", target),
            ("mode", show::mode(attributes.mode)),
            ("owner", format!("{}:{}", attributes.uid, attributes.gid)),
            (
                "time",
                super::tree::changed(inode).map_or_else(String::new, |time| show::date(&time)),
            ),
            ("attributes", names.join(", ")),
        ]
    };
    let pairs = values(before).into_iter().zip(values(after));
    pairs
        .filter(|((_, old), (_, new))| old != new)
        .map(|((label, old), (_, new))| (label, old, new))
        .collect()
}
