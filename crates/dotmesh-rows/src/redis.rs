//! Redis: keys in the order of their bytes, with values by structure. Read through `redis-cli` and scripts.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead as _, BufReader, Read};

use crate::adapter::{Adapter, DATA, Recipe, Row, Rows, Scan};
use crate::client::{Client, Run, whole};
use crate::error::RowsError;
use crate::model::{Cell, Column, DatabaseKind, RowKey, Table, TableName};
use crate::render::redis_quoted;

/// The keys of a page, which one call sorts, and those that one script reads.
const PAGE: usize = 20_000;
const BATCH: usize = 100;

/// Longer lists, sets and others are compared by their hash.
const MOST_ELEMENTS: usize = 5000;

/// The first keys after another one, sorted.
const LIST: &str = "local c='0' local t={} repeat local r=redis.call('SCAN',c,'MATCH',ARGV[4],'COUNT',1000) c=r[1] \
    for _,k in ipairs(r[2]) do if ARGV[1]=='0' or k>ARGV[2] then t[#t+1]=k end end until c=='0' table.sort(t) \
    local o={'keys'} local p=nil for _,k in ipairs(t) do if k~=p then o[#o+1]=k p=k \
    if #o>tonumber(ARGV[3]) then break end end end o[1]=tostring(#o-1) return o";

/// For each key its type, when it expires, the number of its elements, and these. A long value has a hash instead.
const READ: &str = "local o={} local function add(x) o[#o+1]=tostring(x) end \
    local max=tonumber(ARGV[1]) local long=tonumber(ARGV[2]) \
    local now=redis.call('TIME') now=now[1]*1000+math.floor(now[2]/1000) \
    for _,k in ipairs(KEYS) do local t=redis.call('TYPE',k).ok local e=redis.pcall('PEXPIRETIME',k) \
    if type(e)=='table' then e=redis.call('PTTL',k) if e>=0 then e=e+now end end \
    add(t) add(string.format('%.0f',e)) local v={} \
    if t=='string' then v={redis.call('GET',k)} \
    elseif t=='list' then v=redis.call('LRANGE',k,0,-1) \
    elseif t=='set' then v=redis.call('SMEMBERS',k) table.sort(v) \
    elseif t=='hash' or t=='zset' then local r if t=='hash' then r=redis.call('HGETALL',k) \
    else r=redis.call('ZRANGE',k,0,-1,'WITHSCORES') end local n={} local m={} \
    for i=1,#r,2 do n[#n+1]=r[i] m[r[i]]=r[i+1] end table.sort(n) \
    for _,f in ipairs(n) do v[#v+1]=f v[#v+1]=m[f] end \
    elseif t=='stream' then for _,x in ipairs(redis.call('XRANGE',k,'-','+')) do v[#v+1]=x[1] \
    v[#v+1]=cjson.encode(x[2]) end \
    elseif t~='none' then v={redis.sha1hex(redis.call('DUMP',k))} end \
    local b=0 for _,x in ipairs(v) do b=b+#x end \
    if #v>max or b>long then local h='' for _,x in ipairs(v) do h=redis.sha1hex(h..#x..':'..x) end \
    add(-1) add(b) add(h) add(string.sub(v[1] or '',1,200)) \
    else add(#v) for _,x in ipairs(v) do add(x) end end end return o";

/// The script that starts the server with a configuration of ours.
pub(crate) fn recipe() -> Recipe {
    let script = format!(
        r#"set -eu
export LC_ALL=C
cd {DATA}
dump=dump.rdb
for file in *; do
    if [ -f "$file" ] && [ ! -L "$file" ] && [ "$(head -c 5 "$file")" = REDIS ]; then
        case $file in temp-*) ;; *) dump=$file ;; esac
    fi
done
log=no name=appendonly.aof
for file in appendonlydir/*.manifest; do
    if [ -f "$file" ]; then
        log=yes name=${{file#*/}} name=${{name%.manifest}}
    fi
done
if [ $log = no ]; then
    for file in *.aof; do
        if [ -f "$file" ] && [ ! -L "$file" ]; then log=yes name=$file; fi
    done
fi
server=redis-server
command -v redis-server >/dev/null || server=valkey-server
exec "$server" --port 0 --unixsocket /tmp/redis.sock --dir {DATA} --dbfilename "$dump" --save '' \
    --appendonly $log --appendfilename "$name" --auto-aof-rewrite-percentage 0 --daemonize no --logfile '' \
    --protected-mode yes --stop-writes-on-bgsave-error no --lua-time-limit 0
"#
    );
    let wait = Run::new([
        "sh",
        "-c",
        "c=redis-cli; command -v redis-cli >/dev/null || c=valkey-cli; \
         until \"$c\" -s /tmp/redis.sock ping 2>/dev/null | grep -q PONG; do sleep 0.05; done",
    ]);
    Recipe { script, wait }
}

/// The form of a key: parts that look like numbers and ids are `*`.
pub(crate) fn form(key: &str) -> String {
    let mut form = String::new();
    let mut part = String::new();
    let end = |form: &mut String, part: &mut String| {
        let is_id =
            part.len() > 24 || part.bytes().any(|byte| byte.is_ascii_digit()) && !form.is_empty();
        match is_id {
            true => form.push('*'),
            false => form.push_str(part),
        }
        part.clear();
    };
    for letter in key.chars().take(512) {
        part.push(letter);
        if matches!(letter, ':' | '/' | '|' | '.') {
            let letter = part.pop();
            end(&mut form, &mut part);
            form.extend(letter);
        }
    }
    // A key with one part is a name, unless it ends with a number.
    if form.is_empty() {
        let name = part.trim_end_matches(|letter: char| letter.is_ascii_digit());
        return match name.len() == part.len() {
            true if part.len() > 64 => "*".to_owned(),
            true => part,
            false => format!("{name}*"),
        };
    }
    end(&mut form, &mut part);
    form
}

/// Whether a user means a row by the form of its key, or by a pattern for it.
pub(crate) fn is_like(wanted: &str, form: &str, row: Option<&Vec<Cell>>) -> bool {
    let key = match row.and_then(|row| row.first()) {
        Some(Cell::Text(key)) => key.as_str(),
        _ => "",
    };
    wanted == form || fits(wanted.as_bytes(), key.as_bytes())
}

/// Whether a text fits a pattern with `*` and `?`.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut place) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while place < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, place));
                at += 1;
            }
            Some(letter) if *letter == b'?' || *letter == text[place] => {
                at += 1;
                place += 1;
            }
            _ => match &mut star {
                Some((back, from)) => {
                    *from += 1;
                    (at, place) = (*back + 1, *from);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|letter| *letter == b'*')
}

/// A server on a copy.
pub(crate) struct Redis {
    client: Box<dyn Client>,
}

impl Redis {
    pub(crate) fn new(client: Box<dyn Client>) -> Self {
        Self { client }
    }

    fn cli(database: &str) -> Run {
        let script =
            "c=redis-cli; command -v redis-cli >/dev/null || c=valkey-cli; exec \"$c\" \"$@\"";
        Run::new([
            "sh",
            "-c",
            script,
            "redis-cli",
            "-s",
            "/tmp/redis.sock",
            "-n",
            database,
            "--no-raw",
        ])
        .with("LC_ALL", "C")
        .with("REDISCLI_HISTFILE", "/dev/null")
    }

    /// The first keys after one, sorted.
    fn page(
        &self,
        database: &str,
        after: Option<&[u8]>,
        glob: &str,
        most: usize,
    ) -> Result<Vec<Vec<u8>>, RowsError> {
        let input = format!(
            "EVAL {} 0 {} {} {most} {}\n",
            redis_quoted(LIST.as_bytes()),
            if after.is_some() { 1 } else { 0 },
            redis_quoted(after.unwrap_or_default()),
            redis_quoted(glob.as_bytes())
        );
        let mut items = Items::new(self.client.run(Self::cli(database).input(input))?);
        let count = items.number()?;
        (0..count).map(|_| items.next()).collect()
    }
}

impl Adapter for Redis {
    fn databases(&self) -> Result<Vec<String>, RowsError> {
        let output = whole(&*self.client, Self::cli("0").input("INFO keyspace\n"))?;
        let text = String::from_utf8_lossy(&output).replace("\\r\\n", "\n");
        let names = text.lines().filter_map(|line| {
            let (name, _) = line
                .trim()
                .trim_start_matches('"')
                .strip_prefix("db")?
                .split_once(':')?;
            name.parse::<u32>().ok()
        });
        let mut names: Vec<u32> = names.collect();
        names.sort_unstable();
        Ok(names.iter().map(ToString::to_string).collect())
    }

    fn tables(&self, database: &str) -> Result<Vec<Table>, RowsError> {
        let column = |name: &str, kind: &str| Column {
            name: name.to_owned(),
            kind: kind.to_owned(),
            ..Column::default()
        };
        Ok(vec![Table {
            name: TableName {
                database: database.to_owned(),
                schema: String::new(),
                table: "*".to_owned(),
            },
            columns: vec![
                column("key", "string"),
                column("type", "string"),
                column("expires", "milliseconds"),
                column("value", "any"),
            ],
            key: RowKey::Primary(vec!["key".to_owned()]),
            ..Table::default()
        }])
    }

    fn definitions(&self, _: &str) -> Result<BTreeMap<String, String>, RowsError> {
        Ok(BTreeMap::new())
    }

    fn count(&self, _: &str, tables: &[Table]) -> Result<Vec<Option<u64>>, RowsError> {
        Ok(vec![None; tables.len()])
    }

    fn scan<'a>(&'a self, table: &Table, scan: &Scan) -> Result<Rows<'a>, RowsError> {
        let keys_only = scan.columns == ["key"];
        Ok(Box::new(Keys {
            redis: self,
            database: table.name.database.clone(),
            glob: scan.filter.clone().unwrap_or_else(|| "*".to_owned()),
            left: scan.limit.unwrap_or(u64::MAX),
            longest: scan.longest,
            keys_only,
            keys: VecDeque::new(),
            last: None,
            is_last_page: false,
            items: None,
            failed: false,
        }))
    }

    fn run(&self, run: Run) -> Result<Box<dyn std::io::Read + Send>, RowsError> {
        self.client.run(run)
    }

    fn statement(&self, database: Option<&str>, statement: &[u8]) -> Run {
        let mut input = statement.to_vec();
        input.push(b'\n');
        Self::cli(database.unwrap_or("0")).input(input)
    }

    fn session(&self, database: Option<&str>, on_terminal: bool) -> Run {
        let run = Self::cli(database.unwrap_or("0"));
        match on_terminal {
            true => run.on_terminal(),
            false => run,
        }
    }

    fn has_groups(&self) -> bool {
        true
    }

    fn matches(&self, _: &TableName, _: &str) -> bool {
        true
    }
}

/// The keys of a database with their values.
struct Keys<'a> {
    redis: &'a Redis,
    database: String,
    glob: String,
    left: u64,
    longest: usize,
    keys_only: bool,
    keys: VecDeque<Vec<u8>>,
    last: Option<Vec<u8>>,
    is_last_page: bool,
    items: Option<Items>,
    failed: bool,
}

impl Keys<'_> {
    fn turn_page(&mut self) -> Result<(), RowsError> {
        let most = PAGE.min(usize::try_from(self.left).unwrap_or(PAGE));
        let page = self
            .redis
            .page(&self.database, self.last.as_deref(), &self.glob, most)?;
        self.is_last_page = page.len() < most;
        self.last = page.last().cloned();
        if !self.keys_only && !page.is_empty() {
            let mut input = String::new();
            let script = redis_quoted(READ.as_bytes());
            for batch in page.chunks(BATCH) {
                let keys: Vec<String> = batch.iter().map(|key| redis_quoted(key)).collect();
                input.push_str(&format!(
                    "EVAL {script} {} {} {MOST_ELEMENTS} {}\n",
                    keys.len(),
                    keys.join(" "),
                    self.longest
                ));
            }
            let run = Redis::cli(&self.database).input(input);
            self.items = Some(Items::new(self.redis.client.run(run)?));
        }
        self.keys = page.into();
        Ok(())
    }

    fn read(&mut self) -> Result<Option<Row>, RowsError> {
        loop {
            if self.left == 0 {
                return Ok(None);
            }
            if self.keys.is_empty() {
                if self.is_last_page {
                    return Ok(None);
                }
                self.turn_page()?;
            }
            let Some(key) = self.keys.pop_front() else {
                return Ok(None);
            };
            let group = Some(form(&String::from_utf8_lossy(&key)));
            let key = Cell::of_bytes(key);
            let Some(items) = &mut self.items else {
                self.left -= 1;
                return Ok(Some(Row {
                    values: vec![key.clone()],
                    key: vec![key],
                    group,
                }));
            };
            let kind = String::from_utf8_lossy(&items.next()?).into_owned();
            let expires = items.number()?;
            let value = items.value(&kind)?;
            // It has expired meanwhile.
            if kind == "none" {
                continue;
            }
            self.left -= 1;
            let expires = if expires < 0 {
                Cell::Null
            } else {
                Cell::Integer(expires)
            };
            return Ok(Some(Row {
                values: vec![key.clone(), Cell::Text(kind), expires, value],
                key: vec![key],
                group,
            }));
        }
    }
}

impl Iterator for Keys<'_> {
    type Item = Result<Row, RowsError>;
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let row = self.read().transpose();
        self.failed = matches!(row, Some(Err(_)));
        row
    }
}

/// The items of replies that are lists of texts, one on a line.
struct Items {
    lines: BufReader<Box<dyn Read + Send>>,
}

impl Items {
    fn new(output: Box<dyn Read + Send>) -> Self {
        Self {
            lines: BufReader::with_capacity(64 << 10, output),
        }
    }

    fn next(&mut self) -> Result<Vec<u8>, RowsError> {
        let mut line = Vec::new();
        loop {
            line.clear();
            self.lines.read_until(b'\n', &mut line)?;
            let text = String::from_utf8_lossy(&line);
            let text = text.trim();
            let wrong = |what: &str| RowsError::Output {
                kind: DatabaseKind::Redis,
                what: what.chars().take(200).collect(),
            };
            if line.is_empty() {
                return Err(wrong("its output ends too early"));
            }
            if text.is_empty() {
                continue;
            }
            if let Some(error) = text.strip_prefix("(error) ") {
                return Err(RowsError::Failed {
                    message: format!("Redis refused: {error}"),
                });
            }
            let (_, item) = text.split_once(") ").ok_or_else(|| wrong(text))?;
            return unquoted(item).ok_or_else(|| wrong(text));
        }
    }

    fn number(&mut self) -> Result<i64, RowsError> {
        let item = self.next()?;
        let text = String::from_utf8_lossy(&item);
        text.parse().map_err(|_| RowsError::Output {
            kind: DatabaseKind::Redis,
            what: format!("'{text}' where a number should be"),
        })
    }

    fn value(&mut self, kind: &str) -> Result<Cell, RowsError> {
        let count = self.number()?;
        if count < 0 {
            let bytes = u64::try_from(self.number()?).unwrap_or(0);
            let hash = String::from_utf8_lossy(&self.next()?).into_owned();
            let begins = String::from_utf8_lossy(&self.next()?).into_owned();
            return Ok(Cell::Long {
                begins,
                bytes,
                hash,
            });
        }
        let elements: Result<Vec<Cell>, RowsError> = (0..count)
            .map(|_| self.next().map(Cell::of_bytes))
            .collect();
        let mut elements = elements?;
        Ok(match kind {
            "list" | "set" => Cell::List(elements),
            "hash" | "zset" | "stream" => {
                let mut elements = elements.into_iter();
                let pairs = std::iter::from_fn(|| Some((elements.next()?, elements.next()?)));
                Cell::Map {
                    map: pairs.collect(),
                }
            }
            _ => elements.pop().unwrap_or(Cell::Null),
        })
    }
}

/// The bytes of a text in quotes, as `redis-cli` writes it.
fn unquoted(text: &str) -> Option<Vec<u8>> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    let mut bytes = Vec::with_capacity(inner.len());
    let mut letters = inner.bytes();
    while let Some(letter) = letters.next() {
        if letter != b'\\' {
            bytes.push(letter);
            continue;
        }
        bytes.push(match letters.next()? {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'a' => 7,
            b'b' => 8,
            b'x' => {
                let digits = [letters.next()?, letters.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_grouped_by_their_form() {
        for (key, expected) in [
            ("whales", "whales"),
            ("user:17", "user:*"),
            ("user:17:name", "user:*:name"),
            ("session:0f3a9c", "session:*"),
            ("visit12", "visit*"),
            ("app:config", "app:config"),
        ] {
            assert_eq!(form(key), expected, "{key}");
        }
    }

    #[test]
    fn patterns_fit_whole_keys() {
        for (pattern, text, expected) in [
            ("user:*", "user:1", true),
            ("u*:?", "user:1", true),
            ("user", "user:1", false),
            ("*", "", true),
            ("*a*b", "xaxb", true),
            ("*a*b", "xaxbc", false),
        ] {
            assert_eq!(
                fits(pattern.as_bytes(), text.as_bytes()),
                expected,
                "{pattern} {text}"
            );
        }
    }

    #[test]
    fn quoted_texts_are_any_bytes() {
        assert_eq!(unquoted(r#""a\x00\"\n\\""#).expect("bytes"), b"a\0\"\n\\");
        assert_eq!(unquoted("(nil)"), None);
    }
}
