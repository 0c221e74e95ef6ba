//! Packs that nobody can read: recognising them, and getting them out of git's way.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sha1::{Digest as _, Sha1};

use super::error::{Error, Result};

/// Bytes of a checksum.
const CHECKSUM_BYTES: usize = 20;
/// Bytes read at a time.
const CHUNK_BYTES: usize = 1 << 20;
/// What is added to the names of a pack that nobody can read: git passes it over then.
const BROKEN_SUFFIX: &str = "broken";

/// Renames the packs of a directory of which content or index provably is not what was written; answers their new names.
///
/// With them in place every git command complains, and an object that is stored anew stays hidden behind the damaged one.
/// All packs are read.
pub(super) fn set_aside(packs: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(packs) {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::io("list", packs))?,
    };
    let indexes =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "idx"));
    let mut aside = Vec::new();
    for index in indexes {
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
        let packs = dir.path().join("pack");
        assert_eq!(set_aside(&packs).unwrap(), Vec::<PathBuf>::new());
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
            let aside = set_aside(&packs).unwrap();
            assert_eq!(aside, [pack.with_extension("pack.broken")]);
            assert!(aside[0].exists() && !index.exists() && !pack.exists());
        }
        assert!(set_aside(&dir.path().join("none")).unwrap().is_empty());
    }
}
