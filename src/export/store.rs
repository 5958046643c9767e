//! A storage file of Plaso, opened so that nothing in it can do harm, and read row by row.
//!
//! Only SQLite's pages are trusted to SQLite: the file is read-only, code in its schema (views, triggers, virtual
//! tables, computed columns) is not run, and sizes are capped. A table is made with its first row, so one that is
//! missing is empty. Layout: acstore 20260411 `sqlite_store.py` and Plaso 20260720 `storage/sqlite/sqlite_file.py`.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Row, Rows, Statement};

use super::inflate::Inflater;
use crate::printable;

/// Storage formats whose layout is known.
const FORMATS: [&str; 2] = ["20230327", "20260516"];

/// More than any one row honestly has, packed or not.
pub const MOST_ROW_BYTES: usize = 64 * 1024 * 1024;

/// Pages that SQLite keeps, in KiB.
const CACHE_KIB: i32 = 8 * 1024;

/// Why a storage file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file itself.
    #[error("read the storage file")]
    File(#[from] io::Error),
    /// SQLite's complaint: damaged.
    #[error("read the storage file")]
    Database(#[from] rusqlite::Error),
    /// Not a storage file, or not a whole one.
    #[error("read the storage file: {0}")]
    Foreign(&'static str),
    /// Another format.
    #[error(
        "read the storage file: its format is {found}, known are 20230327 and 20260516; {advice}"
    )]
    Format {
        /// What the file says.
        found: String,
        /// What to do.
        advice: &'static str,
    },
    /// Not what Plaso writes.
    #[error("understand the storage file: row {row} of {table} {reason}")]
    Row {
        /// The table.
        table: &'static str,
        /// The row.
        row: i64,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// The error of a row that is not as Plaso writes it.
#[must_use]
pub fn odd(table: &'static str, row: i64, reason: &'static str) -> StoreError {
    StoreError::Row { table, row, reason }
}

/// A storage file.
#[derive(Debug)]
pub struct Store {
    database: Connection,
    format: String,
    packed: bool,
}

impl Store {
    /// Opens a finished storage file. One that is still written to must not be opened: a reader can end its writer.
    ///
    /// # Errors
    /// It is not there, not Plaso's, of another format, cut off or damaged.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        look_at_header(path)?;
        let database = guarded(path)?;
        plain_table(&database, "metadata")?
            .then_some(())
            .ok_or(StoreError::Foreign("it is not one of Plaso's"))?;
        let format = metadata(&database, "format_version")?;
        check_format(&format)?;
        if metadata(&database, "serialization_format")? != "json" {
            return Err(StoreError::Foreign("its rows are not JSON"));
        }
        let packed = match metadata(&database, "compression_format")?.as_str() {
            "zlib" => true,
            "none" => false,
            _ => return Err(StoreError::Foreign("its compression is not known")),
        };
        // Else SQLite locks the file, and looks whether it changed, for every row that is found by its number.
        database.execute_batch("BEGIN")?;
        Ok(Self {
            database,
            format,
            packed,
        })
    }

    /// The storage format.
    #[must_use]
    pub fn format(&self) -> &str {
        &self.format
    }

    /// Whether a table exists.
    ///
    /// # Errors
    /// The file is damaged, or the table is something else by that name.
    pub fn has(&self, table: &str) -> Result<bool, StoreError> {
        plain_table(&self.database, table)
    }

    /// Calls `each` with every row of a table in order of their numbers; a table that does not exist has none.
    ///
    /// # Errors
    /// The file is damaged, or those of `each`.
    pub fn rows<E: From<StoreError>>(
        &self,
        table: &str,
        columns: &str,
        mut each: impl FnMut(&Row<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if !self.has(table)? {
            return Ok(());
        }
        let sql = format!("SELECT {columns} FROM {table} NOT INDEXED ORDER BY _identifier");
        let mut query = self.database.prepare(&sql).map_err(StoreError::from)?;
        let mut rows = query.query([]).map_err(StoreError::from)?;
        while let Some(row) = rows.next().map_err(StoreError::from)? {
            each(row)?;
        }
        Ok(())
    }

    /// Finds rows of a table by their numbers.
    ///
    /// # Errors
    /// The file is damaged, or the table has other columns.
    pub fn finder(
        &self,
        table: &'static str,
        columns: &str,
    ) -> Result<Option<Finder<'_>>, StoreError> {
        if !self.has(table)? {
            return Ok(None);
        }
        let sql = format!("SELECT {columns} FROM {table} WHERE _identifier = ?1");
        Ok(Some(Finder {
            statement: self.database.prepare(&sql)?,
        }))
    }

    /// Unpacks the column `_data` of this file.
    #[must_use]
    pub fn unpacker(&self) -> Unpacker {
        Unpacker(self.packed.then(Inflater::new))
    }
}

/// Finds rows by their numbers.
#[derive(Debug)]
pub struct Finder<'a> {
    statement: Statement<'a>,
}

impl Finder<'_> {
    /// Calls `found` with the row of this number; none, if there is no such row.
    ///
    /// # Errors
    /// The file is damaged, or those of `found`.
    pub fn find<T>(
        &mut self,
        row: i64,
        found: impl FnOnce(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let mut rows: Rows<'_> = self.statement.query([row])?;
        rows.next()?.map(found).transpose()
    }
}

/// Unpacks rows into memory that it uses again.
#[derive(Debug)]
pub struct Unpacker(Option<Inflater>);

impl Unpacker {
    /// The JSON of a row of event data.
    ///
    /// # Errors
    /// It is damaged, or larger than [`MOST_ROW_BYTES`].
    pub fn unpack<'a>(
        &'a mut self,
        table: &'static str,
        row: i64,
        value: ValueRef<'a>,
    ) -> Result<&'a [u8], StoreError> {
        let (ValueRef::Blob(bytes) | ValueRef::Text(bytes)) = value else {
            return Err(odd(table, row, "holds no data"));
        };
        match &mut self.0 {
            None => Ok(bytes),
            Some(inflater) => inflater
                .inflate(bytes, MOST_ROW_BYTES)
                .map_err(|reason| odd(table, row, reason)),
        }
    }
}

/// `event_data.17` as 17, if written as Plaso writes it.
#[must_use]
pub fn row_number(identifier: &str) -> Option<i64> {
    let (_, digits) = identifier.split_once('.')?;
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    (plain && (digits == "0" || !digits.starts_with('0')))
        .then(|| digits.parse().ok())
        .flatten()
}

/// What SQLite would not notice, or would say in words that help nobody.
fn look_at_header(path: &Path) -> Result<(), StoreError> {
    let mut file = File::open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(StoreError::Foreign("it is no plain file"));
    }
    let mut header = [0; 100];
    if about.len() < 100 {
        return Err(StoreError::Foreign("it is not one of Plaso's"));
    }
    file.read_exact(&mut header)?;
    if !header.starts_with(b"SQLite format 3\0") {
        return Err(StoreError::Foreign("it is not one of Plaso's"));
    }
    // A last page that is cut off would be read as if zeros followed.
    let page = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65536,
        size => u64::from(size),
    };
    if page == 0 || about.len() % page != 0 {
        return Err(StoreError::Foreign("its end is missing"));
    }
    Ok(())
}

fn guarded(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(path, flags)?;
    database.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    database.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    database.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    database.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    database.pragma_update(None, "query_only", true)?;
    database.pragma_update(None, "cell_size_check", true)?;
    database.pragma_update(None, "mmap_size", 0)?;
    database.pragma_update(None, "cache_size", -CACHE_KIB)?;
    let cap = i32::try_from(MOST_ROW_BYTES).unwrap_or(i32::MAX);
    database.set_limit(Limit::SQLITE_LIMIT_LENGTH, cap)?;
    Ok(database)
}

/// Whether there is a table of that name. Something else of that name is refused: a virtual table, or a table
/// with anything computed in it, which takes more parentheses than those around the columns.
fn plain_table(database: &Connection, table: &str) -> Result<bool, StoreError> {
    let sql = "SELECT type, sql FROM sqlite_master WHERE name = ?1";
    let mut query = database.prepare(sql)?;
    let mut rows = query.query([table])?;
    let Some(row) = rows.next()? else {
        return Ok(false);
    };
    let (kind, made): (String, String) = (row.get(0)?, row.get(1)?);
    let open = made.bytes().filter(|byte| *byte == b'(').count();
    if kind != "table" || open != 1 || !made.starts_with("CREATE TABLE ") {
        return Err(StoreError::Foreign("its tables are not Plaso's"));
    }
    Ok(true)
}

fn metadata(database: &Connection, key: &str) -> Result<String, StoreError> {
    let sql = "SELECT value FROM metadata WHERE key = ?1";
    let value = database.query_row(sql, [key], |row| row.get(0));
    value.map_err(|error| match error {
        rusqlite::Error::QueryReturnedNoRows | rusqlite::Error::InvalidColumnType(..) => {
            StoreError::Foreign("it is not one of Plaso's")
        }
        other => other.into(),
    })
}

fn check_format(format: &str) -> Result<(), StoreError> {
    if FORMATS.contains(&format) {
        return Ok(());
    }
    let advice = match format.parse::<u64>() {
        Ok(number) if number > 20_260_516 => "install a dfagent that knows it",
        Ok(number) if number < 20_230_327 => {
            "export it with the Plaso that wrote it, or extract anew"
        }
        _ => "it may be damaged",
    };
    Err(StoreError::Format {
        found: printable::line(format, 40),
        advice,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: &str = "CREATE TABLE metadata (key TEXT, value TEXT);
        INSERT INTO metadata VALUES ('format_version', '20260516'), ('compression_format', 'none'),
            ('serialization_format', 'json');";
    const EVENT: &str =
        "CREATE TABLE event (_identifier INTEGER PRIMARY KEY AUTOINCREMENT, timestamp INTEGER);
        INSERT INTO event VALUES (3, 30), (1, 10), (2, 20);";

    fn made(folder: &Path, sql: &str) -> std::path::PathBuf {
        let path = folder.join("store.plaso");
        let database = Connection::open(&path).unwrap();
        database.execute_batch(sql).unwrap();
        path
    }

    fn refusal(sql: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = made(folder.path(), sql);
        let read = Store::open(&path).and_then(|store| {
            let mut seen = 0;
            store.rows("event", "_identifier, timestamp", |row| {
                seen += row.get::<_, i64>(1)?;
                Ok::<_, StoreError>(())
            })?;
            Ok(seen)
        });
        crate::printable::causes(&read.unwrap_err())
    }

    #[test]
    fn rows_come_in_order_and_tables_that_were_never_written_to_are_empty() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&made(folder.path(), &format!("{METADATA}{EVENT}"))).unwrap();
        let mut seen = Vec::new();
        let mut read = |table| {
            store.rows(table, "_identifier, timestamp", |row| {
                seen.push((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
                Ok::<_, StoreError>(())
            })
        };
        read("event").unwrap();
        read("event_tag").unwrap();
        assert_eq!(seen, [(1, 10), (2, 20), (3, 30)]);
        let mut finder = store.finder("event", "timestamp").unwrap().unwrap();
        let mut find = |row| finder.find(row, |row| Ok(row.get::<_, i64>(0)?)).unwrap();
        assert_eq!((find(2), find(7), find(1)), (Some(20), None, Some(10)));
        assert!(store.finder("event_data", "_data").unwrap().is_none());
    }

    #[test]
    fn other_formats_are_refused_with_what_to_do() {
        for (format, advice) in [
            ("20991231", "install a dfagent that knows it"),
            (
                "20211121",
                "export it with the Plaso that wrote it, or extract anew",
            ),
            ("20240101", "it may be damaged"),
            ("\u{1b}[2J", "it may be damaged"),
        ] {
            let said = refusal(&METADATA.replace("20260516", format));
            assert!(said.ends_with(advice) && !said.contains('\u{1b}'), "{said}");
        }
        let said = refusal(&METADATA.replace("'none'", "'lzma'"));
        assert_eq!(said, "read the storage file: its compression is not known");
        let said = refusal(&METADATA.replace("'json'", "'yaml'"));
        assert_eq!(said, "read the storage file: its rows are not JSON");
        let said = refusal("CREATE TABLE notes (text TEXT);");
        assert_eq!(said, "read the storage file: it is not one of Plaso's");
    }

    #[test]
    fn nothing_in_the_schema_is_run() {
        let hostile = "read the storage file: its tables are not Plaso's";
        for event in [
            "CREATE VIEW event AS SELECT 1 AS _identifier, 2 AS timestamp;",
            "CREATE VIRTUAL TABLE event USING fts5(_identifier, timestamp);",
            "CREATE TABLE event (_identifier INTEGER PRIMARY KEY, timestamp AS (zeroblob(9)));",
        ] {
            assert_eq!(refusal(&format!("{METADATA}{event}")), hostile, "{event}");
        }
        let view = METADATA.replace(
            "TABLE metadata (key TEXT, value TEXT)",
            "TABLE rows (key, value)",
        );
        let view = view.replace("INTO metadata", "INTO rows");
        let view = format!("{view} CREATE VIEW metadata AS SELECT * FROM rows;");
        assert_eq!(refusal(&view), hostile);
    }

    #[test]
    fn files_that_are_no_stores_or_not_whole_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let rows = "WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
            INSERT INTO event(timestamp) SELECT i FROM n;";
        let path = made(folder.path(), &format!("{METADATA}{EVENT}{rows}"));
        let whole = std::fs::read(&path).unwrap();
        let said = |bytes: &[u8]| {
            crate::durable::write(&path, bytes).unwrap();
            let read = Store::open(&path)
                .and_then(|store| store.rows("event", "timestamp", |_| Ok::<_, StoreError>(())));
            read.map_err(|error| error.to_string())
        };
        assert_eq!(said(&whole), Ok(()));
        for no_store in [&b""[..], b"SQLite format 3\0", &[7; 9000]] {
            let expected = "read the storage file: it is not one of Plaso's";
            assert_eq!(said(no_store), Err(expected.to_owned()));
        }
        for cut in (101..whole.len()).step_by(997) {
            let expected = "read the storage file: its end is missing";
            assert_eq!(said(&whole[..cut]), Err(expected.to_owned()), "{cut}");
        }
        let pages = whole.len() / 4096;
        for page in 3..pages {
            assert!(said(&whole[..page * 4096]).is_err(), "{page} of {pages}");
        }
        assert!(matches!(
            Store::open(folder.path()),
            Err(StoreError::Foreign("it is no plain file"))
        ));
        assert!(matches!(
            Store::open(&folder.path().join("absent")),
            Err(StoreError::File(_))
        ));
    }

    #[test]
    fn identifiers_are_taken_as_plaso_writes_them_only() {
        assert_eq!(row_number("event_data.17"), Some(17));
        assert_eq!(row_number("event.0"), Some(0));
        for odd in [
            "event",
            "event.",
            "event.+1",
            "event.007",
            "a.b.3",
            "event.99999999999999999999",
        ] {
            assert_eq!(row_number(odd), None, "{odd}");
        }
    }
}
