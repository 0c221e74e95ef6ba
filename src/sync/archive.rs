//! Content that syncs replaced, by its digest: compressed, each only once, on the disk before it is needed.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use tempfile::TempPath;
use zstd::bulk::Compressor;

use crate::base::digest::{Digest, Digesting};
use crate::endpoint::{self, Body, Content, Key, Version, content_of};

/// The first byte of a file: what follows is the content itself, or compressed.
const PLAIN: u8 = 0;
const COMPRESSED: u8 = 1;
/// Beyond this the disk is the bottleneck no more.
const COMPRESSION_LEVEL: i32 = 3;
/// So much of the beginning decides whether content is compressed.
const SAMPLE_BYTES: usize = 64 << 10;
/// How new files are called until they are complete.
const UNFINISHED: &str = "unfinished-";

/// A store of content, by digest; cheap to clone.
#[derive(Debug, Clone)]
pub struct Archive {
    root: PathBuf,
}

/// Something to keep.
#[derive(Debug)]
pub struct Keep {
    /// Where it was found, for messages.
    pub key: Key,
    /// What it must be.
    pub version: Version,
    /// The content.
    pub content: Content,
}

/// New content that is complete, and where it belongs.
type Written = (TempPath, PathBuf);

/// Why content is not kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// It is not what it was believed to be, or could not be read.
    #[error(transparent)]
    Endpoint(#[from] endpoint::Error),
    /// It cannot be written.
    #[error("cannot keep what is replaced")]
    Io(#[from] io::Error),
    /// It is not what it was believed to be.
    #[error("was changed at the target meanwhile")]
    Changed,
}

impl Archive {
    /// Uses the directory `root`; it is created when it is first needed.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Answers where it is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Answers whether content is kept.
    #[must_use]
    pub fn has(&self, digest: &Digest) -> bool {
        self.path(digest).is_file()
    }

    /// Answers which of these contents are kept and whole. For blocking threads.
    #[must_use]
    pub fn whole(&self, versions: &[Version]) -> HashSet<Digest> {
        versions.iter().filter(|version| self.is_whole(version)).map(|version| version.digest).collect()
    }

    fn is_whole(&self, version: &Version) -> bool {
        self.has(&version.digest) && self.digest(version).is_ok_and(|found| found == (version.digest, version.size))
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        self.root.join(&name[..2]).join(&name[2..])
    }

    /// Keeps content, all of it on the disk when this answers. For blocking threads.
    ///
    /// # Errors
    /// The directory cannot be made, or the disk refuses; what is wrong with one item is its own answer.
    pub fn keep(&self, keeps: Vec<Keep>) -> io::Result<Vec<Result<(), KeepError>>> {
        fs::create_dir_all(&self.root)?;
        let mut compressor = Compressor::new(COMPRESSION_LEVEL)?;
        let written: Vec<Result<Option<Written>, KeepError>> =
            keeps.into_iter().map(|keep| self.write(keep, &mut compressor)).collect();
        if !written.iter().any(|one| matches!(one, Ok(Some(_)))) {
            return Ok(written.into_iter().map(|one| one.map(drop)).collect());
        }
        // Content first, names after: a name always stands for all of its content.
        flush(&self.root)?;
        let name = |one: Result<Option<Written>, KeepError>| {
            let Some((file, path)) = one? else { return Ok(()) };
            if let Some(directory) = path.parent() {
                fs::create_dir_all(directory)?;
            }
            file.persist(path).map(drop).map_err(|refused| refused.error.into())
        };
        let named = written.into_iter().map(name).collect();
        flush(&self.root)?;
        Ok(named)
    }

    fn write(&self, keep: Keep, compressor: &mut Compressor<'_>) -> Result<Option<Written>, KeepError> {
        let path = self.path(&keep.version.digest);
        // What is damaged takes another's snapshot along where it stays.
        if self.is_whole(&keep.version) {
            return Ok(None);
        }
        let file = tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(&self.root)?;
        let found = match &keep.content.body {
            Body::Whole(bytes) if bytes.len() <= SAMPLE_BYTES => write_small(file.as_file(), bytes, compressor)?,
            _ => write_large(file.as_file(), keep.content)?,
        };
        if found != (keep.version.digest, keep.version.size) {
            return Err(KeepError::Changed);
        }
        if cfg!(not(target_os = "linux")) {
            file.as_file().sync_all()?;
        }
        // So many files would be too many to stay open.
        Ok(Some((file.into_temp_path(), path)))
    }

    /// Reads what is kept; whoever takes it compares the digest.
    ///
    /// # Errors
    /// It is not kept, or unreadable.
    pub fn read(&self, key: &Key, version: &Version) -> io::Result<Content> {
        let reader = reader(File::open(self.path(&version.digest))?)?;
        content_of(reader, version.size, key, "read the snapshot of")
    }

    /// Digests what is kept, for blocking threads.
    pub(super) fn digest(&self, version: &Version) -> io::Result<(Digest, u64)> {
        let mut reader = reader(File::open(self.path(&version.digest))?)?;
        let (mut digesting, mut piece) = (Digesting::default(), vec![0; SAMPLE_BYTES]);
        loop {
            match reader.read(&mut piece)? {
                0 => return Ok(digesting.finish()),
                count => digesting.add(&piece[..count]),
            }
        }
    }

    /// Removes everything but `wanted`, and what was never finished; answers how many. For blocking threads.
    ///
    /// # Errors
    /// The directory cannot be read; files that cannot be removed stay.
    pub fn prune(&self, wanted: &HashSet<Digest>) -> io::Result<usize> {
        let wanted: HashSet<String> = wanted.iter().map(Digest::to_string).collect();
        let mut removed = 0;
        for entry in entries(&self.root)? {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(UNFINISHED) {
                removed += usize::from(fs::remove_file(entry.path()).is_ok());
            } else if name.len() == 2 && entry.file_type()?.is_dir() {
                for file in entries(&entry.path())? {
                    let digest = format!("{name}{}", file.file_name().to_string_lossy());
                    if !wanted.contains(&digest) {
                        removed += usize::from(fs::remove_file(file.path()).is_ok());
                    }
                }
            }
        }
        Ok(removed)
    }
}

fn entries(directory: &Path) -> io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(directory) {
        Ok(entries) => entries.collect(),
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(refused) => Err(refused),
    }
}

#[cfg(target_os = "linux")]
fn flush(root: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(root)?)?)
}

#[cfg(not(target_os = "linux"))]
fn flush(root: &Path) -> io::Result<()> {
    File::open(root)?.sync_all()
}

/// Writes small content at once; answers what it was.
fn write_small(mut file: &File, bytes: &[u8], compressor: &mut Compressor<'_>) -> Result<(Digest, u64), KeepError> {
    let compressed = compressor.compress(bytes)?;
    let (kind, content) =
        if compressed.len() < bytes.len() { (COMPRESSED, compressed.as_slice()) } else { (PLAIN, bytes) };
    file.write_all(&[&[kind], content].concat())?;
    Ok((Digest::of(bytes), bytes.len() as u64))
}

/// Writes content as it comes; answers what it was.
fn write_large(file: &File, content: Content) -> Result<(Digest, u64), KeepError> {
    let mut writer = None;
    let mut digesting = Digesting::default();
    content.drain(|piece| {
        digesting.add(piece);
        let writer = match &mut writer {
            Some(writer) => writer,
            none => none.insert(Writer::new(file, piece)?),
        };
        Ok::<_, KeepError>(writer.write_all(piece)?)
    })?;
    writer.map_or_else(|| Writer::new(file, b""), Ok)?.finish()?;
    Ok(digesting.finish())
}

enum Writer<'a> {
    Plain(&'a File),
    Compressed(zstd::stream::write::Encoder<'a, &'a File>),
}

impl<'a> Writer<'a> {
    /// Writes what kind of file it is; what does not shrink is not compressed.
    fn new(mut file: &'a File, start: &[u8]) -> io::Result<Self> {
        let sample = &start[..start.len().min(SAMPLE_BYTES)];
        let shrinks = zstd::bulk::compress(sample, COMPRESSION_LEVEL)?.len() < sample.len();
        file.write_all(&[if shrinks { COMPRESSED } else { PLAIN }])?;
        Ok(if shrinks {
            Self::Compressed(zstd::stream::write::Encoder::new(file, COMPRESSION_LEVEL)?)
        } else {
            Self::Plain(file)
        })
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.write_all(bytes),
            Self::Compressed(encoder) => encoder.write_all(bytes),
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Compressed(encoder) => encoder.finish().map(drop),
        }
    }
}

fn reader(mut file: File) -> io::Result<Box<dyn Read + Send>> {
    let mut kind = [0];
    file.read_exact(&mut kind)?;
    match kind[0] {
        PLAIN => Ok(Box::new(file)),
        COMPRESSED => Ok(Box::new(zstd::stream::read::Decoder::new(file)?)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "it is of another version")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::{Form, PIECE_BYTES};

    fn key() -> Key {
        Key::new(b"key".to_vec()).unwrap()
    }

    fn version(content: &[u8]) -> Version {
        Version { digest: Digest::of(content), form: Form::Link, size: content.len() as u64 }
    }

    fn keep(content: &[u8]) -> Keep {
        Keep { key: key(), version: version(content), content: Content::whole(content.to_vec()) }
    }

    /// Noise, which does not shrink.
    fn noise(bytes: usize) -> Vec<u8> {
        (0_u64..).flat_map(|at| *Digest::of(&at.to_le_bytes()).as_bytes()).take(bytes).collect()
    }

    #[tokio::test]
    async fn what_is_kept_comes_back_and_is_kept_once() {
        let dir = tempfile::tempdir().unwrap();
        let archive = Archive::new(dir.path().join("deep/archive"));
        let contents = [Vec::new(), b"one".to_vec(), vec![7; 3 * PIECE_BYTES + 1], noise(PIECE_BYTES + 9)];
        let kept = archive.keep(contents.iter().map(|content| keep(content)).collect()).unwrap();
        assert!(kept.iter().all(Result::is_ok), "{kept:?}");
        for content in &contents {
            let read = archive.read(&key(), &version(content)).unwrap();
            let read = tokio::task::spawn_blocking(move || {
                let mut bytes = Vec::new();
                read.drain(|piece| {
                    bytes.extend_from_slice(piece);
                    Ok::<_, endpoint::Error>(())
                })?;
                Ok::<_, endpoint::Error>(bytes)
            });
            assert!(read.await.unwrap().unwrap() == *content);
        }
        let before = fs::metadata(archive.path(&Digest::of(b"one"))).unwrap().modified().unwrap();
        archive.keep(vec![keep(b"one")]).unwrap().remove(0).unwrap();
        assert_eq!(fs::metadata(archive.path(&Digest::of(b"one"))).unwrap().modified().unwrap(), before);
        let compressed = fs::metadata(archive.path(&Digest::of(&contents[2]))).unwrap().len();
        assert!(compressed < 10_000, "{compressed}");
    }

    #[test]
    fn what_is_not_what_it_should_be_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let archive = Archive::new(dir.path());
        let lie = Keep { content: Content::whole(b"other".to_vec()), ..keep(b"one") };
        let kept = archive.keep(vec![lie, keep(b"two")]).unwrap();
        assert!(matches!(kept[..], [Err(KeepError::Changed), Ok(())]));
        assert!(!archive.has(&Digest::of(b"one")) && !archive.has(&Digest::of(b"other")));
        assert!(archive.has(&Digest::of(b"two")));
    }

    #[test]
    fn what_is_damaged_is_written_anew_when_it_is_kept_again() {
        let dir = tempfile::tempdir().unwrap();
        let archive = Archive::new(dir.path());
        archive.keep(vec![keep(b"one")]).unwrap().remove(0).unwrap();
        let path = archive.path(&Digest::of(b"one"));
        let whole = fs::read(&path).unwrap();
        let flipped: Vec<u8> = whole.iter().map(|byte| byte ^ 4).collect();
        for damage in [&whole[..1], b"", &flipped] {
            fs::write(&path, damage).unwrap();
            assert!(archive.whole(&[version(b"one")]).is_empty());
            archive.keep(vec![keep(b"one")]).unwrap().remove(0).unwrap();
            assert_eq!(fs::read(&path).unwrap(), whole);
        }
        assert_eq!(archive.whole(&[version(b"one"), version(b"two")]), HashSet::from([Digest::of(b"one")]));
    }

    #[test]
    fn pruning_leaves_what_is_wanted_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let archive = Archive::new(dir.path());
        assert_eq!(Archive::new(dir.path().join("none")).prune(&HashSet::new()).unwrap(), 0);
        archive.keep(vec![keep(b"one"), keep(b"two")]).unwrap();
        fs::write(dir.path().join("unfinished-x"), "half").unwrap();
        assert_eq!(archive.prune(&HashSet::from([Digest::of(b"two")])).unwrap(), 2);
        assert!(archive.has(&Digest::of(b"two")) && !archive.has(&Digest::of(b"one")));
    }
}
