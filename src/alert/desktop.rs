//! Desktop notifications, where a notification service runs.

use std::time::Duration;

use notify_rust::Notification;
use tokio::time::timeout;

use super::Alert;
use crate::base::escape::{shown, shown_lines};

const LIMIT: Duration = Duration::from_secs(2);
const APPLICATION: &str = "cascade";

/// Shows `alert`, or gives up after two seconds.
pub(super) async fn show(alert: &Alert) {
    match timeout(LIMIT, notification(alert).show_async()).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::debug!("no desktop notification: {error}"),
        Err(_) => tracing::debug!("no desktop notification: no answer within {LIMIT:?}"),
    }
}

fn notification(alert: &Alert) -> Notification {
    let mut notification = Notification::new();
    notification.appname(APPLICATION).summary(&shown(alert.title.as_bytes())).body(&body(&alert.body));
    #[cfg(all(unix, not(target_os = "macos")))]
    notification.urgency(if alert.urgent { notify_rust::Urgency::Critical } else { notify_rust::Urgency::Normal });
    notification
}

/// Services read the body as markup: a branch called `<b>` has to stay one.
fn body(text: &str) -> String {
    shown_lines(text.as_bytes()).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AlertEvent;
    use std::process::Command;

    fn alert() -> Alert {
        let body = "<b>a</b> & b\nnext\x1b[2J".to_owned();
        Alert { event: AlertEvent::Failed, title: "staging\nfailed".to_owned(), body, urgent: true }
    }

    #[test]
    fn text_is_harmless() {
        let notification = notification(&alert());
        assert_eq!(notification.summary, "staging\\nfailed");
        assert_eq!(notification.body, "&lt;b&gt;a&lt;/b&gt; &amp; b\nnext\\x1b[2J");
        assert_eq!(notification.appname, "cascade");
    }

    /// Runs itself in a process that has no bus, so that no test shows anything on a developer's desktop.
    #[test]
    fn without_a_bus_it_gives_up_quietly() {
        if std::env::var_os("CASCADE_TEST_WITHOUT_BUS").is_some() {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { timeout(LIMIT * 2, show(&alert())).await.unwrap() });
            return;
        }
        for address in [None, Some("unix:path=/nowhere/at/all")] {
            let mut child = Command::new(std::env::current_exe().unwrap());
            child.args(["--exact", "alert::desktop::tests::without_a_bus_it_gives_up_quietly"]);
            child.env("CASCADE_TEST_WITHOUT_BUS", "1").env("XDG_RUNTIME_DIR", "/nowhere/at/all");
            child.env_remove("DBUS_SESSION_BUS_ADDRESS").env_remove("DISPLAY");
            child.envs(address.map(|address| ("DBUS_SESSION_BUS_ADDRESS", address)));
            let output = child.output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
            assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
        }
    }
}
