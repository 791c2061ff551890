//! A program that runs statements on an SQLite file, without any privilege. The daemon starts it for each question.
//!
//! The file may be crafted by an attacker. So the program sees only the folder with the file, has a user id that nothing else
//! has, and limits on memory and time. The library is told to trust nothing in the file.

use std::io::{self, BufWriter, Read as _, Write};
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
    let mut statements = String::new();
    io::stdin()
        .read_to_string(&mut statements)
        .map_err(|error| format!("cannot read the statements: {error}"))?;
    let mut out = BufWriter::with_capacity(64 << 10, io::stdout());
    let connection = open(file).map_err(told)?;
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
