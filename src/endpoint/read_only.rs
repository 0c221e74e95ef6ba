//! An endpoint that nothing is written to, whatever it could do: how sources are opened.

use std::sync::Arc;

use super::{
    Capabilities, Content, Endpoint, Fingerprint, Folding, IsKept, Item, Known, Later, Leftover, Listing, Put, Result,
    Take,
};

/// Another endpoint, as it is read.
#[derive(Debug, Clone)]
pub struct ReadOnly(Arc<dyn Endpoint>);

impl ReadOnly {
    /// Lets nobody write to an endpoint.
    #[must_use]
    pub fn new(inner: Arc<dyn Endpoint>) -> Self {
        Self(inner)
    }
}

impl Endpoint for ReadOnly {
    fn place(&self) -> String {
        self.0.place()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { writes: false, ..self.0.capabilities() }
    }

    fn folding(&self) -> Later<'_, Folding> {
        self.0.folding()
    }

    fn list(&self) -> Listing {
        self.0.list()
    }

    fn read(&self, items: Vec<Item>) -> Later<'_, Vec<Result<Content>>> {
        self.0.read(items)
    }

    fn read_part(&self, item: Item, at: u64, length: u64) -> Later<'_, Result<Vec<u8>>> {
        self.0.read_part(item, at, length)
    }

    fn digest(&self, items: Vec<Item>) -> Later<'_, Vec<Result<Known>>> {
        self.0.digest(items)
    }

    fn recall(&self, items: Vec<Item>) -> Later<'_, Vec<Result<Known>>> {
        self.0.recall(items)
    }

    fn write(&self, puts: Vec<Put>) -> Later<'_, Vec<Result<Fingerprint>>> {
        super::read_only(self.place(), puts.len())
    }

    fn delete(&self, takes: Vec<Take>) -> Later<'_, Vec<Result<()>>> {
        super::read_only(self.place(), takes.len())
    }

    fn flush(&self) -> Later<'_, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn sweep(&self, _leftovers: Vec<Leftover>, _is_kept: IsKept) -> Later<'_, Vec<String>> {
        // What is left at a source is for whoever writes there.
        Box::pin(async { Vec::new() })
    }
}
