//! Packs and objects that nobody can read: recognising them, and getting them out of git's way.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::read::ZlibDecoder;
use git2::Oid;
use sha1::{Digest as _, Sha1};

use super::error::{Error, Result};

/// Bytes of a checksum.
const CHECKSUM_BYTES: usize = 20;
/// Bytes read at a time.
const CHUNK_BYTES: usize = 1 << 20;
/// What is added to the names of a pack that nobody can read: git passes it over then.
const BROKEN_SUFFIX: &str = "broken";
/// What the names of files begin with that git has not finished: it passes them over, and removes them one day.
const TEMPORARY_PREFIX: &str = "tmp_obj_";

/// Renames what in an object database provably is not what was written: packs by content or index, and objects in files of
/// their own; answers the new names.
///
/// With them in place every git command complains, and an object that is stored anew stays hidden behind the damaged one.
/// Everything is read.
pub(super) fn set_aside(objects: &Path) -> Result<Vec<PathBuf>> {
    let mut aside = set_packs_aside(&objects.join("pack"))?;
    for directory in list(objects)?.iter().filter(|directory| name_of(directory).len() == 2) {
        for file in list(directory)? {
            let Ok(id) = Oid::from_str(&(name_of(directory) + &name_of(&file))) else { continue };
            let bytes = fs::read(&file).map_err(Error::io("read", &file))?;
            if !is_object(&bytes, id) {
                let name = directory.join(format!("{TEMPORARY_PREFIX}{}", name_of(&file)));
                fs::rename(&file, &name).map_err(Error::io("rename", file))?;
                aside.push(name);
            }
        }
    }
    Ok(aside)
}

fn set_packs_aside(packs: &Path) -> Result<Vec<PathBuf>> {
    let mut aside = Vec::new();
    for index in list(packs)?.into_iter().filter(|path| path.extension().is_some_and(|end| end == "idx")) {
        let pack = index.with_extension("pack");
        if !pack.exists() || is_whole(&pack, &index).map_err(Error::io("read", &pack))? {
            continue;
        }
        // Git looks for the index first.
        for path in [&index, &pack] {
            let mut name = path.clone().into_os_string();
            name.push(format!(".{BROKEN_SUFFIX}"));
            fs::rename(path, &name).map_err(Error::io("rename", path))?;
        }
        aside.push(pack.with_extension(format!("pack.{BROKEN_SUFFIX}")));
    }
    Ok(aside)
}

/// Lists a directory that need not be there.
fn list(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Err(missing) if matches!(missing.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        entries => entries.and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect()),
    };
    entries.map_err(Error::io("list", directory))
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Answers whether these are the bytes of the file of an object.
fn is_object(bytes: &[u8], id: Oid) -> bool {
    let mut hasher = Sha1::new();
    io::copy(&mut ZlibDecoder::new(bytes), &mut hasher).is_ok() && hasher.finalize()[..] == *id.as_bytes()
}

/// Sees that every file of an object database can be opened and read now.
///
/// # Errors
/// The first that cannot.
pub(super) fn require_readable(objects: &Path) -> io::Result<()> {
    let mut directories = vec![objects.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            match (entry.file_type()?.is_dir(), File::open(entry.path())) {
                (true, _) => directories.push(entry.path()),
                // Git removes what it has joined.
                (false, Err(gone)) if gone.kind() == io::ErrorKind::NotFound => {}
                (false, file) => drop(file?.read(&mut [0])?),
            }
        }
    }
    Ok(())
}

/// Answers whether pack and index are as they were written, and belong together.
fn is_whole(pack: &Path, index: &Path) -> io::Result<bool> {
    let index = fs::read(index)?;
    let Some((body, own)) = index.split_last_chunk::<CHECKSUM_BYTES>() else { return Ok(false) };
    let Some((_, of_pack)) = body.split_last_chunk::<CHECKSUM_BYTES>() else { return Ok(false) };
    Ok(Sha1::digest(body)[..] == own[..] && checksum(&mut File::open(pack)?)? == Some(*of_pack))
}

/// Answers the checksum that ends a pack; nothing where it is not that of what comes before it.
fn checksum(pack: &mut impl Read) -> io::Result<Option<[u8; CHECKSUM_BYTES]>> {
    let (mut hasher, mut held) = (Sha1::new(), Vec::new());
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let count = pack.read(&mut chunk)?;
        if count == 0 {
            break;
        }
        held.extend_from_slice(&chunk[..count]);
        // The last bytes may be the checksum itself.
        let sure = held.len().saturating_sub(CHECKSUM_BYTES);
        hasher.update(&held[..sure]);
        held.drain(..sure);
    }
    let own: [u8; CHECKSUM_BYTES] = hasher.finalize().into();
    Ok((held == own).then_some(own))
}

#[cfg(test)]
mod tests {
    use git2::ObjectType;

    use super::*;
    use crate::config::Durability;
    use crate::git::pack::PackWriter;

    /// Writes a pack and answers its two files.
    fn written(objects: &Path, content: &[u8]) -> [PathBuf; 2] {
        let mut pack = PackWriter::new(objects, Durability::Full);
        pack.add(ObjectType::Blob, content).unwrap();
        pack.finish().unwrap();
        let files = fs::read_dir(objects.join("pack")).unwrap().map(|entry| entry.unwrap().path());
        let mut newest: Vec<PathBuf> = files.filter(|path| path.metadata().unwrap().permissions().readonly()).collect();
        newest.sort();
        newest.try_into().unwrap()
    }

    #[test]
    fn only_packs_that_are_not_as_they_were_written_get_another_name() {
        let dir = tempfile::tempdir().unwrap();
        let [index, pack] = written(dir.path(), &[7; 3_000]);
        assert_eq!(set_aside(dir.path()).unwrap(), Vec::<PathBuf>::new());
        let whole = [&index, &pack].map(|path| fs::read(path).unwrap());
        let damage: [fn(&mut Vec<u8>); 4] =
            [Vec::clear, |bytes| bytes[20] ^= 1, |bytes| bytes.truncate(30), |bytes| bytes.fill(0)];
        for (file, damage) in [0, 1].into_iter().flat_map(|file| damage.map(|damage| (file, damage))) {
            let mut now = whole.clone();
            damage(&mut now[file]);
            for (path, bytes) in [&index, &pack].into_iter().zip(&now) {
                fs::write(path.with_extension("new"), bytes).unwrap();
                fs::rename(path.with_extension("new"), path).unwrap();
            }
            let aside = set_aside(dir.path()).unwrap();
            assert_eq!(aside, [pack.with_extension("pack.broken")]);
            assert!(aside[0].exists() && !index.exists() && !pack.exists());
        }
        assert!(set_aside(&dir.path().join("none")).unwrap().is_empty());
    }

    #[test]
    fn only_objects_that_are_not_what_they_are_called_get_another_name() {
        let dir = tempfile::tempdir().unwrap();
        let repository = git2::Repository::init(dir.path()).unwrap();
        let objects = dir.path().join(".git/objects");
        let place = |id: Oid| objects.join(&id.to_string()[..2]).join(&id.to_string()[2..]);
        let whole = repository.blob(b"whole").unwrap();
        let damage: [fn(&mut Vec<u8>); 4] =
            [Vec::clear, |bytes| bytes.truncate(9), |bytes| bytes.fill(0), |bytes| bytes[12] ^= 1];
        for (number, damage) in damage.into_iter().enumerate() {
            let id = repository.blob(number.to_string().repeat(50).as_bytes()).unwrap();
            let mut bytes = fs::read(place(id)).unwrap();
            damage(&mut bytes);
            fs::remove_file(place(id)).unwrap();
            fs::write(place(id), bytes).unwrap();
            let name = place(id).with_file_name(format!("tmp_obj_{}", &id.to_string()[2..]));
            assert_eq!(set_aside(&objects).unwrap(), [name]);
        }
        assert!(place(whole).exists() && set_aside(&objects).unwrap().is_empty());
    }
}
