//! Searching. Names are few enough to be looked through; for messages there is an index of their words, which each
//! database has in its own way.

use dotmesh_api::dots::Found;
use futures::TryStreamExt as _;
use sqlx::AnyConnection;

use super::dialect::Dialect;
use super::ids::{self, UserId};
use super::{Database, DatabaseError};
use crate::operations::search::{Place, Words};

/// Who sees this many dots or fewer has the index look in these only.
const FEW_DOTS: usize = 200;

/// Of messages that have the words, in dots that the viewer may not see, too, so many are looked at, the last to arrive:
/// a word that half of all messages have finds only what the viewer sees of these.
const MAX_MATCHES_SQLITE: i64 = 2_000;

/// As many on PostgreSQL, whose index tells them in no order.
const MAX_MATCHES_POSTGRES: i64 = 20_000;

/// So many names are looked through.
const MAX_LOOKED_AT: usize = 50_000;

/// The dots that the user `$1`, or nobody, may see.
macro_rules! visible {
    () => {
        r#"dots d JOIN users o ON o.id = d.owner
           LEFT JOIN collaborators c ON c.dot = d.id AND c."user" = $1
           WHERE d.deleted IS NULL AND (d.owner = $1 OR c.dot IS NOT NULL OR d.visibility = 'public')"#
    };
}

/// Of names, the columns: owner, dot, branch or tag, commit, text.
type Row = (String, String, Option<String>, Option<Vec<u8>>, String);

const DOTS: &str = concat!(
    "SELECT o.name, d.name, NULL, NULL, substr(d.description, 1, 4000) FROM ",
    visible!(),
    " AND lower(o.name || '/' || d.name || ' ' || substr(d.description, 1, 4000)) LIKE $2
     ORDER BY coalesce(d.pushed, d.created) DESC, d.id DESC"
);

const BRANCHES: &str = concat!(
    "SELECT v.owner, v.dot, b.name, b.head, '' FROM
     (SELECT d.id AS id, o.name AS owner, d.name AS dot, coalesce(d.pushed, d.created) AS time FROM ",
    visible!(),
    ") v JOIN branches b ON b.dot = v.id WHERE lower(b.name) LIKE $2
     ORDER BY v.time DESC, v.id DESC, b.name"
);

const TAGS: &str = concat!(
    "SELECT v.owner, v.dot, t.name, t.commit_id, t.message FROM
     (SELECT d.id AS id, o.name AS owner, d.name AS dot FROM ",
    visible!(),
    ") v JOIN tags t ON t.dot = v.id WHERE lower(t.name || ' ' || t.message) LIKE $2
     ORDER BY t.created DESC, v.id DESC, t.name"
);

/// The last row of the index that is of some dots.
const NEWEST_SQLITE: &str =
    "SELECT rowid FROM commit_words WHERE commit_words MATCH $1 ORDER BY rowid DESC LIMIT 1";

/// Of the messages with the words `$2`, the last `$3` to arrive of those up to `$6`, and of these what the viewer sees.
const COMMITS_SQLITE: &str = concat!(
    "SELECT f.owner, f.dot, NULL, f.id, substr(m.message, 1, 65536) FROM
     (SELECT v.owner, v.dot, v.id AS dot_id, k.id, k.time FROM
     (SELECT dot_id AS dot, commit_id FROM commit_words
      WHERE commit_words MATCH $2 AND rowid <= $6 ORDER BY rowid DESC LIMIT $3) w
     JOIN commits k ON k.dot = w.dot AND k.id = w.commit_id
     JOIN (SELECT d.id AS id, o.name AS owner, d.name AS dot FROM ",
    visible!(),
    ") v ON v.id = k.dot
      ORDER BY k.time DESC, k.id LIMIT $4 OFFSET $5) f
     JOIN commits m ON m.dot = f.dot_id AND m.id = f.id
     ORDER BY f.time DESC, f.id"
);

const COMMITS_POSTGRES: &str = concat!(
    "SELECT f.owner, f.dot, NULL, f.id, substr(m.message, 1, 65536) FROM
     (SELECT v.owner, v.dot, v.id AS dot_id, k.id, k.time FROM
     (SELECT dot, id, time FROM commits
      WHERE (array_to_tsvector(ARRAY['#' || dot::text]) || to_tsvector('simple', left(message, 20000))) @@ $2::tsquery
      LIMIT $3) k
     JOIN (SELECT d.id AS id, o.name AS owner, d.name AS dot FROM ",
    visible!(),
    ") v ON v.id = k.dot
      ORDER BY k.time DESC, k.id LIMIT $4 OFFSET $5) f
     JOIN commits m ON m.dot = f.dot_id AND m.id = f.id
     ORDER BY f.time DESC, f.id"
);

impl Database {
    /// What a user, or nobody, may see that has all the words.
    pub async fn search(
        &self,
        viewer: Option<UserId>,
        place: Place,
        words: &Words,
        skip: u32,
        limit: u32,
    ) -> Result<Vec<Found>, DatabaseError> {
        let mut tx = self.begin_read().await?;
        let end = skip as usize + limit as usize;
        let rows = match place {
            Place::Dots => names(&mut tx, DOTS, viewer, words, end).await?,
            Place::Branches => names(&mut tx, BRANCHES, viewer, words, end).await?,
            Place::Tags => names(&mut tx, TAGS, viewer, words, end).await?,
            Place::Commits => {
                let rows = self.commits(&mut tx, viewer, words, skip, limit).await?;
                return rows.into_iter().map(found).collect();
            }
        };
        rows.into_iter().skip(skip as usize).map(found).collect()
    }

    async fn commits(
        &self,
        connection: &mut AnyConnection,
        viewer: Option<UserId>,
        words: &Words,
        skip: u32,
        limit: u32,
    ) -> Result<Vec<Row>, DatabaseError> {
        let dots: Vec<i64> = sqlx::query_scalar(concat!("SELECT d.id FROM ", visible!()))
            .bind(viewer)
            .fetch_all(&mut *connection)
            .await?;
        if dots.is_empty() {
            return Ok(Vec::new());
        }
        let mut search = CommitSearch {
            dialect: self.dialect,
            viewer,
            dots: (dots.len() <= FEW_DOTS).then_some(dots),
            words,
            ending: Ending::Word,
        };
        let found = search.page(connection, skip, limit).await?;
        // All words that begin so are read as a whole, which is much where half of all messages have one: only where no
        // message has the word itself.
        let may_begin = words
            .as_slice()
            .last()
            .is_some_and(|word| may_be_beginning(word));
        if !(found.is_empty() && may_begin)
            || skip > 0 && !search.page(connection, 0, 1).await?.is_empty()
        {
            return Ok(found);
        }
        search.ending = Ending::Beginning;
        search.page(connection, skip, limit).await
    }
}

/// What the last word is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Word,
    /// The beginning of one.
    Beginning,
}

/// A search of messages.
struct CommitSearch<'a> {
    dialect: Dialect,
    viewer: Option<UserId>,
    /// The dots to search in; `None` for all.
    dots: Option<Vec<i64>>,
    words: &'a Words,
    ending: Ending,
}

impl CommitSearch<'_> {
    async fn page(
        &self,
        connection: &mut AnyConnection,
        skip: u32,
        limit: u32,
    ) -> Result<Vec<Row>, DatabaseError> {
        let end = i64::from(skip) + i64::from(limit);
        let (statement, matches) = match (self.dialect, &self.dots) {
            // The viewer may see all matches, and they come in order.
            (Dialect::Sqlite, Some(_)) => (COMMITS_SQLITE, end),
            (Dialect::Sqlite, None) => (COMMITS_SQLITE, MAX_MATCHES_SQLITE.max(end)),
            (Dialect::Postgres, _) => (COMMITS_POSTGRES, MAX_MATCHES_POSTGRES),
        };
        let newest = self.newest(connection).await?;
        let mut query = sqlx::query_as(statement)
            .bind(self.viewer)
            .bind(self.index_query())
            .bind(matches)
            .bind(i64::from(limit))
            .bind(i64::from(skip));
        if self.dialect == Dialect::Sqlite {
            query = query.bind(newest);
        }
        Ok(query.fetch_all(connection).await?)
    }

    /// From which row of SQLite's index to look back. It steps over the messages of others that came after these dots'
    /// one by one, unless it is told to begin behind them.
    async fn newest(&self, connection: &mut AnyConnection) -> Result<i64, DatabaseError> {
        let (Dialect::Sqlite, Some(dots)) = (self.dialect, self.sqlite_dots()) else {
            return Ok(i64::MAX);
        };
        let row: Option<i64> = sqlx::query_scalar(NEWEST_SQLITE)
            .bind(dots)
            .fetch_optional(connection)
            .await?;
        Ok(row.unwrap_or_default())
    }

    /// The dots to search in, in the language of SQLite's index.
    fn sqlite_dots(&self) -> Option<String> {
        let dots = self
            .dots
            .as_ref()?
            .iter()
            .map(|dot| format!("\"dot{dot}\""));
        Some(format!("dot : ({})", dots.collect::<Vec<_>>().join(" OR ")))
    }

    /// All the words, in the language of the index.
    fn index_query(&self) -> String {
        let words = self.words.as_slice();
        let last = words.len().saturating_sub(1);
        let is_beginning = |n: usize| n == last && self.ending == Ending::Beginning;
        let each = words.iter().enumerate();
        match self.dialect {
            Dialect::Sqlite => {
                let words = each.map(|(n, word)| {
                    let star = if is_beginning(n) { " *" } else { "" };
                    format!("message : \"{word}\"{star}")
                });
                let dots = self.sqlite_dots().into_iter();
                dots.chain(words).collect::<Vec<_>>().join(" AND ")
            }
            Dialect::Postgres => {
                let words = each.map(|(n, word)| {
                    let star = if is_beginning(n) { ":*" } else { "" };
                    format!("'{word}'{star}")
                });
                let mut query = words.collect::<Vec<_>>().join(" & ");
                if let Some(dots) = &self.dots {
                    let dots: Vec<String> = dots.iter().map(|dot| format!("'#{dot}'")).collect();
                    query = format!("({}) & {query}", dots.join(" | "));
                }
                query
            }
        }
    }
}

/// Shorter ones begin too many words.
fn may_be_beginning(word: &str) -> bool {
    word.chars().count() >= 3
}

/// Names with all the words: the longest is the database's to find, the others are looked for in what it found.
async fn names(
    connection: &mut AnyConnection,
    statement: &'static str,
    viewer: Option<UserId>,
    words: &Words,
    limit: usize,
) -> Result<Vec<Row>, DatabaseError> {
    let ascii = words.as_slice().iter().filter(|word| word.is_ascii());
    let longest = ascii.max_by_key(|word| word.len());
    // A word has neither `%` nor `_`. Other than ASCII letters the databases fold differently.
    let pattern = format!("%{}%", longest.map_or("", String::as_str));
    let mut rows = sqlx::query_as(statement)
        .bind(viewer)
        .bind(pattern)
        .fetch(connection);
    let has_all = |row: &Row| {
        let (owner, dot, name, _, text) = row;
        match name {
            Some(name) => words.are_in(&format!("{name} {text}")),
            None => words.are_in(&format!("{owner}/{dot} {text}")),
        }
    };
    let mut found = Vec::new();
    let mut looked_at = 0;
    while found.len() < limit && looked_at < MAX_LOOKED_AT {
        let Some(row) = rows.try_next().await? else {
            break;
        };
        looked_at += 1;
        if has_all(&row) {
            found.push(row);
        }
    }
    Ok(found)
}

fn found((owner, dot, name, commit, text): Row) -> Result<Found, DatabaseError> {
    Ok(Found {
        dot: ids::dot_name(&owner, &dot)?,
        name: name.as_deref().map(ids::name).transpose()?,
        commit: commit.as_deref().map(ids::commit_id).transpose()?,
        text,
    })
}
