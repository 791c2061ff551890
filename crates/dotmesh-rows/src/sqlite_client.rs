//! A program that runs statements on an SQLite file, without any privilege. The daemon starts it for each question.
//!
//! The file may be crafted by an attacker. So the program sees only the folder with the file, has a user id that nothing else
//! has, and limits on memory and time. The library is told to trust nothing in the file.

use std::io::{self, BufRead, BufWriter, Read as _, Write};
use std::os::fd::{AsFd, OwnedFd};

use rusqlite::config::DbConfig;
use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::hooks::{AuthAction, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Batch, Connection, OpenFlags, functions::FunctionFlags};
use rustix::fs::{AtFlags, Gid, Uid};
use rustix::process::{Resource, Rlimit, setrlimit};

/// Prints each row as a line of fields, each with the mark of its type.
pub const MARKS: &str = "marks";

/// Prints each row as people read it.
pub const LIST: &str = "list";

/// The same, and each statement runs as soon as it is read.
pub const SESSION: &str = "session";

/// The same for a person, with prompts. What fails is said, and the next statement is read.
pub const PROMPTS: &str = "prompts";

/// The function that makes a hash of its arguments.
pub(crate) const HASH: &str = "dotmesh_hash";

/// The most memory, in bytes, and the most CPU time, in seconds.
const MOST_MEMORY: u64 = 112 << 20;
const MOST_TIME: u64 = 300;

/// The most that it may write: a log that is moved into the file, and what sorting needs.
const MOST_WRITTEN: u64 = 8 << 30;

/// Gives up all privileges. `folder` has the file, and becomes the root of this process. `id` is its user from now on.
/// Must run before the process has a second thread.
pub fn confine(folder: &OwnedFd, file: &str, id: u32) -> io::Result<()> {
    let (user, group) = (Uid::from_raw(id), Gid::from_raw(id));
    // The copy is thrown away, so its owners do not matter.
    let own = |name: &str| match rustix::fs::chownat(
        folder,
        name,
        Some(user),
        Some(group),
        AtFlags::SYMLINK_NOFOLLOW,
    ) {
        Err(rustix::io::Errno::NOENT) => Ok(()),
        done => done,
    };
    for suffix in ["", "-wal", "-shm", "-journal"] {
        own(&format!("{file}{suffix}"))?;
    }
    rustix::fs::fchown(folder.as_fd(), Some(user), Some(group))?;
    rustix::process::fchdir(folder)?;
    rustix::process::chroot(".")?;
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(group, group, group)?;
    rustix::thread::set_thread_res_uid(user, user, user)?;
    rustix::thread::set_no_new_privs(true)?;
    let limits = [
        (Resource::Data, MOST_MEMORY),
        (Resource::Cpu, MOST_TIME),
        (Resource::Fsize, MOST_WRITTEN),
        (Resource::Nofile, 32),
        (Resource::Nproc, 1),
        (Resource::Core, 0),
    ];
    for (resource, limit) in limits {
        let limit = Rlimit {
            current: Some(limit),
            maximum: Some(limit),
        };
        setrlimit(resource, limit)?;
    }
    Ok(())
}

/// Runs the statements of the standard input on a file of the current folder.
pub fn run(file: &str, mode: &str) -> Result<(), String> {
    let mut out = BufWriter::with_capacity(64 << 10, io::stdout());
    let connection = open(file).map_err(told)?;
    if mode == SESSION || mode == PROMPTS {
        return converse(&connection, io::stdin().lock(), mode == PROMPTS, &mut out);
    }
    let mut statements = String::new();
    io::stdin()
        .read_to_string(&mut statements)
        .map_err(|error| format!("cannot read the statements: {error}"))?;
    answer(&connection, &statements, mode == MARKS, &mut out)?;
    out.flush().map_err(|error| error.to_string())
}

/// Opens a file that nobody vouches for.
pub fn open(file: &str) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    connection.set_limit(Limit::SQLITE_LIMIT_WORKER_THREADS, 0)?;
    // One process opens the copy, so no memory is shared. As a mapped file it would be a danger.
    connection.execute_batch(
        "PRAGMA locking_mode = EXCLUSIVE; PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0; PRAGMA temp_store = FILE; \
         PRAGMA cache_size = -16000; PRAGMA synchronous = OFF;",
    )?;
    connection.create_scalar_function(
        HASH,
        -1,
        FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC,
        |values| {
            let mut hasher = blake3::Hasher::new();
            for place in 0..values.len() {
                let (mark, bytes) = plain(values.get_raw(place));
                hasher.update(&[mark]);
                hasher.update(&(bytes.len() as u64).to_le_bytes());
                hasher.update(&bytes);
            }
            Ok(hasher.finalize().to_hex().as_str()[..32].to_owned())
        },
    )?;
    connection.authorizer(Some(
        |context: rusqlite::hooks::AuthContext<'_>| match context.action {
            AuthAction::Attach { .. } | AuthAction::Detach { .. } => Authorization::Deny,
            AuthAction::Function {
                function_name: "load_extension" | "writefile" | "readfile" | "edit",
            } => Authorization::Deny,
            _ => Authorization::Allow,
        },
    ))?;
    Ok(connection)
}

fn answer(
    connection: &Connection,
    statements: &str,
    marks: bool,
    out: &mut impl Write,
) -> Result<(), String> {
    let mut batch = Batch::new(connection, statements);
    while let Some(mut statement) = batch.next().map_err(told)? {
        let columns = statement.column_count();
        if !marks && columns > 0 {
            let names = statement.column_names().join("|");
            writeln!(out, "{names}").map_err(|error| error.to_string())?;
        }
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next().map_err(told)? {
            for place in 0..columns {
                let value = row.get_ref(place).map_err(told)?;
                let written = match marks {
                    true => write_marked(out, value, place > 0),
                    false => write_listed(out, value, place > 0),
                };
                written.map_err(|error| error.to_string())?;
            }
            out.write_all(b"\n").map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}

/// Runs statements as they come.
fn converse(
    connection: &Connection,
    mut input: impl BufRead,
    has_prompts: bool,
    out: &mut impl Write,
) -> Result<(), String> {
    let mut text = String::new();
    loop {
        if has_prompts {
            let prompt = if text.is_empty() {
                "sqlite> "
            } else {
                "   ...> "
            };
            write!(out, "{prompt}").map_err(|error| error.to_string())?;
        }
        out.flush().map_err(|error| error.to_string())?;
        let read = input.read_line(&mut text);
        let is_end = read.map_err(|error| format!("cannot read the statements: {error}"))? == 0;
        if is_end && has_prompts {
            writeln!(out).map_err(|error| error.to_string())?;
        }
        if is_end || is_whole(&text) {
            let ran = answer(connection, &text, false, out);
            text.clear();
            match ran {
                Err(message) if has_prompts => {
                    writeln!(out, "Error: {message}").map_err(|error| error.to_string())?;
                }
                Err(message) => {
                    let _ = out.flush();
                    return Err(message);
                }
                Ok(()) => {}
            }
        }
        if is_end {
            return out.flush().map_err(|error| error.to_string());
        }
    }
}

/// Whether a text ends with a whole statement, or has none. The statements of a trigger end with `END`.
fn is_whole(text: &str) -> bool {
    let mut words: Vec<String> = Vec::new();
    let mut is_whole = true;
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
        let end_of =
            |end: &str, from: usize| rest[from..].find(end).map(|at| from + at + end.len());
        let length = match letter {
            _ if rest.starts_with("--") => end_of("\n", 2).or(Some(rest.len())),
            _ if rest.starts_with("/*") => end_of("*/", 2),
            letter if letter.is_whitespace() => Some(letter.len_utf8()),
            ';' => {
                let is_trigger = words.first().is_some_and(|word| word == "CREATE")
                    && words.iter().take(3).any(|word| word == "TRIGGER");
                is_whole = !is_trigger || words.ends_with(&[";".to_owned(), "END".to_owned()]);
                match is_whole {
                    true => words.clear(),
                    false => words.push(";".to_owned()),
                }
                Some(1)
            }
            _ => {
                is_whole = false;
                match letter {
                    '\'' => end_of("'", 1),
                    '"' => end_of("\"", 1),
                    '`' => end_of("`", 1),
                    '[' => end_of("]", 1),
                    letter if is_name(letter) => {
                        let end = rest
                            .find(|letter: char| !is_name(letter))
                            .unwrap_or(rest.len());
                        words.push(rest[..end].to_uppercase());
                        Some(end)
                    }
                    letter => Some(letter.len_utf8()),
                }
            }
        };
        match length {
            Some(length) => rest = &rest[length..],
            // A text or a comment goes on.
            None => return false,
        }
    }
    is_whole
}

/// The mark of a value's type, and its bytes.
fn plain(value: ValueRef<'_>) -> (u8, std::borrow::Cow<'_, [u8]>) {
    match value {
        ValueRef::Null => (b'n', [].as_slice().into()),
        ValueRef::Integer(number) => (b'i', number.to_string().into_bytes().into()),
        ValueRef::Real(number) => (b'f', format!("{number:?}").into_bytes().into()),
        ValueRef::Text(text) => (b't', text.into()),
        ValueRef::Blob(bytes) => (b'x', crate::model::hex(bytes).into_bytes().into()),
    }
}

fn write_marked(out: &mut impl Write, value: ValueRef<'_>, has_others: bool) -> io::Result<()> {
    let (mark, bytes) = plain(value);
    if has_others {
        out.write_all(b"\t")?;
    }
    out.write_all(&[mark])?;
    let mut from = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let escape: &[u8] = match byte {
            b'\t' => b"\\t",
            b'\n' => b"\\n",
            b'\\' => b"\\\\",
            _ => continue,
        };
        out.write_all(&bytes[from..at])?;
        out.write_all(escape)?;
        from = at + 1;
    }
    out.write_all(&bytes[from..])
}

fn write_listed(out: &mut impl Write, value: ValueRef<'_>, has_others: bool) -> io::Result<()> {
    if has_others {
        out.write_all(b"|")?;
    }
    out.write_all(&plain(value).1)
}

fn told(error: rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(code, message) => match (code.extended_code, message) {
            (11, message) => format!(
                "the SQLite database is damaged: {}",
                message.unwrap_or_else(|| "database disk image is malformed".to_owned())
            ),
            (_, Some(message)) => message,
            (_, None) => code.to_string(),
        },
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_runs_as_soon_as_it_is_whole() {
        let whole = [
            "",
            "\n",
            "-- only this\n",
            "select 1;",
            "select ';' , \"a;\" , [b;] -- c;\n;",
            "select 1; -- end",
            "create table t (a);\nselect /* ; */ 1;",
            "CREATE TEMP TRIGGER x AFTER INSERT ON t BEGIN UPDATE t SET a = CASE WHEN 1 THEN 2 END; DELETE FROM t; END;",
            "select 'it''s';",
        ];
        for text in whole {
            assert!(is_whole(text), "{text}");
        }
        let begun = [
            "select 1",
            "select 1; select",
            "select 'a;",
            "select 1 /* ;",
            "select 1 -- ;",
            "create trigger x after insert on t begin delete from t;",
            "create trigger x after insert on t begin update t set a = case when 1 then 2 end;",
        ];
        for text in begun {
            assert!(!is_whole(text), "{text}");
        }
    }

    #[test]
    fn a_session_goes_on_after_an_error_only_with_prompts() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("db");
        Connection::open(&path).expect("a database");
        let db = open(path.to_str().expect("a path")).expect("it opens");
        let input = "create table t (a);\ninsert into t\nvalues (1);\nnonsense;\nselect a from t;\nselect 7";
        let mut out = Vec::new();
        converse(&db, input.as_bytes(), true, &mut out).expect("a session");
        let out = String::from_utf8(out).expect("a text");
        assert_eq!(
            out,
            "sqlite> sqlite>    ...> sqlite> Error: near \"nonsense\": syntax error\nsqlite> a\n1\nsqlite>    ...> \n7\n7\n"
        );
        let mut out = Vec::new();
        let input = "select a from t;\nnonsense;\nselect 2;\n";
        let error = converse(&db, input.as_bytes(), false, &mut out);
        assert_eq!(
            error.expect_err("an error"),
            "near \"nonsense\": syntax error"
        );
        assert_eq!(out, b"a\n1\n");
    }
}
