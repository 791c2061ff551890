//! Random operations, undos and redos, compared with a model. The daemon may die at any change of the pool.

use std::collections::BTreeMap;

use dotmesh_api::node::{MakeTag, OperationState, RenameBranch};
use dotmesh_model::{BranchName, CommitId};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::bench::{Bench, each};
use super::paths::put_back;
use super::undoing::{redo, reset_to, text, undo, write};
use crate::operations::{delete_branch, delete_dot, op_log, rename_branch, stash, tag};

/// A working copy. It keeps its content when a branch moves to another one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Copy {
    text: String,
    head: CommitId,
}

/// The visible state: the branches and their working copies.
#[derive(Debug, Clone, PartialEq, Eq)]
struct View {
    current: String,
    branches: BTreeMap<String, usize>,
    tags: BTreeMap<String, CommitId>,
    /// How many of the stashes were dropped, the oldest first.
    dropped: usize,
}

/// An operation in the model's log.
#[derive(Debug, Clone)]
struct Change {
    before: View,
    after: View,
    /// A working copy whose head changed, with the heads before and after.
    head: Option<(usize, CommitId, CommitId)>,
    /// A working copy of which a file was restored, with the text that is not in place.
    restored: Option<(usize, String)>,
    /// Whether it deletes the dot.
    deletes: bool,
}

#[derive(Debug, Clone)]
struct Model {
    copies: Vec<Copy>,
    view: View,
    is_deleted: bool,
    log: Vec<Change>,
    /// How many operations of the log are done. The rest are undone.
    made: usize,
    /// The text and parent of each commit.
    commits: BTreeMap<CommitId, (String, CommitId)>,
    /// The number of stashes that were ever made. An undo does not take a stash away.
    stashes: usize,
}

/// A step's action.
#[derive(Debug, Clone)]
enum Action {
    Commit,
    Checkout(String),
    CheckoutNew(String),
    Reset(&'static str),
    DeleteBranch(String),
    RenameBranch(String, String),
    Tag(String),
    DeleteTag(String),
    /// Restores the file with the text from the newest commit.
    Restore,
    Stash,
    DropStash,
    DeleteDot,
    Undo,
    Redo,
}

impl Model {
    async fn of(bench: &Bench) -> Self {
        let dot = bench.node.registry.dot(&bench.dot()).await.unwrap();
        let mut model = Self {
            copies: Vec::new(),
            view: View {
                current: dot.current.to_string(),
                branches: BTreeMap::new(),
                tags: BTreeMap::new(),
                dropped: 0,
            },
            is_deleted: false,
            log: Vec::new(),
            made: 0,
            commits: BTreeMap::new(),
            stashes: 0,
        };
        let history = bench.node.registry.history(&dot.id).await.unwrap();
        for (name, branch) in &dot.branches {
            let (text, head) = (text(bench, name.as_str()).unwrap_or_default(), branch.head);
            for id in history.ancestry(head) {
                let parent = history.parent(id).unwrap_or(CommitId::ROOT);
                model.commits.insert(id, (text.clone(), parent));
            }
            let number = model.copies.len();
            model.view.branches.insert(name.to_string(), number);
            model.copies.push(Copy { text, head });
        }
        model
    }

    fn copy(&mut self, branch: &str) -> &mut Copy {
        &mut self.copies[self.view.branches[branch]]
    }

    fn fresh(&mut self, copy: Copy) -> usize {
        self.copies.push(copy);
        self.copies.len() - 1
    }

    /// The commit that `HEAD` or `HEAD^` names.
    fn revision(&mut self, revision: &str) -> CommitId {
        let current = self.view.current.clone();
        let head = self.copy(&current).head;
        match revision {
            "HEAD^" => self.commits[&head].1,
            _ => head,
        }
    }

    fn log(&mut self, change: Change) {
        self.log.truncate(self.made);
        self.view = change.after.clone();
        self.log.push(change);
        self.made += 1;
    }

    /// Applies a successful action to the model. `commit` is the id of the new commit.
    fn apply(&mut self, action: &Action, commit: Option<CommitId>) {
        let before = self.view.clone();
        let mut after = before.clone();
        let current = before.current.clone();
        let change = |model: &mut Self, after: View, head, deletes| {
            let before = before.clone();
            model.log(Change {
                before,
                after,
                head,
                restored: None,
                deletes,
            });
        };
        match action {
            Action::Commit => {
                let id = commit.expect("the id of the commit");
                let number = after.branches[&current];
                let Copy { text, head } = self.copies[number].clone();
                self.commits.insert(id, (text, head));
                self.copies[number].head = id;
                change(self, after, Some((number, head, id)), false);
            }
            Action::Checkout(to) => {
                if *to != current {
                    after.current.clone_from(to);
                    change(self, after, None, false);
                }
            }
            Action::CheckoutNew(to) => {
                let copy = self.copy(&current).clone();
                let number = self.fresh(copy);
                after.branches.insert(to.clone(), number);
                after.current.clone_from(to);
                change(self, after, None, false);
            }
            Action::Reset(revision) => {
                let head = self.revision(revision);
                let text = self.commits.get(&head);
                let text = text.map(|(text, _)| text.clone()).unwrap_or_default();
                let number = self.fresh(Copy { text, head });
                after.branches.insert(current, number);
                change(self, after, None, false);
            }
            Action::DeleteBranch(name) => {
                after.branches.remove(name);
                change(self, after, None, false);
            }
            Action::RenameBranch(from, to) => {
                let number = after.branches.remove(from).expect("the branch");
                after.branches.insert(to.clone(), number);
                if current == *from {
                    after.current.clone_from(to);
                }
                change(self, after, None, false);
            }
            Action::Tag(name) => {
                let head = self.copy(&current).head;
                after.tags.insert(name.clone(), head);
                change(self, after, None, false);
            }
            Action::DeleteTag(name) => {
                after.tags.remove(name);
                change(self, after, None, false);
            }
            Action::Restore => {
                let number = after.branches[&current];
                let head = self.copies[number].head;
                let text = self.commits[&head].0.clone();
                let replaced = std::mem::replace(&mut self.copies[number].text, text);
                change(self, after, None, false);
                let last = self.log.last_mut().expect("the restore");
                last.restored = Some((number, replaced));
            }
            Action::Stash => {
                self.stashes += 1;
                let head = self.copy(&current).head;
                let text = self.commits.get(&head);
                let text = text.map(|(text, _)| text.clone()).unwrap_or_default();
                let number = self.fresh(Copy { text, head });
                after.branches.insert(current, number);
                change(self, after, None, false);
            }
            Action::DropStash => {
                after.dropped += 1;
                change(self, after, None, false);
            }
            Action::DeleteDot => {
                change(self, after, None, true);
                self.is_deleted = true;
            }
            Action::Undo => {
                self.made -= 1;
                let done = self.log[self.made].clone();
                self.view = done.before;
                self.is_deleted &= !done.deletes;
                if let Some((number, before, _)) = done.head {
                    self.copies[number].head = before;
                }
                self.swap_restored(self.made);
            }
            Action::Redo => {
                let done = self.log[self.made].clone();
                self.made += 1;
                self.view = done.after;
                self.is_deleted |= done.deletes;
                if let Some((number, _, after)) = done.head {
                    self.copies[number].head = after;
                }
                self.swap_restored(self.made - 1);
            }
        }
    }

    fn swap_restored(&mut self, at: usize) {
        if let Some((number, text)) = &mut self.log[at].restored {
            std::mem::swap(text, &mut self.copies[*number].text);
        }
    }

    /// The model's visible state: the branches with heads and texts, and which operations are done.
    fn shown(&self) -> Shown {
        let branches = self.view.branches.iter().map(|(name, number)| {
            let copy = &self.copies[*number];
            (name.clone(), (copy.head, copy.text.clone()))
        });
        Shown {
            current: (!self.is_deleted).then(|| self.view.current.clone()),
            branches: match self.is_deleted {
                true => BTreeMap::new(),
                false => branches.collect(),
            },
            tags: match self.is_deleted {
                true => BTreeMap::new(),
                false => self.view.tags.clone(),
            },
            stashes: match self.is_deleted {
                true => 0,
                false => self.stashes - self.view.dropped,
            },
            made: self.made,
            undone: self.log.len() - self.made,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Shown {
    current: Option<String>,
    branches: BTreeMap<String, (CommitId, String)>,
    tags: BTreeMap<String, CommitId>,
    stashes: usize,
    made: usize,
    undone: usize,
}

/// The node's visible state. The first `earlier` operations in its log are the bench's own.
async fn shown(bench: &Bench, earlier: usize) -> Shown {
    let log = op_log::op_log(&bench.node, &bench.dot()).await.unwrap();
    let count = |state| {
        let log = log.operations.iter();
        log.filter(|one| one.state == state).count()
    };
    assert_eq!(count(OperationState::UnderWay), 0, "{log:?}");
    let (made, undone) = (
        count(OperationState::Done) - earlier,
        count(OperationState::Undone),
    );
    let dot = bench.node.registry.find_dot(&bench.dot()).await.unwrap();
    let stored = bench.node.pool.stored_dot(&bench.dot()).await.unwrap();
    let mut branches = BTreeMap::new();
    if let Some(dot) = &dot {
        let stored = stored.expect("the pool has it, too");
        let heads: Vec<(BranchName, CommitId)> = dot.heads().into_iter().collect();
        assert_eq!(
            (stored.branches, &stored.file.current),
            (heads, &dot.current)
        );
        assert_eq!(stored.file, dot.to_file(), "where branches started");
        for (name, branch) in &dot.branches {
            let text = text(bench, name.as_str()).unwrap_or_default();
            branches.insert(name.to_string(), (branch.head, text));
        }
    }
    let (mut tags, mut stashes) = (BTreeMap::new(), 0);
    if dot.is_some() {
        let listed = tag::list(&bench.node, &bench.dot()).await.unwrap();
        tags.extend(
            listed
                .into_iter()
                .map(|tag| (tag.name.to_string(), tag.commit)),
        );
        stashes = bench.stashes().await.len();
    }
    Shown {
        current: dot.map(|dot| dot.current.to_string()),
        branches,
        tags,
        stashes,
        made,
        undone,
    }
}

/// Chooses an action that is possible now.
fn choose(random: &mut StdRng, model: &Model, step: usize) -> Action {
    let others = model.view.branches.keys();
    let others: Vec<&String> = others.filter(|name| **name != model.view.current).collect();
    let other = |random: &mut StdRng| others[random.random_range(0..others.len())].clone();
    if model.is_deleted {
        return Action::Undo;
    }
    let copy = &model.copies[model.view.branches[&model.view.current]];
    let at_root = copy.head == CommitId::ROOT;
    let committed = model.commits.get(&copy.head).map(|(text, _)| text);
    let has_text = committed.is_some_and(|text| !text.is_empty());
    let is_changed = committed != Some(&copy.text);
    let tag = model.view.tags.keys().next().cloned();
    match random.random_range(0..22) {
        14 => {
            let names: Vec<&String> = model.view.branches.keys().collect();
            let name = names[random.random_range(0..names.len())].clone();
            Action::RenameBranch(name, format!("renamed/{step}"))
        }
        15 if !at_root => Action::Tag(format!("tag/{step}")),
        16 => tag.map_or(Action::Commit, Action::DeleteTag),
        17 | 18 if has_text => Action::Restore,
        19 if !at_root && is_changed => Action::Stash,
        20 if model.stashes > model.view.dropped => Action::DropStash,
        21 if model.made > 0 => Action::Undo,
        0 | 1 => Action::Commit,
        2 if !others.is_empty() => Action::Checkout(other(random)),
        3 => Action::CheckoutNew(format!("new/{step}")),
        4 if !at_root => Action::Reset("HEAD^"),
        5 => Action::Reset("HEAD"),
        6 if !others.is_empty() => Action::DeleteBranch(other(random)),
        7 => Action::DeleteDot,
        8..=10 if model.made > 0 => Action::Undo,
        _ if model.made < model.log.len() => Action::Redo,
        _ => Action::Commit,
    }
}

async fn act(bench: &Bench, action: &Action) -> Result<(), String> {
    let done = match action {
        Action::Commit => bench.try_commit().await,
        Action::Checkout(to) => bench.checkout(to, false).await.map(drop),
        Action::CheckoutNew(to) => bench.checkout(to, true).await.map(drop),
        Action::Reset(revision) => reset_to(bench, revision).await.map(drop),
        Action::DeleteBranch(name) => {
            let (dot, name) = (bench.dot(), name.parse().unwrap());
            let deleted = delete_branch::delete_branch(&bench.node, &dot, &name, true);
            deleted.await.map(drop)
        }
        Action::RenameBranch(from, to) => {
            let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
            let request = RenameBranch { from, to };
            rename_branch::rename_branch(&bench.node, &bench.dot(), &request).await
        }
        Action::Tag(name) => {
            let request = MakeTag {
                name: name.parse().unwrap(),
                revision: "HEAD".to_owned(),
                message: String::new(),
            };
            let dot = bench.dot();
            let made = tag::make(&bench.node, &dot, request);
            made.await.map(drop)
        }
        Action::DeleteTag(name) => {
            let (dot, name) = (bench.dot(), name.parse().unwrap());
            let deleted = tag::delete(&bench.node, &dot, &name);
            deleted.await.map(drop)
        }
        Action::Restore => put_back(bench, "HEAD", &["db/text"]).await.map(drop),
        Action::Stash => bench.stash().await.map(drop),
        Action::DropStash => {
            let (dot, oldest) = (
                bench.dot(),
                bench.stashes().await.pop().expect("a stash").id,
            );
            let dropped = stash::drop_one(&bench.node, &dot, oldest);
            dropped.await.map(drop)
        }
        Action::DeleteDot => delete_dot::delete_dot(&bench.node, &bench.dot()).await,
        Action::Undo => undo(bench).await.map(drop),
        Action::Redo => redo(bench).await.map(drop),
    };
    done.map_err(|error| error.to_string())
}

/// The current branch's head, or `None` if the dot is deleted.
async fn current_head(bench: &Bench) -> Option<CommitId> {
    let dot = bench.node.registry.find_dot(&bench.dot()).await.unwrap();
    dot.map(|dot| dot.current().unwrap().head)
}

/// Runs an action during which the daemon dies after a number of changes of the pool, and restarts it. The action was
/// done or not, and the model follows. Returns whether the daemon died.
async fn act_and_die(
    bench: &mut Bench,
    model: &mut Model,
    action: &Action,
    steps: u64,
    what: &str,
) -> bool {
    let before = model.shown();
    bench.node.pool.die_after(steps);
    let done = act(bench, action).await;
    bench.restart().await;
    let mut after = model.clone();
    let head = current_head(bench).await;
    let is_made = match action {
        // The id is known only if the commit was made.
        Action::Commit => head.is_some_and(|head| !model.commits.contains_key(&head)),
        _ => true,
    };
    if is_made {
        after.apply(action, head);
    }
    let now = shown(bench, EARLIER).await;
    assert!(
        now == before || now == after.shown(),
        "{what}: {action:?} ended with {done:?}\nnow {now:?}\nbefore {before:?}\nafter {:?}",
        after.shown()
    );
    let is_made = is_made && now == after.shown();
    assert!(
        done.is_err() || is_made,
        "{what}: {action:?} was reported as done and is not"
    );
    if is_made {
        *model = after;
    }
    done.is_err()
}

/// The number of the bench's own operations: a commit, a new branch, a commit, and the switch back.
const EARLIER: usize = 4;

async fn run(seed: u64, steps: usize) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut bench = Bench::new(|_| {}).await;
    let mut model = Model::of(&bench).await;
    for step in 0..steps {
        let action = choose(&mut random, &model, step);
        let what = format!("seed {seed}, step {step}");
        if !model.is_deleted && random.random_ratio(1, 2) {
            let names: Vec<String> = model.view.branches.keys().cloned().collect();
            let name = &names[random.random_range(0..names.len())];
            let text = format!("step {step}");
            write(&bench, name, &text);
            model.copy(name).text = text;
        }
        // If the daemon dies during a stash, the stash may be there and the changes, too.
        let may_die = !matches!(action, Action::Stash);
        if random.random_ratio(1, 4) && may_die {
            let limit = random.random_range(0..12);
            act_and_die(&mut bench, &mut model, &action, limit, &what).await;
        } else {
            let done = act(&bench, &action).await;
            done.unwrap_or_else(|error| panic!("{what}: {action:?}: {error}"));
            model.apply(&action, current_head(&bench).await);
        }
        let now = shown(&bench, EARLIER).await;
        assert_eq!(now, model.shown(), "{what}: {action:?}");
    }
}

/// `UNDOS=N` sets the number of runs.
#[tokio::test(flavor = "multi_thread")]
async fn operations_undos_and_redos_at_random() {
    let runs = std::env::var("UNDOS")
        .ok()
        .and_then(|runs| runs.parse().ok());
    each((0..runs.unwrap_or(24)).collect(), |seed| run(seed, 30)).await;
}

/// The daemon dies at each change of the pool, in each kind of operation, its undo and its redo.
#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_dies_at_each_change_of_the_pool() {
    let kinds = [
        Action::Commit,
        Action::Checkout("other".to_owned()),
        Action::CheckoutNew("new".to_owned()),
        Action::Reset("HEAD^"),
        Action::DeleteBranch("other".to_owned()),
        Action::RenameBranch("master".to_owned(), "main".to_owned()),
        Action::Tag("v1".to_owned()),
        Action::DeleteTag("v1".to_owned()),
        Action::Restore,
        Action::DropStash,
        Action::DeleteDot,
    ];
    each(kinds.to_vec(), |kind| async move {
        for action in [kind.clone(), Action::Undo, Action::Redo] {
            for limit in 0.. {
                let what = format!("{kind:?}, dead after {limit} changes");
                let mut bench = Bench::new(|_| {}).await;
                let mut model = Model::of(&bench).await;
                let write_both = |model: &mut Model, text: &str| {
                    write(&bench, "master", text);
                    model.copy("master").text = text.to_owned();
                };
                write_both(&mut model, "not committed");
                let mut earlier = match kind {
                    Action::DeleteTag(_) => vec![Action::Tag("v1".to_owned())],
                    Action::DropStash => vec![Action::Stash],
                    _ => Vec::new(),
                };
                if matches!(kind, Action::Restore) {
                    act(&bench, &Action::Commit).await.unwrap();
                    model.apply(&Action::Commit, current_head(&bench).await);
                    write_both(&mut model, "changed");
                }
                earlier.extend(match action {
                    Action::Undo => vec![kind.clone()],
                    Action::Redo => vec![kind.clone(), Action::Undo],
                    _ => Vec::new(),
                });
                for earlier in earlier {
                    act(&bench, &earlier).await.unwrap();
                    model.apply(&earlier, current_head(&bench).await);
                }
                let has_died = act_and_die(&mut bench, &mut model, &action, limit, &what).await;
                // In any case, undo and redo still work.
                while model.made > 0 {
                    act(&bench, &Action::Undo).await.unwrap();
                    model.apply(&Action::Undo, None);
                    assert_eq!(shown(&bench, EARLIER).await, model.shown(), "{what}");
                }
                while model.made < model.log.len() {
                    act(&bench, &Action::Redo).await.unwrap();
                    model.apply(&Action::Redo, None);
                    assert_eq!(shown(&bench, EARLIER).await, model.shown(), "{what}");
                }
                if !has_died {
                    assert!(limit > 0, "{what}: it changes nothing");
                    break;
                }
            }
        }
    })
    .await;
}
