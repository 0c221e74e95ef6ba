//! Ctrl-C while checks may run: nothing of them stays behind.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Failure, Outcome, Shell};

/// Does `work`, and ends it when a signal asks for that.
///
/// Where checks of a candidate are under way they are ended and the promotion fails by that; anywhere else, and at the
/// second signal, the work ends as if the process had been killed: what was begun is journaled, and the next promotion
/// takes it up. No command of a check goes on in either case.
///
/// # Errors
/// As `work`; signals cannot be listened to; a signal ended it.
pub async fn interruptible(shell: &Shell, work: impl Future<Output = Outcome>) -> Outcome {
    let mut signals = Signals::listen()?;
    let mut work = pin!(work);
    loop {
        let name = tokio::select! {
            done = &mut work => return done,
            name = signals.next() => name,
        };
        if !shell.stop.is_heeded() || shell.stop.reason().is_some() {
            let failure = Failure::denied(format!("stopped by {name}"));
            return Err(failure.with_hint("what was begun is journaled: the next promotion takes it up"));
        }
        shell.stop.ask(&format!("stopped by {name}"));
    }
}

/// The signals that ask a command in the foreground to end.
struct Signals([(Signal, &'static str); 3]);

impl Signals {
    fn listen() -> Outcome<Self> {
        let listen =
            |kind: SignalKind| signal(kind).map_err(|source| Failure::unavailable("cannot listen to signals", &source));
        let (interrupt, terminate, hangup) = (SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup());
        Ok(Self([(listen(interrupt)?, "SIGINT"), (listen(terminate)?, "SIGTERM"), (listen(hangup)?, "SIGHUP")]))
    }

    /// Waits for the next of them and answers its name.
    async fn next(&mut self) -> &'static str {
        poll_fn(|context| {
            for (signal, name) in &mut self.0 {
                if signal.poll_recv(context) == Poll::Ready(Some(())) {
                    return Poll::Ready(*name);
                }
            }
            Poll::Pending
        })
        .await
    }
}
