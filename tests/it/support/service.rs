//! A service over HTTP whose health is what the test says.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

/// A service that answers every request with 200 or 503, until the test ends.
pub struct Service {
    address: SocketAddr,
    /// So many more requests are answered well.
    well_for: Arc<AtomicUsize>,
    asked: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    /// Starts one that is well until the test says otherwise.
    pub fn well() -> Self {
        Self::answering(|| true)
    }

    /// Starts one that is not well until the test says otherwise.
    pub fn down() -> Self {
        let service = Self::well();
        service.set_well(false);
        service
    }

    /// Starts one that is well when `is_well` says so at the time of the request (and the test says nothing else).
    pub fn answering(is_well: impl Fn() -> bool + Send + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (well_for, asked) = (Arc::new(AtomicUsize::new(usize::MAX)), Arc::new(AtomicUsize::new(0)));
        let is_over = Arc::new(AtomicBool::new(false));
        let (left, count, over) = (Arc::clone(&well_for), Arc::clone(&asked), Arc::clone(&is_over));
        let thread = std::thread::spawn(move || {
            for connection in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                count.fetch_add(1, Ordering::SeqCst);
                let one_less = |left: usize| left.checked_sub(1);
                let is_left = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok();
                answer(&connection.unwrap(), is_left && is_well());
            }
        });
        Self { address, well_for, asked, is_over, thread: Some(thread) }
    }

    /// Says whether it is well from now on.
    pub fn set_well(&self, is_well: bool) {
        self.well_for(if is_well { usize::MAX } else { 0 });
    }

    /// Says that it is well for so many more requests and then no longer.
    pub fn well_for(&self, requests: usize) {
        self.well_for.store(requests, Ordering::SeqCst);
    }

    /// Answers how often it was asked.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Writes a check of it; `more` are further keys.
    pub fn check(&self, name: &str, more: &str) -> String {
        format!("\n  {name}: {{ http: \"http://{}/\", every: 20ms, {more} }}", self.address)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // One more connection ends the wait for one.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(mut connection: &TcpStream, is_well: bool) {
    let mut lines = BufReader::new(connection).lines();
    // The end of the request, or of the connection.
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    let status = if is_well { "200 OK" } else { "503 Service Unavailable" };
    let _ = write!(connection, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}
