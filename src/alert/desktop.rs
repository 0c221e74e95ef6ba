//! Desktop notifications, where a notification service runs.

use notify_rust::Notification;
use tokio::time::timeout;

use super::error::{Error, Result};
use super::message::Message;
use crate::base::escape::shown;
use crate::base::units::Span;

const LIMIT: Span = Span::seconds(2);
const APPLICATION: &str = "cascade";

/// Shows a message, or gives up after two seconds.
pub(super) async fn show(message: &Message) -> Result<()> {
    match timeout(LIMIT.0, notification(message).show_async()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(Error::NoDesktop { reason: shown(error.to_string().as_bytes()) }),
        Err(_) => Err(Error::Silent { limit: LIMIT }),
    }
}

fn notification(message: &Message) -> Notification {
    let mut notification = Notification::new();
    notification.appname(APPLICATION).summary(&message.title).body(&body(&message.body));
    #[cfg(all(unix, not(target_os = "macos")))]
    notification.urgency(if message.urgent { notify_rust::Urgency::Critical } else { notify_rust::Urgency::Normal });
    notification
}

/// Services read the body as markup: a branch called `<b>` has to stay one.
fn body(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::Alert;
    use crate::base::clock::from_ms;
    use crate::config::AlertEvent;
    use std::process::Command;

    fn message() -> Message {
        let alert = Alert::new(AlertEvent::Failed, "staging\nfailed", "<b>a</b> & b\nnext\x1b[2J");
        Message::of("shop", from_ms(0), &alert)
    }

    #[test]
    fn text_is_harmless() {
        let notification = notification(&message());
        assert_eq!(notification.summary, "staging\\nfailed");
        assert_eq!(notification.body, "&lt;b&gt;a&lt;/b&gt; &amp; b\nnext\\x1b[2J");
        assert_eq!(notification.appname, "cascade");
    }

    /// Runs itself in a process that has no bus, so that no test shows anything on a developer's desktop.
    #[test]
    fn without_a_bus_it_gives_up() {
        if std::env::var_os("CASCADE_TEST_WITHOUT_BUS").is_some() {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let shown = runtime.block_on(async { timeout(LIMIT.0 * 2, show(&message())).await.unwrap() });
            assert!(shown.is_err());
            return;
        }
        for address in [None, Some("unix:path=/nowhere/at/all")] {
            let mut child = Command::new(std::env::current_exe().unwrap());
            child.args(["--exact", "alert::desktop::tests::without_a_bus_it_gives_up"]);
            child.env("CASCADE_TEST_WITHOUT_BUS", "1").env("XDG_RUNTIME_DIR", "/nowhere/at/all");
            child.env_remove("DBUS_SESSION_BUS_ADDRESS").env_remove("DISPLAY");
            child.envs(address.map(|address| ("DBUS_SESSION_BUS_ADDRESS", address)));
            let output = child.output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
            assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
        }
    }
}
