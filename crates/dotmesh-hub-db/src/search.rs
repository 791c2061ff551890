//! Search. Names are few enough to scan them. Messages have an index of their words, of a different kind in each
//! database.

use dotmesh_api::dots::Found;
use dotmesh_hub_model::search::{Place, Words};
use futures::TryStreamExt as _;
use sqlx::AnyConnection;

use crate::dialect::Dialect;
use crate::ids::{self, UserId};
use crate::may_read::may_read;
use crate::{Database, DatabaseError};

/// If a viewer sees at most this many dots, the index query is limited to these dots.
const FEW_DOTS: usize = 200;

/// The most matching messages that a search of all dots looks at, the last to arrive first. They include messages
/// that the viewer may not see. So a search for a word in half of all messages finds only the visible ones among
/// these.
const MAX_MATCHES_SQLITE: i64 = 2_000;

/// The corresponding limit for PostgreSQL, for every search. Its index returns matches in no order.
const MAX_MATCHES_POSTGRES: i64 = 20_000;

/// The most names that a search looks at.
const MAX_LOOKED_AT: usize = 50_000;

/// SQL: the dots that the user `$1` may see, or an anonymous visitor if `$1` is null.
macro_rules! visible {
    () => {
        concat!(
            "dots d JOIN users o ON o.id = d.owner WHERE d.deleted IS NULL AND ",
            may_read!("d", "$1")
        )
    };
}

#[derive(sqlx::FromRow)]
struct Row {
    owner: String,
    dot: String,
    /// The branch or tag.
    name: Option<String>,
    commit_id: Option<Vec<u8>>,
    text: String,
}

impl Row {
    fn has_all(&self, words: &Words, statement: &str) -> bool {
        let Self {
            owner, dot, text, ..
        } = self;
        if statement == TABLES {
            return text.lines().any(|name| words.are_in(name));
        }
        match &self.name {
            Some(name) => words.are_in(&format!("{name} {text}")),
            None => words.are_in(&format!("{owner}/{dot} {text}")),
        }
    }

    /// Leaves only the lines of its text that have all the words.
    fn with_lines(self, words: &Words) -> Self {
        let lines = self.text.lines().filter(|name| words.are_in(name));
        let text = lines.collect::<Vec<_>>().join("\n");
        Self { text, ..self }
    }

    fn read(self) -> Result<Found, DatabaseError> {
        Ok(Found {
            dot: ids::dot_name(&self.owner, &self.dot)?,
            name: self.name.as_deref().map(ids::name).transpose()?,
            commit: self.commit_id.as_deref().map(ids::commit_id).transpose()?,
            text: self.text,
        })
    }
}

const DOTS: &str = concat!(
    "SELECT o.name AS owner, d.name AS dot, NULL AS name, NULL AS commit_id,
            substr(d.description, 1, 4000) AS text FROM ",
    visible!(),
    " AND lower(o.name || '/' || d.name || ' ' || substr(d.description, 1, 4000)) LIKE $2
     ORDER BY coalesce(d.pushed, d.created) DESC, d.id DESC"
);

const BRANCHES: &str = concat!(
    "SELECT v.owner, v.dot, b.name, b.head AS commit_id, '' AS text FROM
     (SELECT d.id AS id, o.name AS owner, d.name AS dot, coalesce(d.pushed, d.created) AS time FROM ",
    visible!(),
    ") v JOIN branches b ON b.dot = v.id WHERE lower(b.name) LIKE $2
     ORDER BY v.time DESC, v.id DESC, b.name"
);

const TAGS: &str = concat!(
    "SELECT v.owner, v.dot, t.name, t.commit_id, t.message AS text FROM
     (SELECT d.id AS id, o.name AS owner, d.name AS dot FROM ",
    visible!(),
    ") v JOIN tags t ON t.dot = v.id WHERE lower(t.name || ' ' || t.message) LIKE $2
     ORDER BY t.created DESC, v.id DESC, t.name"
);

/// The names are those of the summary that came last, one a line.
const TABLES: &str = concat!(
    "SELECT v.owner, v.dot, NULL AS name, t.commit_id, t.names AS text FROM
     (SELECT d.id AS id, o.name AS owner, d.name AS dot, coalesce(d.pushed, d.created) AS time FROM ",
    visible!(),
    ") v JOIN dot_tables t ON t.dot = v.id WHERE lower(t.names) LIKE $2
     ORDER BY v.time DESC, v.id DESC"
);

/// Finds the newest row of the index that belongs to any of the given dots.
const NEWEST_SQLITE: &str =
    "SELECT rowid FROM commit_words WHERE commit_words MATCH $1 ORDER BY rowid DESC LIMIT 1";

/// Takes the last `$3` messages to arrive, up to row `$6` of the index, that have the words `$2`. Returns those that
/// the viewer may see.
const COMMITS_SQLITE: &str = concat!(
    "SELECT f.owner, f.dot, NULL AS name, f.id AS commit_id, substr(m.message, 1, 65536) AS text FROM
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
    "SELECT f.owner, f.dot, NULL AS name, f.id AS commit_id, substr(m.message, 1, 65536) AS text FROM
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
    /// Returns the entries that have all the words and that the viewer may see.
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
            Place::Tables => {
                let rows = names(&mut tx, TABLES, viewer, words, end).await?;
                rows.into_iter().map(|row| row.with_lines(words)).collect()
            }
            Place::Commits => {
                let rows = self.commits(&mut tx, viewer, words, skip, limit).await?;
                return rows.into_iter().map(Row::read).collect();
            }
        };
        rows.into_iter()
            .skip(skip as usize)
            .map(Row::read)
            .collect()
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
        // A prefix search reads the entries of all words with the prefix. This is slow if half of all messages have
        // one, so it runs only if no message has the exact word.
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

/// How the last word of a search is matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Word,
    /// As the beginning of a word.
    Beginning,
}

/// A search in commit messages.
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
            // The viewer may see all matches, and the index returns them in order.
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

    /// Returns the row of SQLite's index from which the search goes back. Without it, the search would step one by
    /// one over newer messages of other dots.
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

    /// Returns the dots to search in, as a query of SQLite's index.
    fn sqlite_dots(&self) -> Option<String> {
        let dots = self
            .dots
            .as_ref()?
            .iter()
            .map(|dot| format!("\"dot{dot}\""));
        Some(format!("dot : ({})", dots.collect::<Vec<_>>().join(" OR ")))
    }

    /// Returns the query for the index: all the words, in the dots to search in.
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

/// Whether a prefix search makes sense. Too many words begin with a shorter prefix.
fn may_be_beginning(word: &str) -> bool {
    word.chars().count() >= 3
}

/// Finds names with all the words. The database looks for the longest ASCII word, and the result is then filtered by
/// all words.
async fn names(
    connection: &mut AnyConnection,
    statement: &'static str,
    viewer: Option<UserId>,
    words: &Words,
    limit: usize,
) -> Result<Vec<Row>, DatabaseError> {
    let ascii = words.as_slice().iter().filter(|word| word.is_ascii());
    let longest = ascii.max_by_key(|word| word.len());
    // A word has neither `%` nor `_`. It must be ASCII, because the databases fold other letters differently.
    let pattern = format!("%{}%", longest.map_or("", String::as_str));
    let mut rows = sqlx::query_as::<_, Row>(statement)
        .bind(viewer)
        .bind(pattern)
        .fetch(connection);
    let mut found = Vec::new();
    let mut looked_at = 0;
    while found.len() < limit && looked_at < MAX_LOOKED_AT {
        let Some(row) = rows.try_next().await? else {
            break;
        };
        looked_at += 1;
        if row.has_all(words, statement) {
            found.push(row);
        }
    }
    Ok(found)
}
