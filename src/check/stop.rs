//! Ending checks that are under way.

use tokio::sync::watch;

/// A wish that the checks which were given it end, with the reason that their answers give.
#[derive(Debug)]
pub struct Stop(watch::Sender<Option<String>>);

impl Default for Stop {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Stop {
    /// Asks the checks to end; the first reason stays.
    pub fn ask(&self, reason: &str) {
        self.0.send_if_modified(|asked| {
            let is_first = asked.is_none();
            asked.get_or_insert_with(|| reason.to_owned());
            is_first
        });
    }

    /// Answers why the checks are to end, where they are.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        self.0.borrow().clone()
    }

    /// Answers whether a check is under way that would end.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.0.receiver_count() > 0
    }

    /// Waits until somebody asks; for ever where nobody can.
    pub(super) async fn awaited(stop: Option<&Self>) -> String {
        let Some(Self(sender)) = stop else { return std::future::pending().await };
        let mut asked = sender.subscribe();
        // The sender lives as long as it is borrowed here.
        let reason = asked.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        reason.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn first_reason_reaches_everybody_however_late() {
        let stop = Stop::default();
        assert_eq!((stop.reason(), stop.is_awaited()), (None, false));
        let mut waiting = Box::pin(Stop::awaited(Some(&stop)));
        assert!(tokio::time::timeout(std::time::Duration::ZERO, &mut waiting).await.is_err() && stop.is_awaited());
        stop.ask("one");
        stop.ask("two");
        assert_eq!((waiting.await.as_str(), Stop::awaited(Some(&stop)).await.as_str()), ("one", "one"));
    }
}
