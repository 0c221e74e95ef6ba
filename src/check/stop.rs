//! Ending checks that are under way.

use tokio::sync::watch;

/// A wish that the checks which were given it end, with the reason that their answers give.
#[derive(Debug)]
pub struct Stop(watch::Sender<Option<String>>);

/// That somebody heeds a wish to end.
#[derive(Debug)]
pub struct Heeding {
    _wishes: watch::Receiver<Option<String>>,
}

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

    /// Says that a wish is heeded until what is answered goes out of scope.
    #[must_use]
    pub fn heed(&self) -> Heeding {
        Heeding { _wishes: self.0.subscribe() }
    }

    /// Answers whether somebody heeds a wish now.
    #[must_use]
    pub fn is_heeded(&self) -> bool {
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
        assert_eq!(stop.reason(), None);
        stop.ask("one");
        stop.ask("two");
        assert_eq!(Stop::awaited(Some(&stop)).await, "one");
    }

    #[test]
    fn a_wish_is_heeded_as_long_as_somebody_says_so() {
        let stop = Stop::default();
        assert!(!stop.is_heeded());
        let heeding = stop.heed();
        assert!(stop.is_heeded());
        drop(heeding);
        assert!(!stop.is_heeded());
    }
}
