//! Writing new objects as one pack, durable where that is asked for.

use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt as _, PermissionsExt};
use std::path::{Path, PathBuf};

use flate2::read::ZlibDecoder;
use flate2::{Compress, Compression, Crc, FlushCompress, Status};
use git2::{ObjectType, Oid};
use sha1::{Digest as _, Sha1};
use std::collections::HashSet;
use tempfile::NamedTempFile;

use super::error::{Error, Result};
use crate::config::Durability;

/// Bytes gathered before they go to the file.
const WRITE_BUFFER_BYTES: usize = 256 * 1024;
/// Bytes read at a time from a large file.
const CHUNK_BYTES: usize = 64 * 1024;

/// What a pack and its index are called while they are not in place: `git gc` too clears away what begins with `tmp_`.
pub(super) const UNFINISHED_PREFIX: &str = "tmp_cascade_";

/// Collects objects for one pack; nothing is visible to git before [`PackWriter::finish`].
///
/// Objects that the repository has already are written again: git's own may never have reached the disk.
pub(super) struct PackWriter {
    dir: PathBuf,
    durability: Durability,
    file: Option<BufWriter<NamedTempFile>>,
    deflate: Compress,
    offset: u64,
    objects: Vec<Object>,
    known: HashSet<Oid>,
}

struct Object {
    oid: Oid,
    crc: u32,
    offset: u64,
}

/// An object in the form in which it stands in a pack; making that needs no pack, so that several can be made at a time.
pub(super) struct Packed {
    oid: Oid,
    crc: u32,
    bytes: Vec<u8>,
}

impl Packed {
    /// Makes it with what [`deflate`] answered.
    pub fn new(kind: ObjectType, content: &[u8], deflate: &mut Compress) -> io::Result<Self> {
        let mut bytes = Vec::with_capacity(content.len() + 16);
        let Written { oid, crc, .. } = write_entry(deflate, &mut bytes, kind, content.len() as u64, &mut &content[..])?;
        Ok(Self { oid, crc, bytes })
    }
}

impl PackWriter {
    /// Prepares a pack in the object directory `objects` of a repository; makes no file yet.
    pub fn new(objects: &Path, durability: Durability) -> Self {
        Self {
            dir: objects.join("pack"),
            durability,
            file: None,
            deflate: deflate(),
            offset: 0,
            objects: Vec::new(),
            known: HashSet::new(),
        }
    }

    /// Adds an object and answers its id.
    pub fn add(&mut self, kind: ObjectType, bytes: &[u8]) -> Result<Oid> {
        let oid = hash(kind, bytes);
        if !self.known.insert(oid) {
            return Ok(oid);
        }
        let added = self.append(kind, bytes.len() as u64, &mut &bytes[..]);
        let (crc, offset, _) = added.map_err(Error::io("write a pack in", &self.dir))?;
        self.objects.push(Object { oid, crc, offset });
        Ok(oid)
    }

    /// Adds an object that is in its form already, where that could be made, and answers its id.
    pub fn add_packed(&mut self, packed: io::Result<Packed>) -> Result<Oid> {
        let added = packed.and_then(|Packed { oid, crc, bytes }| {
            if self.known.insert(oid) {
                self.open()?.write_all(&bytes)?;
                self.objects.push(Object { oid, crc, offset: self.offset });
                self.offset += bytes.len() as u64;
            }
            Ok(oid)
        });
        added.map_err(Error::io("write a pack in", &self.dir))
    }

    /// Adds a blob of `size` bytes that must turn out to be `expected`.
    ///
    /// Answers false, with nothing added, when the reader gave something else.
    pub fn add_large(&mut self, size: u64, reader: &mut dyn Read, expected: Oid) -> Result<bool> {
        if self.known.contains(&expected) {
            return Ok(true);
        }
        let start = self.offset;
        if let Ok((crc, offset, oid)) = self.append(ObjectType::Blob, size, reader)
            && oid == expected
        {
            self.known.insert(oid);
            self.objects.push(Object { oid, crc, offset });
            return Ok(true);
        }
        self.rewind(start).map_err(Error::io("write a pack in", &self.dir))?;
        Ok(false)
    }

    /// Answers the content of a blob that was added; none when it was not, or has more than `limit_bytes`.
    pub fn read_blob(&mut self, oid: Oid, limit_bytes: u64) -> Result<Option<Vec<u8>>> {
        let Some(offset) = self.objects.iter().find(|object| object.oid == oid).map(|object| object.offset) else {
            return Ok(None);
        };
        self.read_at(offset, limit_bytes).map_err(Error::io("read a pack in", &self.dir))
    }

    fn read_at(&mut self, offset: u64, limit_bytes: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(file) = self.file.as_mut() else { return Ok(None) };
        file.flush()?;
        let mut source = Onward { file: file.get_ref().as_file(), offset };
        let size = entry_size(&mut source)?;
        if size > limit_bytes {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        ZlibDecoder::new(source).take(size).read_to_end(&mut bytes)?;
        if bytes.len() as u64 == size { Ok(Some(bytes)) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Writes what was added, waits for the disk where saves do, and shows it to git; answers whether there was anything.
    pub fn finish(mut self) -> Result<bool> {
        let Some(file) = self.file.take() else { return Ok(false) };
        let dir = self.dir.clone();
        self.publish(file).map_err(Error::io("write a pack in", dir))?;
        Ok(true)
    }

    /// Appends one entry and answers its checksum, its place and the object's id.
    fn append(&mut self, kind: ObjectType, size: u64, reader: &mut dyn Read) -> io::Result<(u32, u64, Oid)> {
        self.open()?;
        let Self { file: Some(file), deflate, offset, .. } = self else { return Err(io::ErrorKind::NotFound.into()) };
        let start = *offset;
        let Written { oid, crc, bytes } = write_entry(deflate, file, kind, size, reader)?;
        *offset += bytes;
        Ok((crc, start, oid))
    }

    /// Answers the file that the pack is written to; makes it first where there is none.
    fn open(&mut self) -> io::Result<&mut BufWriter<NamedTempFile>> {
        let file = match self.file.take() {
            Some(file) => file,
            None => self.begin()?,
        };
        Ok(self.file.insert(file))
    }

    fn begin(&mut self) -> io::Result<BufWriter<NamedTempFile>> {
        fs::create_dir_all(&self.dir)?;
        let file = tempfile::Builder::new().prefix(UNFINISHED_PREFIX).tempfile_in(&self.dir)?;
        // Held for as long as this process lives; without locks in the file system, age alone must tell.
        let _ = file.as_file().try_lock();
        let mut file = BufWriter::with_capacity(WRITE_BUFFER_BYTES, file);
        // The number of objects is filled in at the end.
        file.write_all(b"PACK\0\0\0\x02\0\0\0\0")?;
        self.offset = 12;
        Ok(file)
    }

    fn rewind(&mut self, offset: u64) -> io::Result<()> {
        let Some(file) = self.file.as_mut() else { return Ok(()) };
        if offset == 0 {
            self.file = None;
            self.offset = 0;
            return Ok(());
        }
        file.flush()?;
        file.get_mut().as_file_mut().set_len(offset)?;
        file.seek(SeekFrom::Start(offset))?;
        self.offset = offset;
        Ok(())
    }

    fn publish(mut self, file: BufWriter<NamedTempFile>) -> io::Result<()> {
        let mut pack = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        let checksum = seal(pack.as_file_mut(), self.objects.len())?;
        let index = self.index(&checksum);
        let mut idx = tempfile::Builder::new().prefix(UNFINISHED_PREFIX).tempfile_in(&self.dir)?;
        let _ = idx.as_file().try_lock();
        idx.write_all(&index)?;
        self.sync_both(pack.as_file(), idx.as_file())?;
        let name: String = checksum.iter().map(|byte| format!("{byte:02x}")).collect();
        // Git looks for the index first, so the pack must be in place before it.
        pack.persist(self.dir.join(format!("pack-{name}.pack"))).map_err(|failed| failed.error)?;
        idx.persist(self.dir.join(format!("pack-{name}.idx"))).map_err(|failed| failed.error)?;
        self.sync(&File::open(&self.dir)?)
    }

    /// Lets the disk take both at once: asked one after the other, it would wait for its journal twice.
    fn sync_both(&self, pack: &File, idx: &File) -> io::Result<()> {
        [pack, idx].iter().try_for_each(|file| file.set_permissions(Permissions::from_mode(0o444)))?;
        std::thread::scope(|scope| {
            let other = scope.spawn(|| self.sync(pack));
            let synced = self.sync(idx);
            other.join().map_err(|_| io::Error::other("syncing a pack ended early"))?.and(synced)
        })
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        if self.durability.is_fast() { Ok(()) } else { file.sync_all() }
    }

    /// Builds the pack's index, version 2.
    fn index(&mut self, pack_checksum: &[u8; 20]) -> Vec<u8> {
        self.objects.sort_unstable_by(|a, b| a.oid.as_bytes().cmp(b.oid.as_bytes()));
        let mut bytes = Vec::with_capacity(1_100 + self.objects.len() * 28);
        bytes.extend_from_slice(b"\xfftOc\0\0\0\x02");
        for first in 0..=255_u8 {
            let upto = self.objects.partition_point(|object| object.oid.as_bytes()[0] <= first);
            bytes.extend_from_slice(&(upto as u32).to_be_bytes());
        }
        self.objects.iter().for_each(|object| bytes.extend_from_slice(object.oid.as_bytes()));
        self.objects.iter().for_each(|object| bytes.extend_from_slice(&object.crc.to_be_bytes()));
        let mut far: Vec<u64> = Vec::new();
        for object in &self.objects {
            let near = u32::try_from(object.offset).ok().filter(|offset| *offset < 1 << 31);
            let place = near.unwrap_or_else(|| {
                far.push(object.offset);
                (1 << 31) | (far.len() as u32 - 1)
            });
            bytes.extend_from_slice(&place.to_be_bytes());
        }
        far.iter().for_each(|offset| bytes.extend_from_slice(&offset.to_be_bytes()));
        bytes.extend_from_slice(pack_checksum);
        let own: [u8; 20] = Sha1::digest(&bytes).into();
        bytes.extend_from_slice(&own);
        bytes
    }
}

/// Answers the id that git gives to an object.
pub(super) fn hash(kind: ObjectType, bytes: &[u8]) -> Oid {
    let mut hasher = Sha1::new();
    hasher.update(object_header(kind, bytes.len() as u64));
    hasher.update(bytes);
    oid_of(hasher)
}

/// Answers the id of a blob of `size` bytes; none when the reader has another number of bytes.
pub(super) fn hash_large(size: u64, reader: &mut dyn Read) -> io::Result<Option<Oid>> {
    let mut hasher = Sha1::new();
    hasher.update(object_header(ObjectType::Blob, size));
    let read = io::copy(&mut Hashing { reader, hasher: &mut hasher }, &mut io::sink())?;
    Ok((read == size).then(|| oid_of(hasher)))
}

fn oid_of(hasher: Sha1) -> Oid {
    let digest: [u8; 20] = hasher.finalize().into();
    // Twenty bytes always make an id.
    Oid::from_bytes(&digest).unwrap_or(Oid::ZERO_SHA1)
}

fn object_header(kind: ObjectType, size: u64) -> Vec<u8> {
    format!("{} {size}\0", kind.str()).into_bytes()
}

/// Type and size in git's variable-length form.
fn entry_header(kind: ObjectType, size: u64) -> Vec<u8> {
    let code = match kind {
        ObjectType::Commit => 1,
        ObjectType::Tree => 2,
        ObjectType::Tag => 4,
        _ => 3,
    };
    let mut rest = size >> 4;
    let mut header = vec![(code << 4) | (size & 0x0f) as u8];
    while rest > 0 {
        if let Some(last) = header.last_mut() {
            *last |= 0x80;
        }
        header.push((rest & 0x7f) as u8);
        rest >>= 7;
    }
    header
}

/// Reads what [`entry_header`] wrote and answers the size.
fn entry_size(source: &mut impl Read) -> io::Result<u64> {
    let mut byte = [0];
    source.read_exact(&mut byte)?;
    let (mut size, mut shift) = (u64::from(byte[0] & 0x0f), 4);
    while byte[0] & 0x80 != 0 {
        source.read_exact(&mut byte)?;
        size |= u64::from(byte[0] & 0x7f).checked_shl(shift).unwrap_or(0);
        shift += 7;
    }
    Ok(size)
}

/// Reads a file from some place on, and leaves alone where it is written.
struct Onward<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for Onward<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

/// Writes the number of objects and the checksum that ends a pack.
fn seal(file: &mut File, objects: usize) -> io::Result<[u8; 20]> {
    let count = u32::try_from(objects).map_err(io::Error::other)?;
    file.seek(SeekFrom::Start(8))?;
    file.write_all(&count.to_be_bytes())?;
    file.seek(SeekFrom::Start(0))?;
    let mut hasher = Sha1::new();
    io::copy(&mut Hashing { reader: file, hasher: &mut hasher }, &mut io::sink())?;
    let checksum: [u8; 20] = hasher.finalize().into();
    file.seek(SeekFrom::End(0))?;
    file.write_all(&checksum)?;
    Ok(checksum)
}

/// A reader whose bytes are hashed on the way.
struct Hashing<'a, R: Read + ?Sized> {
    reader: &'a mut R,
    hasher: &'a mut Sha1,
}

impl<R: Read + ?Sized> Read for Hashing<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

/// Answers what makes an object small enough, fast.
pub(super) fn deflate() -> Compress {
    Compress::new(Compression::new(1), true)
}

/// What was written of an object.
struct Written {
    oid: Oid,
    crc: u32,
    bytes: u64,
}

/// Writes the part of a pack that one object takes.
fn write_entry(
    deflate: &mut Compress,
    to: &mut impl Write,
    kind: ObjectType,
    size: u64,
    reader: &mut dyn Read,
) -> io::Result<Written> {
    let mut entry = Entry { to, crc: Crc::new(), written: 0 };
    entry.put(&entry_header(kind, size))?;
    let mut hasher = Sha1::new();
    hasher.update(object_header(kind, size));
    deflate.reset();
    deflate_into(deflate, &mut entry, size, &mut Hashing { reader, hasher: &mut hasher })?;
    Ok(Written { oid: oid_of(hasher), crc: entry.crc.sum(), bytes: entry.written })
}

/// The part of a pack that one object takes.
struct Entry<'a, W> {
    to: &'a mut W,
    crc: Crc,
    written: u64,
}

impl<W: Write> Entry<'_, W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.crc.update(bytes);
        self.written += bytes.len() as u64;
        self.to.write_all(bytes)
    }
}

fn deflate_into(
    deflate: &mut Compress,
    entry: &mut Entry<'_, impl Write>,
    size: u64,
    reader: &mut dyn Read,
) -> io::Result<()> {
    let mut input = vec![0; CHUNK_BYTES.min(usize::try_from(size).unwrap_or(CHUNK_BYTES)).max(1)];
    let mut output = vec![0; CHUNK_BYTES.min(input.len() + 64)];
    let mut left = size;
    loop {
        let want = input.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        reader.read_exact(&mut input[..want])?;
        left -= want as u64;
        let flush = if left == 0 { FlushCompress::Finish } else { FlushCompress::None };
        let mut from = 0;
        loop {
            let (before_in, before_out) = (deflate.total_in(), deflate.total_out());
            let status = deflate.compress(&input[from..want], &mut output, flush).map_err(io::Error::other)?;
            from += (deflate.total_in() - before_in) as usize;
            entry.put(&output[..(deflate.total_out() - before_out) as usize])?;
            match (status, left) {
                (Status::StreamEnd, _) => return Ok(()),
                (_, 1..) if from == want => break,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_come_back_from_the_pack() {
        let dir = tempfile::tempdir().unwrap();
        let repo = git2::Repository::init_bare(dir.path()).unwrap();
        let mut pack = PackWriter::new(&dir.path().join("objects"), Durability::Full);
        let contents: Vec<Vec<u8>> =
            (0..40_usize).map(|n| (0..n * n * 150).map(|i| (i * n % 251) as u8).collect()).collect();
        let oids: Vec<Oid> = contents.iter().map(|bytes| pack.add(ObjectType::Blob, bytes).unwrap()).collect();
        let large = vec![7_u8; 300_000];
        let expected = hash_large(300_000, &mut &large[..]).unwrap().unwrap();
        assert!(!pack.add_large(300_000, &mut &large[..200_000], expected).unwrap());
        assert!(!pack.add_large(200_000, &mut &large[..], expected).unwrap());
        assert!(pack.add_large(300_000, &mut &large[..], expected).unwrap());
        assert!(pack.finish().unwrap());
        for (oid, bytes) in oids.iter().zip(&contents) {
            assert_eq!(repo.find_blob(*oid).unwrap().content(), bytes);
        }
        assert_eq!(repo.find_blob(expected).unwrap().content(), large);
        let left: Vec<_> = fs::read_dir(dir.path().join("objects/pack")).unwrap().collect();
        assert_eq!(left.len(), 2);
    }

    #[test]
    fn blobs_are_read_back_before_the_pack_is_finished() {
        let dir = tempfile::tempdir().unwrap();
        let mut pack = PackWriter::new(&dir.path().join("objects"), Durability::Fast);
        let contents = [b"".to_vec(), b"small".to_vec(), vec![b'x'; 100_000]];
        for bytes in &contents {
            let oid = pack.add(ObjectType::Blob, bytes).unwrap();
            assert_eq!(pack.read_blob(oid, 100_000).unwrap().as_ref(), Some(bytes));
        }
        let large = hash(ObjectType::Blob, &contents[2]);
        assert_eq!(pack.read_blob(large, 99_999).unwrap(), None);
        assert_eq!(pack.read_blob(Oid::ZERO_SHA1, 1).unwrap(), None);
        assert!(pack.finish().unwrap());
        let repo = git2::Repository::init_bare(dir.path()).unwrap();
        assert_eq!(repo.find_blob(large).unwrap().content(), contents[2]);
    }

    #[test]
    fn pack_that_only_failed_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut pack = PackWriter::new(dir.path(), Durability::Full);
        assert!(!pack.add_large(5, &mut &b"abc"[..], Oid::ZERO_SHA1).unwrap());
        assert!(!pack.finish().unwrap());
        assert_eq!(fs::read_dir(dir.path().join("pack")).unwrap().count(), 0);
    }
}
