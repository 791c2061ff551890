//! PostgreSQL: read through `psql`, with `COPY`, which streams and escapes.

use std::collections::BTreeMap;

use crate::adapter::{Adapter, DATA, Recipe, Rows, Scan};
use crate::client::{Client, Run, whole};
use crate::error::RowsError;
use crate::lines::{Field, Lines};
use crate::model::{Cell, Column, DatabaseKind, RowKey, Table, TableName};
use crate::render::identifier;

mod authid;
mod catalog;

/// The settings of the server on the copy, and of every session. What the data's own configuration says is never read:
/// it could run programs (`archive_command`, `ssl_passphrase_command`) and load libraries (`shared_preload_libraries`).
const SETTINGS: &[&str] = &[
    "hba_file = '/tmp/hba.conf'",
    "ident_file = '/tmp/ident.conf'",
    "listen_addresses = ''",
    "unix_socket_directories = '/tmp'",
    "shared_preload_libraries = ''",
    "session_preload_libraries = ''",
    "local_preload_libraries = ''",
    "archive_mode = off",
    "archive_command = ''",
    "ssl = off",
    "logging_collector = off",
    "log_destination = 'stderr'",
    "external_pid_file = ''",
    "max_connections = 20",
    "max_prepared_transactions = 200",
    "max_replication_slots = 500",
    "max_wal_senders = 0",
    "max_logical_replication_workers = 0",
    "wal_level = logical",
    // Nothing may change the tables but what the comparison itself does.
    "autovacuum = off",
    // The copy is thrown away.
    "fsync = off",
    "full_page_writes = off",
    "synchronous_commit = off",
    "shared_buffers = '64MB'",
    "work_mem = '16MB'",
    "temp_file_limit = '8GB'",
    "restart_after_crash = off",
    "lc_messages = 'C'",
];

/// How values are written, so that both sides write equal values equally.
const SESSION: &str = "-c datestyle=ISO,YMD -c intervalstyle=postgres -c timezone=UTC -c bytea_output=hex \
     -c extra_float_digits=1 -c xmlbinary=base64 -c search_path=pg_catalog -c lock_timeout=10s -c row_security=off";

/// The script that starts the server. Links that lead outside of the data are refused.
pub(crate) fn recipe(version: &str) -> Recipe {
    let mut settings = SETTINGS.join("\n");
    let major = major(version);
    if major >= 11 {
        settings.push_str("\njit = off");
    }
    if major >= 15 {
        settings.push_str("\narchive_library = ''");
    }
    if major >= 17 {
        // A trigger of the event `login` would run at each connection.
        settings.push_str("\nevent_triggers = off");
    }
    let script = format!(
        r#"set -eu
umask 077
d={DATA}
for link in "$d"/pg_tblspc/*; do
    if [ -L "$link" ] || [ -e "$link" ]; then
        echo 'FATAL: the database has a tablespace outside of its data folder, which no commit contains' >&2
        exit 3
    fi
done
if [ -L "$d/pg_wal" ] || [ -L "$d/pg_xlog" ]; then
    echo 'FATAL: the write-ahead log is outside of the data folder, and no commit contains it' >&2
    exit 3
fi
rm -rf "$d/postmaster.pid" "$d/postmaster.opts" "$d/postgresql.auto.conf" "$d/postgresql.conf" "$d/pg_hba.conf" \
    "$d/standby.signal" "$d/recovery.signal" "$d/recovery.conf"
# A server refuses data that others may read.
chmod u=rwx,go= "$d"
: >"$d/postgresql.auto.conf"
: >/tmp/ident.conf
echo 'local all all trust' >/tmp/hba.conf
cat >/tmp/postgresql.conf <<'END'
{settings}
END
exec postgres -D "$d" -c config_file=/tmp/postgresql.conf
"#
    );
    let wait = Run::new([
        "sh",
        "-c",
        "until pg_isready -q -h /tmp -U postgres -d template1; do sleep 0.05; done",
    ]);
    Recipe { script, wait }
}

fn major(version: &str) -> u32 {
    let digits = version.split('.').next().unwrap_or_default();
    digits.parse().unwrap_or(0)
}

/// A value of a connection string.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// A server on a copy.
pub(crate) struct Postgres {
    client: Box<dyn Client>,
    user: String,
    major: u32,
}

impl Postgres {
    /// Finds out who may do everything. It is the one that made the database, whatever its name is.
    pub(crate) fn connect(client: Box<dyn Client>, version: &str) -> Result<Self, RowsError> {
        let mut postgres = Self {
            client,
            user: "postgres".to_owned(),
            major: major(version),
        };
        let Err(first) = postgres.ask("template1", "SELECT 1") else {
            return Ok(postgres);
        };
        for name in authid::superusers(&*postgres.client, postgres.major)? {
            postgres.user = name;
            if postgres.ask("template1", "SELECT 1").is_ok() {
                return Ok(postgres);
            }
        }
        Err(first)
    }

    fn psql(&self, database: &str) -> Run {
        let target = format!(
            "host=/tmp user={} dbname={}",
            quoted(&self.user),
            quoted(database)
        );
        Run::new(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &target])
            .with("PGOPTIONS", SESSION)
            .with("PGCLIENTENCODING", "UTF8")
            .with("PSQL_HISTORY", "/dev/null")
            .with("LC_ALL", "C")
    }

    /// The rows of a query about the database itself.
    fn ask(&self, database: &str, query: &str) -> Result<Vec<Vec<Field>>, RowsError> {
        let output = whole(&*self.client, self.psql(database).input(copy(query)))?;
        let mut lines = Lines::new(output.as_slice(), 1 << 20);
        let mut rows = Vec::new();
        while let Some(fields) = lines.next_line()? {
            rows.push(fields);
        }
        Ok(rows)
    }

    /// The columns of a table that people wrote about, and how each is read.
    fn query(table: &Table, scan: &Scan) -> (String, usize) {
        let named = |name: &String| identifier(DatabaseKind::Postgres, name);
        let kind_of = |name: &String| {
            let column = table.columns.iter().find(|column| column.name == *name);
            column.map_or("", |column| column.kind.as_str())
        };
        let columns: Vec<String> = scan.columns.iter().map(named).collect();
        let mut keys: Vec<String> = Vec::new();
        if scan.is_sorted {
            keys.extend(
                table
                    .key
                    .columns()
                    .iter()
                    .map(|name| match is_integer(kind_of(name)) {
                        true => named(name),
                        // The same order everywhere, whatever the locale of the database.
                        false => format!("({}::text) COLLATE \"C\"", named(name)),
                    }),
            );
            if keys.is_empty() {
                keys.push(format!(
                    "md5(ROW({})::text) COLLATE \"C\"",
                    columns.join(", ")
                ));
            }
        }
        let count = keys.len();
        let selected: Vec<String> = keys.iter().chain(&columns).cloned().collect();
        let selected = match selected.is_empty() {
            true => "NULL".to_owned(),
            false => selected.join(", "),
        };
        let name = format!(
            "{}.{}",
            identifier(DatabaseKind::Postgres, &table.name.schema),
            identifier(DatabaseKind::Postgres, &table.name.table)
        );
        let only = if table.place.contains('\n') {
            ""
        } else {
            "ONLY "
        };
        let source = match &scan.places {
            None => format!("{only}{name} t"),
            Some(places) => {
                let places: Vec<String> = places
                    .iter()
                    .map(|(block, number)| format!("\"({block},{number})\""))
                    .collect();
                let places = places.join(",");
                format!(
                    "(SELECT * FROM {only}{name} WHERE ctid = ANY('{{{places}}}'::tid[]) OFFSET 0) t"
                )
            }
        };
        let mut query = format!("SELECT {selected} FROM {source}");
        if let Some(filter) = &scan.filter {
            query.push_str(&format!(" WHERE ({filter}\n)"));
        }
        if scan.is_sorted {
            let places: Vec<String> = (1..=count).map(|place| place.to_string()).collect();
            query.push_str(&format!(" ORDER BY {}", places.join(", ")));
        } else if !table.key.columns().is_empty() {
            let order: Vec<String> = table.key.columns().iter().map(named).collect();
            query.push_str(&format!(" ORDER BY {}", order.join(", ")));
        }
        if let Some(limit) = scan.limit {
            query.push_str(&format!(" LIMIT {limit}"));
        }
        (query, count)
    }
}

fn copy(query: &str) -> Vec<u8> {
    format!("COPY ({query}) TO STDOUT;\n").into_bytes()
}

/// Whether values of a type are integers of at most 64 bits.
pub(crate) fn is_integer(kind: &str) -> bool {
    matches!(kind, "smallint" | "integer" | "bigint" | "oid")
}

impl Adapter for Postgres {
    fn databases(&self) -> Result<Vec<String>, RowsError> {
        let query = "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY datname COLLATE \"C\"";
        let rows = self.ask("template1", query)?;
        Ok(rows
            .iter()
            .filter_map(|row| Some(row.first()?.text()))
            .collect())
    }

    fn tables(&self, database: &str) -> Result<Vec<Table>, RowsError> {
        let mut tables: BTreeMap<i64, Table> = BTreeMap::new();
        for row in self.ask(database, &catalog::tables())? {
            let [number, schema, table, place, bytes] = catalog::texts(&row)?;
            let number = number.parse().unwrap_or_default();
            let name = TableName {
                database: database.to_owned(),
                schema,
                table,
            };
            tables.insert(
                number,
                Table {
                    name,
                    number,
                    place,
                    bytes: bytes.parse().unwrap_or(0),
                    ..Table::default()
                },
            );
        }
        for row in self.ask(database, &catalog::columns(self.major))? {
            let [table, name, kind, number, rest, generated] = catalog::texts(&row)?;
            let Some(table) = tables.get_mut(&table.parse().unwrap_or_default()) else {
                continue;
            };
            table.columns.push(Column {
                name,
                kind,
                rest,
                is_generated: !generated.is_empty(),
                number: number.parse().unwrap_or_default(),
            });
        }
        for row in self.ask(database, &catalog::keys(self.major))? {
            let [table, is_primary, number] = catalog::texts(&row)?;
            let Some(table) = tables.get_mut(&table.parse().unwrap_or_default()) else {
                continue;
            };
            let numbers: Vec<i64> = number
                .split(' ')
                .filter_map(|one| one.parse().ok())
                .collect();
            let names = numbers.iter().filter_map(|number| {
                let column = table.columns.iter().find(|column| column.number == *number);
                column.map(|column| column.name.clone())
            });
            let names: Vec<String> = names.collect();
            if names.len() == numbers.len() && !names.is_empty() && table.key == RowKey::None {
                table.key = match is_primary.as_str() {
                    "t" => RowKey::Primary(names),
                    _ => RowKey::Unique(names),
                };
            }
        }
        for row in self.ask(database, &catalog::parts(self.major))? {
            let [table, name, statement] = catalog::texts(&row)?;
            if let Some(table) = tables.get_mut(&table.parse().unwrap_or_default()) {
                table.parts.insert(name, statement);
            }
        }
        let mut tables: Vec<Table> = tables.into_values().collect();
        tables.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(tables)
    }

    fn definitions(&self, database: &str) -> Result<BTreeMap<String, String>, RowsError> {
        let rows = self.ask(database, &catalog::definitions(self.major))?;
        let pairs = rows.iter().map(|row| {
            let [name, statement] = catalog::texts(row)?;
            Ok((name, statement))
        });
        pairs.collect()
    }

    fn count(&self, database: &str, tables: &[Table]) -> Result<Vec<Option<u64>>, RowsError> {
        // Each statement stands alone, so a table that cannot be read leaves the others.
        let mut input = String::from("\\set ON_ERROR_STOP off\n");
        for (number, table) in tables.iter().enumerate() {
            let only = if table.place.contains('\n') {
                ""
            } else {
                "ONLY "
            };
            let (schema, name) = (&table.name.schema, &table.name.table);
            let (schema, name) = (
                identifier(DatabaseKind::Postgres, schema),
                identifier(DatabaseKind::Postgres, name),
            );
            input.push_str(&format!(
                "COPY (SELECT {number}, count(*) FROM {only}{schema}.{name}) TO STDOUT;\n"
            ));
        }
        let output = whole(&*self.client, self.psql(database).input(input))?;
        let mut lines = Lines::new(output.as_slice(), 1 << 10);
        let mut counts = vec![None; tables.len()];
        while let Some(fields) = lines.next_line()? {
            if let [Cell::Integer(number), Cell::Integer(count)] = fields
                .into_iter()
                .map(Field::integer)
                .collect::<Vec<_>>()
                .as_slice()
                && let Some(place) = usize::try_from(*number)
                    .ok()
                    .and_then(|number| counts.get_mut(number))
            {
                *place = u64::try_from(*count).ok();
            }
        }
        Ok(counts)
    }

    fn scan<'a>(&'a self, table: &Table, scan: &Scan) -> Result<Rows<'a>, RowsError> {
        let (query, keys) = Self::query(table, scan);
        let mut run = self.psql(&table.name.database).input(copy(&query));
        if scan.places.is_some() {
            // Reading the whole table and searching the places for each row would take forever.
            let options = format!("{SESSION} -c enable_seqscan=off");
            run.environment.retain(|(name, _)| name != "PGOPTIONS");
            run = run.with("PGOPTIONS", options);
        }
        let lines = Lines::new(self.client.run(run)?, scan.longest);
        let kind_of = |name: &String| {
            let column = table.columns.iter().find(|column| column.name == *name);
            column.map_or("", |column| column.kind.as_str()).to_owned()
        };
        let mut kinds: Vec<String> = Vec::new();
        if scan.is_sorted {
            kinds.extend(table.key.columns().iter().map(kind_of));
            kinds.resize(keys, String::new());
        }
        kinds.extend(scan.columns.iter().map(kind_of));
        Ok(lines.rows(keys, move |fields| {
            let values = fields
                .into_iter()
                .zip(&kinds)
                .map(|(field, kind)| match kind.as_str() {
                    kind if is_integer(kind) => field.integer(),
                    "boolean" if field.head == b"t" => Cell::Text("true".to_owned()),
                    "boolean" if field.head == b"f" => Cell::Text("false".to_owned()),
                    _ => field.value(),
                });
            let values: Vec<Cell> = values.collect();
            match values.len() < kinds.len() {
                true => Err(RowsError::Output {
                    kind: DatabaseKind::Postgres,
                    what: format!("a row with {} of {} columns", values.len(), kinds.len()),
                }),
                false => Ok(values),
            }
        }))
    }

    fn run(&self, run: Run) -> Result<Box<dyn std::io::Read + Send>, RowsError> {
        self.client.run(run)
    }

    fn statement(&self, database: Option<&str>, statement: &[u8]) -> Run {
        let mut run = self.psql(database.unwrap_or("postgres"));
        // Rows are printed as they come, and not collected first.
        run.command
            .extend(["-v", "FETCH_COUNT=1000", "-P", "pager=off"].map(str::to_owned));
        // People know their schemas by the usual path.
        run.environment.retain(|(name, _)| name != "PGOPTIONS");
        run.input(statement)
    }

    fn session(&self, database: Option<&str>, on_terminal: bool) -> Run {
        let mut run = self.statement(database, b"");
        if on_terminal {
            // People want to be greeted.
            run.command.retain(|word| word != "-q");
            run = run.on_terminal();
        }
        run
    }

    fn settle(&self) -> Result<(), RowsError> {
        let run = self.psql("template1").input("CHECKPOINT;\n");
        whole(&*self.client, run).map(drop)
    }

    fn next_transaction(&self) -> Result<Option<u64>, RowsError> {
        let rows = self.ask(
            "template1",
            "SELECT txid_snapshot_xmax(txid_current_snapshot())",
        )?;
        let next = rows
            .first()
            .and_then(|row| row.first()?.text().parse().ok());
        Ok(next)
    }
}
