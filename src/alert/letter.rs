//! A message as the text of an e-mail (RFC 5322): plain text, ASCII only, no line but ours.
//!
//! Whatever is not harmless in a header or a body is encoded, so that no title, name or body can add a header.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::fmt::rfc2822::DateTimePrinter;

use super::message::Message;
use crate::config::Mailbox;

const DATE: DateTimePrinter = DateTimePrinter::new();
/// Longer text of a header is encoded, and folded with that.
const PLAIN_LIMIT_BYTES: usize = 60;
/// So much text makes one encoded word of at most 75 characters.
const WORD_LIMIT_BYTES: usize = 45;
/// Base64 characters in a line.
const ENCODED_LINE_CHARS: usize = 76;
/// Bodies with longer lines are encoded: mail servers may break a line of 1,000.
const LINE_LIMIT_BYTES: usize = 900;

/// Writes the letter, with CRLF line ends.
pub(super) fn letter(message: &Message, from: &Mailbox, to: &[Mailbox]) -> String {
    let text = body(message);
    let is_plain = text.is_ascii() && text.lines().all(|line| line.len() <= LINE_LIMIT_BYTES);
    let recipients: Vec<String> = to.iter().map(mailbox).collect();
    let mut headers = vec![
        ("Date", DATE.timestamp_to_string(&message.at).unwrap_or_default()),
        ("From", mailbox(from)),
        ("To", recipients.join(",\r\n ")),
        ("Subject", unstructured(&message.title)),
        ("Message-ID", format!("<{}@{}>", message.id, from.address.domain())),
        ("Auto-Submitted", "auto-generated".to_owned()),
        ("X-Cascade-Event", message.event.to_owned()),
        ("MIME-Version", "1.0".to_owned()),
        ("Content-Type", "text/plain; charset=utf-8".to_owned()),
        ("Content-Transfer-Encoding", if is_plain { "7bit" } else { "base64" }.to_owned()),
    ];
    if message.urgent {
        headers.push(("Importance", "high".to_owned()));
    }
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let text = text.replace('\n', "\r\n");
    format!("{headers}\r\n{}", if is_plain { text } else { encoded_lines(&text) })
}

/// The body, and below it what a program finds in the JSON form.
fn body(message: &Message) -> String {
    let facts = [
        ("project", Some(message.project.as_str())),
        ("environment", message.environment.as_deref()),
        ("promotion", message.promotion.as_deref()),
        ("event", Some(message.event)),
    ];
    let facts = facts.into_iter().filter_map(|(name, value)| Some(format!("{name}: {}\n", value?)));
    format!("{}\n\n{}at: {}\n", message.body, facts.collect::<String>(), message.at)
}

fn mailbox(mailbox: &Mailbox) -> String {
    match &mailbox.name {
        Some(name) => format!("{} <{}>", phrase(name), mailbox.address),
        None => mailbox.address.to_string(),
    }
}

/// Names have fewer harmless characters than other text.
fn phrase(name: &str) -> String {
    let is_harmless = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '-' | '_');
    if name.len() <= PLAIN_LIMIT_BYTES && name.chars().all(is_harmless) { name.to_owned() } else { encoded_words(name) }
}

fn unstructured(text: &str) -> String {
    let is_harmless = text.chars().all(|c| c == ' ' || c.is_ascii_graphic()) && !text.contains("=?");
    if is_harmless && text.len() <= PLAIN_LIMIT_BYTES { text.to_owned() } else { encoded_words(text) }
}

/// Writes text as words that are put together again by whoever reads them (RFC 2047), a line each.
fn encoded_words(text: &str) -> String {
    let mut words = vec![String::new()];
    for c in text.chars() {
        match words.last_mut() {
            Some(word) if word.len() + c.len_utf8() <= WORD_LIMIT_BYTES => word.push(c),
            _ => words.push(c.to_string()),
        }
    }
    let words: Vec<String> = words.iter().map(|word| format!("=?utf-8?B?{}?=", BASE64.encode(word))).collect();
    words.join("\r\n ")
}

fn encoded_lines(text: &str) -> String {
    let encoded = BASE64.encode(text);
    let lines = encoded.as_bytes().chunks(ENCODED_LINE_CHARS);
    lines.map(|line| format!("{}\r\n", String::from_utf8_lossy(line))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::Alert;
    use crate::base::clock::from_ms;
    use crate::base::id::PromotionId;
    use crate::config::AlertEvent;
    use proptest::prelude::*;

    fn somebody(name: Option<&str>, address: &str) -> Mailbox {
        Mailbox { name: name.map(str::to_owned), address: address.parse().unwrap() }
    }

    fn written(title: &str, body: &str) -> String {
        let id = PromotionId::from_stored("abcd1234");
        let alert = Alert::new(AlertEvent::Failed, title, body).about("staging", &id);
        let message = Message { id: "msg_1".to_owned(), ..Message::of("shop", from_ms(0), &alert) };
        let to = [somebody(None, "ops@example.org"), somebody(Some("Ada, \"Öps\""), "ada@example.org")];
        letter(&message, &somebody(Some("cascade"), "cascade@example.org"), &to)
    }

    /// Reads a header's value as whoever gets the letter does.
    fn read(letter: &str, name: &str) -> String {
        let (head, _) = letter.split_once("\r\n\r\n").unwrap();
        let unfolded = head.replace("\r\n ", " ");
        let value = unfolded.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap();
        let decode = |word: &str| {
            let text = word.strip_prefix("=?utf-8?B?")?.strip_suffix("?=")?;
            String::from_utf8(BASE64.decode(text).unwrap()).ok()
        };
        let words: Option<String> = value.split(' ').map(decode).collect();
        words.unwrap_or_else(|| value.to_owned())
    }

    fn read_body(letter: &str) -> String {
        let (head, body) = letter.split_once("\r\n\r\n").unwrap();
        if head.contains("Content-Transfer-Encoding: 7bit") {
            return body.to_owned();
        }
        String::from_utf8(BASE64.decode(body.replace("\r\n", "")).unwrap()).unwrap()
    }

    #[test]
    fn letter_is_plain_text() {
        insta::assert_snapshot!(written("shop: promotion to staging failed", "build failed\nsee the log"), @"
        Date: Thu, 1 Jan 1970 00:00:00 -0000
        From: cascade <cascade@example.org>
        To: ops@example.org,
         =?utf-8?B?QWRhLCAiw5ZwcyI=?= <ada@example.org>
        Subject: shop: promotion to staging failed
        Message-ID: <msg_1@example.org>
        Auto-Submitted: auto-generated
        X-Cascade-Event: failed
        MIME-Version: 1.0
        Content-Type: text/plain; charset=utf-8
        Content-Transfer-Encoding: 7bit
        Importance: high

        build failed
        see the log

        project: shop
        environment: staging
        promotion: abcd1234
        event: failed
        at: 1970-01-01T00:00:00Z
        ");
    }

    #[test]
    fn what_is_not_ascii_arrives_whole() {
        let letter = written("straße → staging", "größer\n✓");
        assert_eq!(read(&letter, "Subject"), "straße → staging");
        assert!(read_body(&letter).starts_with("größer\r\n✓\r\n"), "{letter}");
    }

    #[test]
    fn hostile_text_adds_no_header() {
        let hostile = "x\r\nBcc: eve@example.org\r\n\r\nhello\r\n.\r\nQUIT";
        let letter = written(hostile, hostile);
        assert_eq!(read(&letter, "Subject"), r"x\r\nBcc: eve@example.org\r\n\r\nhello\r\n.\r\nQUIT");
        let (head, _) = letter.split_once("\r\n\r\n").unwrap();
        assert!(!head.contains("\nBcc"), "{letter}");
    }

    proptest! {
        #[test]
        fn any_text_arrives_and_nothing_of_it_is_a_header(title in "\\PC{0,150}|[\\x00-\\x7f]{0,50}", body in "(?s).{0,300}") {
            let letter = written(&title, &body);
            prop_assert!(letter.is_ascii());
            prop_assert!(letter.lines().all(|line| line.len() < 998 && !line.contains('\r')));
            let (head, _) = letter.split_once("\r\n\r\n").unwrap();
            let names: Vec<&str> =
                head.split("\r\n").filter(|line| !line.starts_with(' ')).map(|line| line.split(": ").next().unwrap()).collect();
            prop_assert_eq!(names.join(" "), "Date From To Subject Message-ID Auto-Submitted X-Cascade-Event MIME-Version \
                Content-Type Content-Transfer-Encoding Importance");
            let shown = crate::base::escape::shown(title.as_bytes());
            if shown.chars().count() <= 200 {
                prop_assert_eq!(read(&letter, "Subject"), shown);
            }
            let shown = crate::base::escape::shown_lines(body.as_bytes());
            prop_assert!(read_body(&letter).replace("\r\n", "\n").starts_with(&shown));
        }
    }
}
