//! The messages of one channel on their way: a bounded queue, and one task that sends what is in it, in order.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Alert;
use super::desktop;
use super::email::Email;
use super::error::{Error, Result};
use super::limit::Limiter;
use super::locked;
use super::message::Message;
use super::webhook::Webhook;
use crate::base::retry::{Backoff, jitter};
use crate::base::{Clock, ErrorKind, Kinded as _};
use crate::config::AlertEvent;

/// So many messages wait for one channel; alerts beyond that are counted, and told of by one message.
const QUEUE_LIMIT_MESSAGES: usize = 64;
/// A receiver that asks to be left alone for longer does not get the message.
const RETRY_AFTER_LIMIT: Duration = Duration::from_secs(300);

/// How fast a channel sends, and how often it tries.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// So many messages are sent in a window.
    pub most: usize,
    /// A window begins with its first message.
    pub window: Duration,
    /// So often sending one message is tried.
    pub tries: u32,
    /// Pauses between the tries.
    pub backoff: Backoff,
}

impl Pace {
    /// At most 20 messages in 10 minutes, each tried 6 times within about half a minute of pauses.
    pub const NETWORK: Self = Self {
        most: 20,
        window: Duration::from_secs(600),
        tries: 6,
        backoff: Backoff { first: Duration::from_secs(1), ceiling: Duration::from_secs(60) },
    };
    /// The same for what is there or not.
    pub const DESKTOP: Self = Self { tries: 1, ..Self::NETWORK };

    /// Answers the pause after a number of tries, the last of which ended with `error`; nothing where another is useless.
    fn pause(&self, error: &Error, tries: u32, jitter: f64) -> Option<Duration> {
        let pause = self.backoff.wait(tries, jitter);
        match error.kind() {
            _ if tries >= self.tries => None,
            ErrorKind::RateLimited(asked) => (asked <= RETRY_AFTER_LIMIT).then(|| pause.max(asked)),
            kind => kind.is_transient().then_some(pause),
        }
    }
}

/// How messages leave this process.
#[derive(Debug)]
pub(super) enum Carrier {
    Desktop,
    Webhook(Webhook),
    Email(Email),
}

/// A message with what is known of its recipients.
#[derive(Debug, Clone)]
pub(super) struct Parcel {
    pub message: Message,
    /// Recipients that got or refused it, by their place in the configuration.
    pub settled: Vec<usize>,
    /// Those that refused it, with the reason.
    pub refused: Vec<String>,
}

impl Parcel {
    pub fn new(message: Message) -> Self {
        Self { message, settled: Vec::new(), refused: Vec::new() }
    }
}

/// The messages of one channel.
#[derive(Debug)]
pub(super) struct Outbox {
    /// The channel's name in the configuration.
    pub name: &'static str,
    project: String,
    on: Vec<AlertEvent>,
    carrier: Carrier,
    pace: Pace,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Something happened that the task must look at.
    wake: Notify,
    /// The task has ended.
    ended: Notify,
}

#[derive(Debug)]
struct State {
    /// The first is being sent; it stays here until that has ended.
    waiting: VecDeque<Message>,
    limiter: Limiter,
    worker: Option<AbortHandle>,
    /// When the process wants to end; nothing as long as it does not.
    deadline: Option<Instant>,
    /// What kept the first message from arriving so far.
    trouble: Option<String>,
}

/// What the task does next.
enum Next {
    Send(Message),
    Wait(Option<Instant>),
    End,
}

impl Outbox {
    pub fn new(carrier: Carrier, project: &str, on: &[AlertEvent], pace: Pace, clock: Arc<dyn Clock>) -> Arc<Self> {
        let name = match carrier {
            Carrier::Desktop => "desktop",
            Carrier::Webhook(_) => "webhook",
            Carrier::Email(_) => "email",
        };
        let state = State {
            waiting: VecDeque::new(),
            limiter: Limiter::new(pace.most, pace.window),
            worker: None,
            deadline: None,
            trouble: None,
        };
        let (project, on, state) = (project.to_owned(), on.to_vec(), Mutex::new(state));
        Arc::new(Self { name, project, on, carrier, pace, clock, state, wake: Notify::new(), ended: Notify::new() })
    }

    pub fn wants(&self, event: AlertEvent) -> bool {
        self.on.contains(&event)
    }

    /// Puts an alert into the queue, or counts it where that is full or too much was sent; returns at once.
    pub fn put(self: &Arc<Self>, alert: &Alert) {
        let mut state = self.locked();
        if state.waiting.len() >= QUEUE_LIMIT_MESSAGES {
            state.limiter.hold(alert);
        } else if state.limiter.admit(Instant::now(), alert) {
            state.waiting.push_back(Message::of(&self.project, self.clock.now(), alert));
        }
        if state.worker.is_none() {
            state.worker = Some(tokio::spawn(Arc::clone(self).work()).abort_handle());
        }
        drop(state);
        self.wake.notify_one();
    }

    /// Says that the process wants to end by then: what cannot be sent until then is given up.
    pub fn close(&self, deadline: Instant) {
        self.locked().deadline = Some(deadline);
        self.wake.notify_one();
    }

    /// Waits until all that was put in has been sent or given up, until `deadline` at most; tells the log what was not
    /// sent. What is put in afterwards is sent as before.
    pub async fn finish(&self, deadline: Instant) {
        self.close(deadline);
        let end = async {
            while self.locked().worker.is_some() {
                self.ended.notified().await;
            }
        };
        if timeout_at(deadline, end).await.is_err() {
            self.give_up();
        }
        self.locked().deadline = None;
    }

    /// Tries to send a message once, past the queue.
    pub async fn attempt(&self, parcel: &mut Parcel) -> Result<()> {
        match &self.carrier {
            Carrier::Desktop => desktop::show(&parcel.message).await,
            Carrier::Webhook(webhook) => webhook.post(&parcel.message, self.clock.now()).await,
            Carrier::Email(email) => email.send(parcel).await,
        }
    }

    async fn work(self: Arc<Self>) {
        loop {
            match self.next() {
                Next::Send(message) => self.send(message).await,
                Next::Wait(Some(until)) => tokio::select! {
                    () = sleep_until(until) => {}
                    () = self.wake.notified() => {}
                },
                Next::Wait(None) => self.wake.notified().await,
                Next::End => return self.ended.notify_one(),
            }
        }
    }

    fn next(&self) -> Next {
        let (mut state, now) = (self.locked(), Instant::now());
        if let Some(first) = state.waiting.front() {
            return Next::Send(first.clone());
        }
        let is_ending = state.deadline.is_some();
        let held = if is_ending { state.limiter.take_early(now) } else { state.limiter.take(now) };
        if let Some(tally) = held {
            let summary = Message::summary(&self.project, self.clock.now(), &tally);
            state.waiting.push_back(summary.clone());
            return Next::Send(summary);
        }
        if is_ending {
            state.worker = None;
            return Next::End;
        }
        Next::Wait(state.limiter.due().filter(|due| *due > now))
    }

    /// Tries to send the first message until it arrives or no other try is worth it.
    async fn send(&self, message: Message) {
        let mut parcel = Parcel::new(message);
        let mut tries = 0;
        while let Err(error) = self.attempt(&mut parcel).await {
            tries += 1;
            let pause = self.pace.pause(&error, tries, jitter());
            let is_worth_it = match pause {
                Some(pause) => self.rest(&error, Instant::now() + pause).await,
                None => false,
            };
            if !is_worth_it {
                self.report(&parcel.message.title, &error.to_string());
                break;
            }
        }
        let mut state = self.locked();
        state.waiting.pop_front();
        state.trouble = None;
    }

    /// Waits for the next try; answers whether there is time for one before the process ends.
    async fn rest(&self, error: &Error, until: Instant) -> bool {
        tracing::debug!(channel = self.name, %error, "an alert is sent again");
        self.locked().trouble = Some(error.to_string());
        loop {
            if self.locked().deadline.is_some_and(|deadline| until >= deadline) {
                return false;
            }
            tokio::select! {
                () = sleep_until(until) => return true,
                () = self.wake.notified() => {}
            }
        }
    }

    /// Ends the task, and tells the log of everything that has not been sent.
    fn give_up(&self) {
        let mut state = self.locked();
        if let Some(worker) = state.worker.take() {
            worker.abort();
        }
        let trouble = state.trouble.take().unwrap_or_else(|| "no answer before the process ended".to_owned());
        let (waiting, held) = (std::mem::take(&mut state.waiting), state.limiter.take_early(Instant::now()));
        drop(state);
        waiting.iter().for_each(|message| self.report(&message.title, &trouble));
        if let Some(held) = held {
            self.report(&Message::summary(&self.project, self.clock.now(), &held).title, &trouble);
        }
    }

    /// A desktop is there or not; whoever configured another channel relies on it.
    fn report(&self, alert: &str, reason: &str) {
        match self.carrier {
            Carrier::Desktop => tracing::debug!(alert, reason, "no desktop notification"),
            _ => tracing::warn!(channel = self.name, alert, reason, "an alert was not delivered"),
        }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::SystemClock;
    use crate::base::units::Span;
    use crate::config::{self, Expanded};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    const LONG: Duration = Duration::from_secs(20);

    /// Takes everything that is posted to it, and passes on the titles.
    async fn receiver() -> (String, mpsc::UnboundedReceiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let (sender, titles) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                let (mut connection, _) = listener.accept().await.unwrap();
                let (mut request, mut chunk) = (Vec::new(), [0; 4096]);
                while !request.ends_with(b"}") {
                    let length = connection.read(&mut chunk).await.unwrap();
                    request.extend_from_slice(&chunk[..length]);
                }
                let text = String::from_utf8(request).unwrap();
                let json: serde_json::Value = serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
                connection.write_all(b"HTTP/1.1 204 Ok\r\nconnection: close\r\n\r\n").await.unwrap();
                sender.send(json["title"].as_str().unwrap().to_owned()).unwrap();
            }
        });
        (url, titles)
    }

    fn outbox(url: &str, pace: Pace) -> Arc<Outbox> {
        let (url, timeout) = (Expanded::new("${URL}", url), Span(LONG));
        let webhook = Webhook::new(&config::Webhook { url, secret: None, on: None, timeout }).unwrap();
        Outbox::new(Carrier::Webhook(webhook), "shop", &AlertEvent::ALL, pace, Arc::new(SystemClock))
    }

    fn put(outbox: &Arc<Outbox>, numbers: std::ops::Range<usize>) {
        numbers.for_each(|number| outbox.put(&Alert::new(AlertEvent::Health, number.to_string(), "")));
    }

    #[tokio::test]
    async fn what_is_too_much_follows_as_one_message() {
        let (url, mut titles) = receiver().await;
        let outbox = outbox(&url, Pace { most: 2, window: Duration::from_millis(100), ..Pace::NETWORK });
        put(&outbox, 0..5);
        for expected in ["0", "1", "shop: and 3 more"] {
            assert_eq!(titles.recv().await.as_deref(), Some(expected));
        }
    }

    #[tokio::test]
    async fn a_process_that_ends_sends_what_was_held_back_first() {
        let (url, mut titles) = receiver().await;
        let outbox = outbox(&url, Pace { most: 2, ..Pace::NETWORK });
        for _ in 0..2 {
            put(&outbox, 0..5);
            outbox.finish(Instant::now() + LONG).await;
        }
        let sent: Vec<String> = std::iter::from_fn(|| titles.try_recv().ok()).collect();
        assert_eq!(sent, ["0", "1", "shop: and 3 more", "0", "shop: and 4 more"]);
    }

    #[tokio::test]
    async fn a_full_queue_is_counted_and_nobody_waits_for_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let outbox =
            outbox(&format!("http://{}/", listener.local_addr().unwrap()), Pace { most: 1_000, ..Pace::NETWORK });
        put(&outbox, 0..QUEUE_LIMIT_MESSAGES + 10);
        assert_eq!(outbox.locked().waiting.len(), QUEUE_LIMIT_MESSAGES);
        outbox.finish(Instant::now() + Duration::from_millis(100)).await;
        assert!(outbox.locked().waiting.is_empty() && outbox.locked().worker.is_none());
    }

    #[test]
    fn pauses_are_those_of_the_receiver_or_longer() {
        let pause = |error: &Error, tries| Pace::NETWORK.pause(error, tries, 1.0).map(|pause| pause.as_secs());
        let status = |status, after: Option<u64>| Error::Status { status, after: after.map(Duration::from_secs) };
        assert_eq!(
            [1, 2, 3, 5, 6].map(|tries| pause(&status(500, None), tries)),
            [Some(1), Some(2), Some(4), Some(16), None]
        );
        assert_eq!(pause(&status(429, Some(7)), 1), Some(7));
        assert_eq!(pause(&status(503, Some(0)), 1), Some(1));
        assert_eq!(pause(&status(503, Some(301)), 1), None, "nobody waits that long");
        assert_eq!(pause(&status(410, Some(1)), 1), None);
        assert_eq!(Pace::DESKTOP.pause(&Error::NoDesktop { reason: String::new() }, 1, 1.0), None);
    }
}
