//! Filling packs, and bringing them to the vault while the next ones are filled.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::Shared;
use super::error::Error;
use super::index::{Chunk, ChunkRef, Index, Pack};
use super::objects::pack_name;
use super::seal::{Keys, Kind, Sealer, TAG_BYTES, random};
use crate::base::digest::Digest;
use crate::endpoint;

/// A pack that has so many bytes is full.
const PACK_BYTES: usize = 8 << 20;
/// Packs that are on their way at the same time.
const UPLOADS_LIMIT: usize = 3;

/// A chunk, ready to be sealed.
#[derive(Debug)]
pub(super) struct Prepared {
    /// SHA-256 of the chunk.
    pub id: Digest,
    /// Its bytes.
    pub size: u32,
    /// What is sealed; nothing where the vault has the chunk already.
    pub body: Option<Vec<u8>>,
    pub is_compressed: bool,
}

/// A pack that is being filled.
struct Open {
    place: u32,
    name: String,
    sealer: Sealer,
}

/// Packs in the making.
#[derive(Default)]
pub(super) struct Packing {
    open: Option<Open>,
    uploads: VecDeque<JoinHandle<endpoint::Result<()>>>,
    /// Places of packs that no head knows yet.
    pub new: Vec<u32>,
    /// Bytes of those.
    pub new_bytes: u64,
    /// Why one of them could not be brought to the vault.
    pub failed: Option<String>,
}

impl Packing {
    /// Adds a chunk to the pack that is being filled; answers where it is, and a pack that is full by that.
    pub fn add(
        &mut self,
        keys: &Keys,
        index: &mut Index,
        prepared: Prepared,
    ) -> Result<(ChunkRef, Option<Upload>), Error> {
        if let Some(there) = index.find(&prepared.id) {
            return Ok((there, None));
        }
        let body = prepared.body.unwrap_or_default();
        let open = match &mut self.open {
            Some(open) => open,
            none => none.insert(begin(keys, index)?),
        };
        let at = u32::try_from(open.sealer.len()).unwrap_or(u32::MAX);
        open.sealer.add(&body, false)?;
        let sealed = (body.len() + TAG_BYTES) as u32;
        let chunk = Chunk { id: prepared.id, at, sealed, size: prepared.size, is_compressed: prepared.is_compressed };
        let added = index.add_chunk(open.place, chunk).ok_or(Error::NoRandomness)?;
        let is_full = open.sealer.len() >= PACK_BYTES;
        Ok((added, if is_full { self.close(index)? } else { None }))
    }

    /// Closes the pack that is being filled.
    pub fn close(&mut self, index: &mut Index) -> Result<Option<Upload>, Error> {
        let Some(Open { place, name, mut sealer }) = self.open.take() else { return Ok(None) };
        let count = index.pack(place).map_or(0, |pack| pack.chunks.len() as u32);
        sealer.add(&count.to_be_bytes(), true)?;
        let bytes = sealer.finish();
        index.complete(place, Digest::of(&bytes));
        self.new.push(place);
        self.new_bytes += bytes.len() as u64;
        Ok(Some(Upload { name, bytes }))
    }

    /// Answers whether chunks of a pack may not be at the vault yet.
    pub fn is_underway(&self, place: u32) -> bool {
        self.new.contains(&place) || self.open.as_ref().is_some_and(|open| open.place == place)
    }

    /// Answers the packs that no head knows, the one that is being filled included.
    pub fn unknown(&self) -> impl Iterator<Item = u32> + '_ {
        self.new.iter().copied().chain(self.open.as_ref().map(|open| open.place))
    }

    /// Says where packs are in another index.
    pub fn moved(&mut self, to: impl Fn(u32) -> Option<u32>) {
        self.new = self.new.iter().filter_map(|place| to(*place)).collect();
        if let Some(open) = &mut self.open {
            open.place = to(open.place).unwrap_or(open.place);
        }
    }

    /// Sends a pack on its way.
    pub fn send(&mut self, shared: &Arc<Shared>, upload: Upload, handle: &Handle) {
        let shared = Arc::clone(shared);
        self.uploads.push_back(handle.spawn(async move { shared.objects.put_new(&upload.name, upload.bytes).await }));
    }

    /// Waits until another pack may be sent.
    pub async fn make_room(&mut self) {
        while self.uploads.len() >= UPLOADS_LIMIT {
            self.wait_for_one().await;
        }
    }

    /// Waits until every pack that was sent has arrived.
    pub async fn arrive(&mut self) {
        while !self.uploads.is_empty() {
            self.wait_for_one().await;
        }
    }

    async fn wait_for_one(&mut self) {
        let Some(upload) = self.uploads.pop_front() else { return };
        let reason = match upload.await {
            Ok(Ok(())) => return,
            Ok(Err(refused)) => super::said(&refused),
            Err(lost) => lost.to_string(),
        };
        self.failed.get_or_insert(reason);
    }
}

fn begin(keys: &Keys, index: &mut Index) -> Result<Open, Error> {
    let id = random()?;
    let name = pack_name(&id);
    let sealer = keys.sealer(Kind::Pack, &name)?;
    Ok(Open { place: index.add_pack(Pack::new(id)), name, sealer })
}

/// A pack that is full.
#[derive(Debug)]
pub(super) struct Upload {
    name: String,
    bytes: Vec<u8>,
}
