//! Opening the database, and what all its tables share.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sqlx::any::{AnyPoolOptions, AnyRow};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AnyPool, Executor as _, Row as _, SqlSafeStr as _};
use tokio::sync::mpsc;

use super::error::{Error, Result};
use super::home::{Home, ProjectHome};
use super::refusal::{Obstacle, Refusal};
use crate::base::Timestamp;
use crate::base::clock::from_ms;

/// Pause between two looks at whether anybody wrote to the database.
const STAMP_EVERY: Duration = Duration::from_secs(1);

/// The database, seen from one project; cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    pub(super) pool: AnyPool,
    pub(super) project: String,
    file: PathBuf,
}

/// How the database's files stand: size and time of the database and of its log.
pub type Stamp = [Option<(u64, i64, i64)>; 2];

/// Settings of every SQLite connection: durable, readers beside a writer, a write-ahead log that shrinks again.
const SQLITE_SETTINGS: &str = "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
     PRAGMA journal_size_limit = 4194304; PRAGMA foreign_keys = ON;";

/// What every database of SQLite's begins with.
const SQLITE_MAGIC: &[u8] = b"SQLite format 3\0";

impl Store {
    /// Opens the database in `home`, creating it and bringing its schema up to date.
    ///
    /// # Errors
    /// The directory cannot be created or written, the disk is full, or the file is not a database of cascade's.
    pub async fn open(home: &Home, project: &ProjectHome) -> Result<Self> {
        project.create().map_err(|source| Error::Home { path: home.root().to_owned(), source })?;
        let path = home.database();
        require_database(&path).map_err(open_error(&path))?;
        require_writable(home.root(), &path)?;
        let pool = connect(&path).await.map_err(open_error(&path))?;
        migrate(&pool, &path).await?;
        Ok(Self { pool, project: project.key().to_owned(), file: path })
    }

    /// Answers what changes with nearly every write to the database, by whichever process, without asking it.
    ///
    /// A write right after this was asked may go unnoticed: whoever waits for one looks now and then all the same.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        let log = with_suffix(&self.file, "-wal");
        [self.file.as_path(), &log].map(|file| {
            let found = std::fs::metadata(file).ok()?;
            Some((found.len(), found.mtime(), found.mtime_nsec()))
        })
    }

    /// Waits until somebody has written to the database since it had the stamp `seen`, or the time is over: whichever it is,
    /// one looks.
    pub async fn written_within(&self, pause: Duration, seen: Stamp) {
        let written = async {
            loop {
                // Other processes write too, and nothing tells of that. Whoever writes while looking is not called at once.
                tokio::time::sleep(STAMP_EVERY).await;
                if self.stamp() != seen {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(pause, written).await;
    }

    /// Records the project's name and place.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn remember_project(&self, name: &str, root: &Path, now: Timestamp) -> Result<()> {
        sqlx::query(
            "INSERT INTO projects (project, name, root, created_ms) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (project) DO UPDATE SET name = excluded.name, root = excluded.root",
        )
        .bind(self.project.clone())
        .bind(name.to_owned())
        .bind(root.to_string_lossy().into_owned())
        .bind(now.as_millisecond())
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(failed("record the project"))
    }

    /// Answers the keys of the projects that were last seen at `place`, or else at the nearest directory above it that is
    /// known, whether anything is there by now or not.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn projects_at(&self, place: &Path) -> Result<Vec<String>> {
        let rows = sqlx::query("SELECT project, root FROM projects").fetch_all(&self.pool).await;
        let rows = rows.map_err(failed("list the projects"))?;
        let known = |row: &AnyRow| Ok((Columns(row).text("root")?, Columns(row).text("project")?));
        let known: Vec<(String, String)> = rows.iter().map(known).collect::<Result<_>>()?;
        let at = |directory: &Path| -> Vec<String> {
            let root = directory.to_string_lossy();
            known.iter().filter(|(known, _)| *known == root).map(|(_, project)| project.clone()).collect()
        };
        Ok(place.ancestors().map(at).find(|projects| !projects.is_empty()).unwrap_or_default())
    }

    /// Writes everything out and closes the connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Refuses a file that is something else, before anything is tried with it.
fn require_database(path: &Path) -> io::Result<()> {
    let mut start = Vec::new();
    match File::open(path).and_then(|file| file.take(SQLITE_MAGIC.len() as u64).read_to_end(&mut start)) {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(refused) => Err(refused),
        // An empty file is a database that nothing was written to yet.
        Ok(0) => Ok(()),
        Ok(_) if start == SQLITE_MAGIC => Ok(()),
        Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a SQLite database")),
    }
}

async fn connect(path: &Path) -> std::result::Result<AnyPool, sqlx::Error> {
    sqlx::any::install_default_drivers();
    let url = format!("sqlite://{}?mode=rwc", percent_encoded(path));
    let (refuse, mut refused) = mpsc::channel(1);
    // The database is in this process: asking a connection whether it still works before each use would only take time.
    let pool =
        AnyPoolOptions::new().max_connections(1).test_before_acquire(false).after_connect(move |connection, _| {
            let refuse = refuse.clone();
            Box::pin(async move {
                match connection.execute(SQLITE_SETTINGS).await {
                    Err(problem) if !matches!(Refusal::of(&problem), Some(Refusal::Locked)) => {
                        // Whoever opens the database listens; later connections are tried again by the pool.
                        let _ = refuse.try_send(problem);
                        Err(sqlx::Error::WorkerCrashed)
                    }
                    set => set.map(drop),
                }
            })
        });
    // The pool would try again for half a minute, and then not say why.
    tokio::select! {
        biased;
        Some(problem) = refused.recv() => Err(problem),
        pool = pool.connect(&url) => pool,
    }
}

/// Refuses a database that this user may not write, with whatever of it is in the way: SQLite would not say which.
fn require_writable(home: &Path, database: &Path) -> Result<()> {
    let files = ["", "-wal", "-shm"].map(|suffix| with_suffix(database, suffix));
    for path in files.iter().filter(|file| file.exists()).map(PathBuf::as_path).chain([home]) {
        if let Some(obstacle) = Obstacle::at(path) {
            return Err(Error::Unwritable { path: path.to_owned(), obstacle });
        }
    }
    Ok(())
}

async fn migrate(pool: &AnyPool, path: &Path) -> Result<()> {
    if is_current(pool).await {
        return Ok(());
    }
    let lock_path = path.with_extension("migration.lock");
    let lock = tokio::task::spawn_blocking(move || {
        let file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(lock_path)?;
        file.lock().map(|()| file)
    });
    let _lock = lock.await.map_err(|lost| open_error(path)(lost))?.map_err(open_error(path))?;
    Migrator::with_migrations(migrations()).run(pool).await.map_err(open_error(path))
}

/// Answers whether every migration ran already: the usual case, one query.
async fn is_current(pool: &AnyPool) -> bool {
    // All of them, for one may have been added before the newest.
    let known = i64::try_from(migrations().len()).ok();
    let applied = sqlx::query("SELECT CAST(COUNT(*) AS BIGINT) AS applied FROM _sqlx_migrations WHERE success")
        .fetch_all(pool)
        .await;
    applied.is_ok_and(|rows| rows.first().and_then(|row| row.try_get::<i64, _>("applied").ok()) == known)
}

fn migrations() -> Vec<Migration> {
    let migration = |version, name: &'static str, sql: &'static str| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    vec![
        migration(1, "pipeline", include_str!("migrations/0001_pipeline.sql")),
        migration(2, "sandbox notices", include_str!("migrations/0002_sandbox_notices.sql")),
        migration(3, "waivers", include_str!("migrations/0003_waivers.sql")),
        migration(4, "after landing", include_str!("migrations/0004_after_landing.sql")),
        migration(6, "hotfixes and rehearsals", include_str!("migrations/0006_hotfixes_and_rehearsals.sql")),
        migration(7, "attempts and culprits", include_str!("migrations/0007_attempts_and_culprits.sql")),
        migration(8, "ledger", include_str!("migrations/0008_ledger.sql")),
        migration(9, "syncs", include_str!("migrations/0009_syncs.sql")),
        migration(11, "sandbox notes", include_str!("migrations/0011_sandbox_notes.sql")),
        migration(12, "deliveries", include_str!("migrations/0012_deliveries.sql")),
        migration(13, "sync memories", include_str!("migrations/0013_sync_memories.sql")),
        migration(15, "sync words", include_str!("migrations/0015_sync_words.sql")),
    ]
}

/// Escapes what would end the path part of a database URL.
fn percent_encoded(path: &Path) -> String {
    let mut text = String::new();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => text.push(char::from(*byte)),
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}

fn open_error<E: std::error::Error + Send + Sync + 'static>(path: &Path) -> impl FnOnce(E) -> Error {
    let path = path.to_owned();
    move |source| {
        let source = Refusal::of(&source).map_or_else(|| source.into(), Into::into);
        Error::Open { path, source }
    }
}

/// Wraps a failed statement with what was tried.
pub(super) fn failed(action: &'static str) -> impl FnOnce(sqlx::Error) -> Error {
    move |source| Error::Statement { action, source: Refusal::from(source) }
}

/// Reads columns of one row, each with a clear error where the value is not what it must be.
pub(super) struct Columns<'a>(pub &'a AnyRow);

impl Columns<'_> {
    pub fn text(&self, name: &str) -> Result<String> {
        self.0.try_get(name).map_err(failed("read a text column"))
    }

    pub fn optional_text(&self, name: &str) -> Result<Option<String>> {
        self.0.try_get(name).map_err(failed("read a text column"))
    }

    pub fn integer(&self, name: &str) -> Result<i64> {
        self.0.try_get(name).map_err(failed("read a number column"))
    }

    pub fn flag(&self, name: &str) -> Result<bool> {
        // INTEGER is 32 bits wide in PostgreSQL and 64 in SQLite.
        self.0
            .try_get::<i64, _>(name)
            .or_else(|_| self.0.try_get::<i32, _>(name).map(i64::from))
            .map(|flag| flag != 0)
            .map_err(failed("read a flag column"))
    }

    pub fn time(&self, name: &str) -> Result<Timestamp> {
        self.integer(name).map(from_ms)
    }

    pub fn optional_time(&self, name: &str) -> Result<Option<Timestamp>> {
        let ms: Option<i64> = self.0.try_get(name).map_err(failed("read a time column"))?;
        Ok(ms.map(from_ms))
    }

    pub fn parsed<T: FromStr>(&self, name: &str, expected: &'static str) -> Result<T> {
        let value = self.text(name)?;
        value.parse().map_err(|_| Error::Malformed { expected, value })
    }

    pub fn optional_parsed<T: FromStr>(&self, name: &str, expected: &'static str) -> Result<Option<T>> {
        let parse = |value: String| value.parse().map_err(|_| Error::Malformed { expected, value });
        self.optional_text(name)?.map(parse).transpose()
    }
}
