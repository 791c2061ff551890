//! MariaDB and MySQL: read through `mariadb` or `mysql`, whose batch form streams and escapes.

use std::collections::BTreeMap;

use crate::adapter::{Adapter, DATA, Recipe, Rows, Scan};
use crate::client::{Client, Run, whole};
use crate::error::RowsError;
use crate::lines::{Field, Lines};
use crate::model::{Cell, Column, DatabaseKind, RowKey, Table, TableName};
use crate::render::{identifier, literal};

/// Databases of the server itself.
const OWN: &str = "('information_schema', 'mysql', 'performance_schema', 'sys')";

/// The script that starts the server. It reads no configuration, and loads no plugins and functions of the data.
pub(crate) fn recipe(kind: DatabaseKind) -> Recipe {
    let own = match kind {
        DatabaseKind::Mysql => "--loose-persisted-globals-load=OFF --loose-mysqlx=OFF",
        _ => "",
    };
    let script = format!(
        r#"set -eu
d={DATA}
if [ -L "$d/ibdata1" ] || [ -n "$(find "$d" -maxdepth 2 -type l | head -n 1)" ]; then
    echo '[ERROR] the data folder has links to files outside of it, which no commit contains' >&2
    exit 3
fi
rm -rf "$d/mysqld-auto.cnf" "$d/.dotmesh-tmp"
mkdir "$d/.dotmesh-tmp"
server=mariadbd
command -v mariadbd >/dev/null || server=mysqld
set --
[ "$(id -u)" != 0 ] || set -- --user=root
exec "$server" --no-defaults --datadir="$d" --tmpdir="$d/.dotmesh-tmp" --socket=/tmp/mysql.sock \
    --pid-file=/tmp/mysql.pid --skip-grant-tables --skip-networking --skip-log-bin --loose-skip-slave-start \
    --loose-event-scheduler=OFF --secure-file-priv=/tmp --local-infile=OFF --loose-symbolic-links=OFF \
    --innodb-flush-log-at-trx-commit=0 --max-allowed-packet=1G --character-set-server=utf8mb4 {own} "$@"
"#
    );
    let wait = Run::new([
        "sh",
        "-c",
        "c=mariadb; command -v mariadb >/dev/null || c=mysql; \
         until \"$c\" --no-defaults -S /tmp/mysql.sock -u root -e 'SELECT 1' >/dev/null 2>&1; do sleep 0.05; done",
    ]);
    Recipe { script, wait }
}

/// A server on a copy.
pub(crate) struct Mysql {
    client: Box<dyn Client>,
    kind: DatabaseKind,
}

/// How a column is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Integer,
    Text,
    Bytes,
}

fn form(kind: &str) -> Form {
    let name: String = kind.chars().take_while(char::is_ascii_alphabetic).collect();
    match name.as_str() {
        "tinyint" | "smallint" | "mediumint" | "int" | "year" => Form::Integer,
        "bigint" if !kind.contains("unsigned") => Form::Integer,
        "binary" | "varbinary" | "bit" | "tinyblob" | "blob" | "mediumblob" | "longblob"
        | "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
        | "multipolygon" | "geometrycollection" => Form::Bytes,
        _ => Form::Text,
    }
}

impl Mysql {
    pub(crate) fn new(client: Box<dyn Client>, kind: DatabaseKind) -> Self {
        Self { client, kind }
    }

    fn cli(database: Option<&str>, options: &[&str]) -> Run {
        let script = "c=mariadb; command -v mariadb >/dev/null || c=mysql; exec \"$c\" \"$@\"";
        let mut command = vec![
            "sh",
            "-c",
            script,
            "mysql",
            "--no-defaults",
            "-S",
            "/tmp/mysql.sock",
            "-u",
            "root",
        ];
        command.extend([
            "--default-character-set=utf8mb4",
            "--max-allowed-packet=1G",
            "--quick",
        ]);
        command.extend(options);
        if let Some(database) = database {
            command.extend(["-D", database]);
        }
        Run::new(command)
            .with("MYSQL_HISTFILE", "/dev/null")
            .with("LC_ALL", "C")
    }

    fn query(database: Option<&str>, query: &str) -> Run {
        let session = "SET SESSION sql_mode = '', time_zone = '+00:00';";
        Self::cli(database, &["--batch", "--skip-column-names"])
            .input(format!("{session}\n{query};\n"))
    }

    /// The rows of a query about the database itself. NULL is an empty text.
    fn ask<const COUNT: usize>(
        &self,
        columns: [&str; COUNT],
        rest: &str,
    ) -> Result<Vec<[String; COUNT]>, RowsError> {
        let columns: Vec<String> = columns
            .iter()
            .map(|column| format!("IFNULL(CONCAT('=', {column}), '=')"))
            .collect();
        let query = format!("SELECT {} {rest}", columns.join(", "));
        let output = whole(&*self.client, Self::query(None, &query))?;
        let mut lines = Lines::new(output.as_slice(), 1 << 20);
        let mut rows = Vec::new();
        while let Some(fields) = lines.next_line()? {
            let texts = fields
                .iter()
                .map(|field| field.text().split_off(1.min(field.head.len())));
            let texts: Result<[String; COUNT], _> = texts.collect::<Vec<String>>().try_into();
            rows.push(texts.map_err(|texts| self.wrong(&texts.join(" ")))?);
        }
        Ok(rows)
    }

    fn wrong(&self, what: &str) -> RowsError {
        RowsError::Output {
            kind: self.kind,
            what: what.chars().take(200).collect(),
        }
    }

    fn name(&self, name: &TableName) -> String {
        format!(
            "{}.{}",
            identifier(self.kind, &name.database),
            identifier(self.kind, &name.table)
        )
    }
}

/// An expression as it stands in a statement. MySQL writes quotes with a backslash.
fn unescaped(expression: &str) -> String {
    expression.replace("\\'", "'")
}

fn text(text: &str) -> String {
    literal(DatabaseKind::Mysql, &Cell::Text(text.to_owned())).unwrap_or_default()
}

impl Adapter for Mysql {
    fn databases(&self) -> Result<Vec<String>, RowsError> {
        let rest = format!(
            "FROM information_schema.schemata WHERE schema_name NOT IN {OWN} AND schema_name NOT LIKE '#mysql50#%' \
             ORDER BY BINARY schema_name"
        );
        let rows = self.ask(["schema_name"], &rest)?;
        Ok(rows.into_iter().map(|[name]| name).collect())
    }

    fn tables(&self, database: &str) -> Result<Vec<Table>, RowsError> {
        let mut tables: BTreeMap<String, Table> = BTreeMap::new();
        let of = format!("table_schema = {}", text(database));
        let rest = format!(
            "FROM information_schema.tables WHERE {of} AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED')"
        );
        for [table, bytes] in self.ask(["table_name", "data_length + index_length"], &rest)? {
            let name = TableName {
                database: database.to_owned(),
                schema: String::new(),
                table: table.clone(),
            };
            tables.insert(
                table,
                Table {
                    name,
                    bytes: bytes.parse().unwrap_or(0),
                    ..Table::default()
                },
            );
        }
        // MariaDB writes defaults as they stand in a statement, and MySQL writes the bare texts.
        let default = match self.kind {
            DatabaseKind::Mysql => {
                "IF(extra LIKE '%DEFAULT_GENERATED%' OR column_type LIKE 'bit%' OR column_default LIKE '0x%', \
                 column_default, QUOTE(column_default))"
            }
            _ => "column_default",
        };
        let columns = [
            "table_name",
            "column_name",
            "column_type",
            "is_nullable",
            default,
            "extra",
            "generation_expression",
        ];
        let rest = format!(
            "FROM information_schema.columns WHERE {of} ORDER BY table_name, ordinal_position"
        );
        for [table, name, kind, nullable, default, extra, formula] in self.ask(columns, &rest)? {
            let Some(table) = tables.get_mut(&table) else {
                continue;
            };
            let extra = extra.to_uppercase();
            let is_generated = extra.contains("GENERATED") && !extra.contains("DEFAULT_GENERATED");
            let mut rest = Vec::new();
            if is_generated {
                let stored = if extra.contains("VIRTUAL") {
                    "VIRTUAL"
                } else {
                    "STORED"
                };
                let formula = unescaped(&formula);
                rest.push(format!("GENERATED ALWAYS AS ({formula}) {stored}"));
            }
            if nullable == "NO" {
                rest.push("NOT NULL".to_owned());
            }
            if !default.is_empty() && default != "NULL" {
                let is_formula =
                    self.kind == DatabaseKind::Mysql && extra.contains("DEFAULT_GENERATED");
                rest.push(
                    match is_formula && !default.starts_with("CURRENT_TIMESTAMP") {
                        true => format!("DEFAULT ({})", unescaped(&default)),
                        false => format!("DEFAULT {default}"),
                    },
                );
            }
            if !is_generated {
                let extra = extra.replace("DEFAULT_GENERATED", "");
                rest.extend(Some(extra.trim().to_owned()).filter(|extra| !extra.is_empty()));
            }
            table.columns.push(Column {
                name,
                kind,
                rest: rest.join(" "),
                is_generated,
                number: 0,
            });
        }
        let columns = [
            "table_name",
            "index_name",
            "non_unique",
            "column_name",
            "nullable",
            "sub_part",
        ];
        let rest = format!(
            "FROM information_schema.statistics WHERE {of} \
             ORDER BY table_name, index_name <> 'PRIMARY', BINARY index_name, seq_in_index"
        );
        let mut indexes: Vec<Index> = Vec::new();
        for [table, name, non_unique, column, nullable, part] in self.ask(columns, &rest)? {
            let is_new = indexes
                .last()
                .is_none_or(|last| (&last.table, &last.name) != (&table, &name));
            if is_new {
                indexes.push(Index {
                    table,
                    name,
                    is_unique: non_unique == "0",
                    is_key: non_unique == "0",
                    columns: Vec::new(),
                });
            }
            if let Some(index) = indexes.last_mut() {
                index.is_key &= nullable != "YES" && part.is_empty() && !column.is_empty();
                index.columns.push(column);
            }
        }
        for index in indexes {
            if let Some(table) = tables.get_mut(&index.table) {
                let (name, statement) = index.statement(self.kind);
                table.parts.insert(name, statement);
                if index.is_key && table.key == RowKey::None {
                    table.key = match index.name.as_str() {
                        "PRIMARY" => RowKey::Primary(index.columns),
                        _ => RowKey::Unique(index.columns),
                    };
                }
            }
        }
        Ok(tables.into_values().collect())
    }

    fn definitions(&self, database: &str) -> Result<BTreeMap<String, String>, RowsError> {
        let of = text(database);
        let rest = format!("FROM information_schema.views WHERE table_schema = {of}");
        let mut definitions = BTreeMap::new();
        for [name, statement] in self.ask(["table_name", "view_definition"], &rest)? {
            let name = format!("VIEW {}", identifier(self.kind, &name));
            definitions.insert(name.clone(), format!("CREATE {name} AS {statement}"));
        }
        let rest = format!("FROM information_schema.routines WHERE routine_schema = {of}");
        for [name, what, statement] in self.ask(
            ["routine_name", "routine_type", "routine_definition"],
            &rest,
        )? {
            let name = format!("{what} {}", identifier(self.kind, &name));
            definitions.insert(name.clone(), format!("CREATE {name} … {statement}"));
        }
        Ok(definitions)
    }

    fn count(&self, database: &str, tables: &[Table]) -> Result<Vec<Option<u64>>, RowsError> {
        let mut counts = Vec::new();
        if tables.is_empty() {
            return Ok(counts);
        }
        let counting = tables
            .iter()
            .map(|table| format!("SELECT COUNT(*) FROM {}", self.name(&table.name)));
        let query = counting.collect::<Vec<_>>().join(";\n");
        // With `--force` a table that cannot be read leaves the others, but then no count can be told from another.
        let read = whole(&*self.client, Self::query(Some(database), &query));
        let Ok(output) = read else {
            return Ok(vec![None; tables.len()]);
        };
        let mut lines = Lines::new(output.as_slice(), 1 << 10);
        while let Some(fields) = lines.next_line()? {
            counts.push(fields.first().and_then(|field| field.text().parse().ok()));
        }
        counts.resize(tables.len(), None);
        Ok(counts)
    }

    fn scan<'a>(&'a self, table: &Table, scan: &Scan) -> Result<Rows<'a>, RowsError> {
        let kind_of = |name: &String| {
            let column = table.columns.iter().find(|column| column.name == *name);
            column.map_or("", |column| column.kind.as_str())
        };
        let named = |name: &String| identifier(self.kind, name);
        let mut forms: Vec<Form> = Vec::new();
        let mut selected: Vec<String> = Vec::new();
        if scan.is_sorted {
            for name in table.key.columns() {
                let (column, kind) = (named(name), kind_of(name));
                selected.push(match form(kind) {
                    Form::Integer => column,
                    _ if kind.starts_with("bigint") => format!("LPAD({column}, 20, '0')"),
                    // The same order everywhere, whatever the collation of the column.
                    _ => format!("HEX(CAST({column} AS BINARY))"),
                });
                forms.push(form(kind));
            }
            if selected.is_empty() {
                let all = scan.columns.iter().map(|name| {
                    format!(
                        "IFNULL(CONCAT('=', HEX(CAST({} AS BINARY))), '-')",
                        named(name)
                    )
                });
                let all = all.collect::<Vec<_>>().join(", '|', ");
                selected.push(format!(
                    "SHA2(CONCAT({}), 256)",
                    if all.is_empty() { "''".to_owned() } else { all }
                ));
                forms.push(Form::Text);
            }
        }
        let keys = selected.len();
        for name in &scan.columns {
            let (column, form) = (named(name), form(kind_of(name)));
            selected.push(match form {
                Form::Bytes => format!("IFNULL(CONCAT('x', HEX({column})), '-')"),
                _ => format!("IFNULL(CONCAT('=', {column}), '-')"),
            });
            forms.push(form);
        }
        let selected = if selected.is_empty() {
            "'-'".to_owned()
        } else {
            selected.join(", ")
        };
        let mut query = format!("SELECT {selected} FROM {}", self.name(&table.name));
        if let Some(filter) = &scan.filter {
            query.push_str(&format!(" WHERE ({filter}\n)"));
        }
        let order: Vec<String> = match scan.is_sorted {
            true => (1..=keys).map(|place| place.to_string()).collect(),
            false => table.key.columns().iter().map(named).collect(),
        };
        if !order.is_empty() {
            query.push_str(&format!(" ORDER BY {}", order.join(", ")));
        }
        if let Some(limit) = scan.limit {
            query.push_str(&format!(" LIMIT {limit}"));
        }
        let run = Self::query(Some(&table.name.database), &query);
        let lines = Lines::new(self.client.run(run)?, scan.longest);
        Ok(lines.rows(keys, move |fields| {
            if fields.len() != forms.len() {
                let what = format!("a row with {} of {} columns", fields.len(), forms.len());
                return Err(self.wrong(&what));
            }
            let fields = fields.into_iter().zip(&forms).enumerate();
            let values = fields.map(|(place, (field, form))| match form {
                _ if place >= keys => marked(field, *form),
                Form::Integer => field.integer(),
                _ => field.value(),
            });
            Ok(values.collect())
        }))
    }

    fn run(&self, run: Run) -> Result<Box<dyn std::io::Read + Send>, RowsError> {
        self.client.run(run)
    }

    fn statement(&self, database: Option<&str>, statement: &[u8]) -> Run {
        Self::cli(database, &["--table"]).input(statement)
    }

    fn session(&self, database: Option<&str>, on_terminal: bool) -> Run {
        let run = Self::cli(database, &["--table", "--unbuffered"]);
        match on_terminal {
            true => run.on_terminal(),
            false => run,
        }
    }
}

fn marked(mut field: Field, form: Form) -> Cell {
    match (field.take_mark(), form) {
        (Some(b'='), Form::Integer) => field.integer(),
        (Some(b'x'), _) => match field.value() {
            // Bits have as many digits as they need, and a statement needs pairs.
            Cell::Text(hex) if hex.len() % 2 == 1 => Cell::Bytes {
                hex: format!("0{}", hex.to_lowercase()),
            },
            Cell::Text(hex) => Cell::Bytes {
                hex: hex.to_lowercase(),
            },
            other => other,
        },
        (Some(b'='), _) => field.value(),
        _ => Cell::Null,
    }
}

/// An index of a table.
struct Index {
    table: String,
    name: String,
    is_unique: bool,
    /// Whether it tells rows apart.
    is_key: bool,
    columns: Vec<String>,
}

impl Index {
    fn statement(&self, kind: DatabaseKind) -> (String, String) {
        let named = |name: &String| match name.is_empty() {
            true => "(…)".to_owned(),
            false => identifier(kind, name),
        };
        let columns: Vec<String> = self.columns.iter().map(named).collect();
        let what = match (self.name.as_str(), self.is_unique) {
            ("PRIMARY", _) => "PRIMARY KEY".to_owned(),
            (name, true) => format!("UNIQUE INDEX {}", identifier(kind, name)),
            (name, false) => format!("INDEX {}", identifier(kind, name)),
        };
        let table = identifier(kind, &self.table);
        let statement = format!("ALTER TABLE {table} ADD {what} ({})", columns.join(", "));
        (format!("INDEX {}", self.name), statement)
    }
}
