//! A sync as people follow it: one line on the terminal, for as long as it goes.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::sync::bytes;
use super::{Shell, words};
use crate::context::Context;
use crate::sync;
use crate::sync::progress::{Phase, Reached};

/// How often the line is drawn anew.
const DRAWN_EVERY: Duration = Duration::from_millis(200);

/// Does `work` of a sync, and shows how far it is where a person looks on.
pub async fn watched<T>(shell: &Shell, ctx: &Context, sync: &sync::Sync, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    if !shell.ui.can_picture() {
        return work.await;
    }
    let (name, progress) = (sync.name.clone(), Arc::clone(&sync.progress));
    // What is done at once is not worth a line.
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + DRAWN_EVERY, DRAWN_EVERY);
    loop {
        tokio::select! {
            done = &mut work => {
                shell.ui.picture(&[]);
                return done;
            }
            _ = ticks.tick() => shell.ui.picture(&[line(&name, &progress.reached(), ctx.now().as_millisecond())]),
        }
    }
}

/// Says how far a sync is.
fn line(name: &str, reached: &Reached, now_ms: i64) -> String {
    let verb = match reached.phase {
        Phase::Comparing => "comparing",
        Phase::Applying => "bringing over",
        Phase::Verifying => "verifying",
    };
    let items = match reached.of_items {
        0 => format!("{} items", reached.items),
        of => format!("{} of {of} items", reached.items),
    };
    let mut text = format!("{name}: {verb} {items}");
    if reached.of_bytes > 0 {
        text.push_str(&format!(", {} of {}", bytes(reached.bytes), bytes(reached.of_bytes)));
    } else if reached.bytes > 0 {
        text.push_str(&format!(", {} read", bytes(reached.bytes)));
    }
    if let Some(rate) = reached.bytes_per_second(now_ms) {
        text.push_str(&format!(", {}/s", bytes(rate)));
    }
    if let Some(left_ms) = reached.left_ms(now_ms) {
        text.push_str(&format!(", {} left", words::duration(left_ms)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_is_known() {
        let mut reached =
            Reached { phase: Phase::Comparing, began_ms: 0, items: 40, bytes: 0, of_items: 0, of_bytes: 0 };
        assert_eq!(line("site", &reached, 1_000), "site: comparing 40 items");
        reached.bytes = 2 << 20;
        assert_eq!(line("site", &reached, 1_000), "site: comparing 40 items, 2.0 MiB read, 2.0 MiB/s");
        let reached = Reached { phase: Phase::Applying, of_items: 80, of_bytes: 4 << 20, ..reached };
        assert_eq!(
            line("site", &reached, 60_000),
            "site: bringing over 40 of 80 items, 2.0 MiB of 4.0 MiB, 34.1 KiB/s, 1m 0s left"
        );
    }
}
