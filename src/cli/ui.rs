//! The only printer.
//!
//! Answers go to stdout, everything said about the work to stderr. Whatever is printed for people passes
//! [`crate::base::escape`]; colour is added afterwards and only reaches terminals (`NO_COLOR` is honoured).
//! A reader that went away is no failure: what is left is not printed, and the command ends as it would have.

use std::io::{self, BufRead as _, IsTerminal as _, Write};
use std::os::fd::AsFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use owo_colors::{OwoColorize as _, Style};
use serde::Serialize;

use super::failure::{Failure, Outcome};
use crate::base::ErrorKind;
use crate::base::escape::{shown, shown_lines};

/// Blanks between two columns of a table.
const GAP: usize = 2;
/// A column is not made narrower than this many characters.
const COLUMN_MIN: usize = 8;
/// Columns of a terminal that does not say how many it has.
const DEFAULT_WIDTH: usize = 80;

/// Prints for people or for programs.
#[derive(Debug, Default)]
pub struct Ui {
    json: bool,
    quiet: bool,
    verbose: u8,
    closed: AtomicBool,
    answered: AtomicBool,
    lost: Mutex<Option<io::Error>>,
    /// Lines of the picture of what is under way, below everything that was said.
    pictured: AtomicUsize,
}

/// What a piece of text means; becomes its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tone {
    /// Nothing special.
    #[default]
    Plain,
    /// A name or a title.
    Strong,
    /// Of lesser interest.
    Dim,
    /// As it should be.
    Good,
    /// Worth a look.
    Warn,
    /// Wrong.
    Bad,
}

/// A piece of text with its meaning.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// Makes a piece; the text may come from anywhere, it is escaped.
    #[must_use]
    pub fn new(text: impl AsRef<[u8]>, tone: Tone) -> Self {
        Self { text: shown(text.as_ref()), tone }
    }

    /// Answers how many columns it takes.
    #[must_use]
    pub fn width(&self) -> usize {
        self.text.chars().count()
    }

    fn painted(&self, text: &str) -> String {
        paint(self.tone, text)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::new(text, Tone::Plain)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::new(text, Tone::Plain)
    }
}

impl Ui {
    /// Makes a printer: documents only where `json`, only answers and failures where `quiet`.
    #[must_use]
    pub fn new(json: bool, quiet: bool, verbose: u8) -> Self {
        Self { json, quiet, verbose, ..Self::default() }
    }

    /// Answers whether programs read us.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Answers how many times more detail was asked for.
    #[must_use]
    pub fn verbosity(&self) -> u8 {
        self.verbose
    }

    /// Answers whether the reader went away; endless commands end then.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Answers whether a person can be asked: stdin and stderr are terminals, and no program reads us.
    #[must_use]
    pub fn is_interactive(&self) -> bool {
        !self.json && io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Answers whether a person looks at the answer.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        !self.json && io::stdout().is_terminal()
    }

    /// Empties the terminal for the next picture of an answer that follows changes.
    pub fn clear(&self) {
        if self.is_terminal() {
            self.raw(b"\x1b[H\x1b[2J\x1b[3J");
        }
    }

    /// Prints one line of the answer.
    pub fn line(&self, text: &str) {
        if !self.json {
            self.out(&format!("{}\n", shown_lines(text.as_bytes())));
        }
    }

    /// Prints one line of the answer, in pieces.
    pub fn pieces(&self, pieces: &[Cell]) {
        if !self.json {
            let line: String = pieces.iter().map(|piece| piece.painted(&piece.text)).collect();
            self.out(&format!("{line}\n"));
        }
    }

    /// Prints a title above a part of the answer.
    pub fn heading(&self, text: &str) {
        self.pieces(&[Cell::new(text, Tone::Strong)]);
    }

    /// Answers whether a picture of what is under way can be shown: stderr is a terminal that can move its cursor.
    #[must_use]
    pub fn can_picture(&self) -> bool {
        let choice = anstream::AutoStream::choice(&io::stderr());
        !self.quiet && !self.json && io::stderr().is_terminal() && choice != anstream::ColorChoice::Never
    }

    /// Shows on stderr what is under way, in place of what was shown so before; no lines end it. Whatever else is said
    /// takes its place until it is shown again.
    pub fn picture(&self, lines: &[String]) {
        if !self.can_picture() {
            return;
        }
        let width = width_of(&io::stderr()).unwrap_or(DEFAULT_WIDTH);
        let shown = lines.iter().map(|line| cut(&shown(line.as_bytes()), width.saturating_sub(1)));
        let text: String = shown.map(|line| format!("{}\n", paint(Tone::Dim, &line))).collect();
        let before = self.pictured.swap(lines.len(), Ordering::Relaxed);
        err_raw(&format!("{}{text}", wiping(before)));
    }

    /// Takes the picture of what is under way off the terminal.
    fn wipe(&self) {
        err_raw(&wiping(self.pictured.swap(0, Ordering::Relaxed)));
    }

    /// Says on stderr what is being done.
    pub fn note(&self, text: &str) {
        if !self.quiet && !self.json {
            self.wipe();
            err(&format!("{}\n", shown_lines(text.as_bytes())));
        }
    }

    /// Says that something was done.
    pub fn success(&self, text: &str) {
        if !self.quiet && !self.json {
            self.out(&format!("{}\n", paint(Tone::Good, &shown_lines(text.as_bytes()))));
        }
    }

    /// Tells what came of it where that was the question: also where only answers are wanted.
    pub fn answer(&self, text: &str) {
        self.pieces(&[Cell::new(text, Tone::Good)]);
    }

    /// Says what can be done next, beside the answer.
    pub fn hint(&self, text: &str) {
        if !self.quiet {
            self.line(text);
        }
    }

    /// Says on stderr what deserves attention; programs that read stdout are not disturbed by it.
    pub fn warning(&self, text: &str) {
        if !self.quiet {
            self.wipe();
            err(&format!("{} {}\n", paint(Tone::Warn, "warning:"), shown_lines(text.as_bytes())));
        }
    }

    /// Prints rows in columns that fit the terminal; the widest columns are cut first. A header is a first row of
    /// [`Tone::Dim`] cells.
    pub fn table(&self, rows: &[Vec<Cell>]) {
        if !self.json {
            self.out(&laid_out(rows, terminal_width()));
        }
    }

    /// Prints one document for programs, whatever the mode.
    ///
    /// # Errors
    /// The document has no JSON form.
    pub fn json(&self, document: &impl Serialize) -> Outcome {
        let text = serde_json::to_string_pretty(document)
            .map_err(|problem| Failure::internal(format!("cannot write JSON: {problem}")))?;
        self.answered.store(true, Ordering::Relaxed);
        self.raw(format!("{text}\n").as_bytes());
        Ok(())
    }

    /// Prints bytes as they are, whatever the mode: documents made for other programs, never outside text.
    pub fn raw(&self, bytes: &[u8]) {
        self.keep(io::stdout().lock().write_all(bytes).and_then(|()| io::stdout().flush()));
    }

    /// Asks a yes-or-no question on stderr; anything but `y` or `yes` is a no. Without a person to ask: no.
    ///
    /// # Errors
    /// The terminal cannot be read.
    pub async fn confirm(&self, question: &str) -> io::Result<bool> {
        if !self.is_interactive() {
            return Ok(false);
        }
        self.wipe();
        err(&format!("{} [y/N] ", shown_lines(question.as_bytes())));
        // A thread of its own, so that signals are heard meanwhile.
        let read = tokio::task::spawn_blocking(|| {
            let mut answer = String::new();
            io::stdin().lock().read_line(&mut answer).map(|_| answer)
        });
        let answer = read.await.map_err(io::Error::other)??;
        Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }

    /// Prints a failure: on stderr for people, as a document on stdout for programs.
    ///
    /// A command that has printed its document fails by its exit code alone: programs read one document.
    pub fn failure(&self, failure: &Failure) {
        if self.json && self.answered.load(Ordering::Relaxed) {
            return;
        }
        if self.json {
            // A failure is made of text, which always has a JSON form.
            let _ = self.json(&failure.document());
            return;
        }
        self.wipe();
        err(&rendered(failure));
    }

    /// Answers whether all of the answer was written; a reader that went away counts as written.
    ///
    /// # Errors
    /// Stdout refused, for example on a full disk.
    pub fn finish(&self) -> io::Result<()> {
        self.lost.lock().ok().and_then(|mut lost| lost.take()).map_or(Ok(()), Err)
    }

    fn out(&self, text: &str) {
        if !self.is_closed() {
            self.wipe();
            let mut stdout = anstream::stdout().lock();
            self.keep(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()));
        }
    }

    fn keep(&self, written: io::Result<()>) {
        let Err(source) = written else { return };
        self.closed.store(true, Ordering::Relaxed);
        if source.kind() != io::ErrorKind::BrokenPipe
            && let Ok(mut lost) = self.lost.lock()
        {
            lost.get_or_insert(source);
        }
    }
}

/// Says that cascade itself is broken.
pub fn report_bug(what: &str) {
    let what = what.lines().collect::<Vec<_>>().join(" ");
    let report = concat!("this is a bug in cascade: please report it at ", env!("CARGO_PKG_REPOSITORY"), "/issues");
    err(&format!("{} {} ({report})\n", paint(Tone::Bad, "error:"), shown(what.as_bytes())));
}

/// Answers the text form of a failure.
fn rendered(failure: &Failure) -> String {
    let message = shown_lines(failure.message.as_bytes());
    if failure.kind == ErrorKind::Pending {
        // The answer to a question is no error.
        return format!("{}\n", paint(Tone::Warn, &message));
    }
    let mut text = format!("{} {message}\n", paint(Tone::Bad, "error:"));
    for cause in &failure.causes {
        text.push_str(&format!("  {} {}\n", paint(Tone::Dim, "caused by:"), shown_lines(cause.as_bytes())));
    }
    if let Some(hint) = &failure.hint {
        text.push_str(&format!("  {} {}\n", paint(Tone::Good, "hint:"), shown_lines(hint.as_bytes())));
    }
    text
}

fn err(text: &str) {
    // Nobody is left to be told when stderr is gone.
    let _ = anstream::stderr().lock().write_all(text.as_bytes());
}

/// Writes what moves the cursor.
fn err_raw(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Answers what takes so many lines above the cursor off a terminal.
fn wiping(lines: usize) -> String {
    if lines == 0 { String::new() } else { format!("\x1b[{lines}A\r\x1b[J") }
}

fn paint(tone: Tone, text: &str) -> String {
    let style = match tone {
        Tone::Plain => return text.to_owned(),
        Tone::Strong => Style::new().bold(),
        Tone::Dim => Style::new().dimmed(),
        Tone::Good => Style::new().green(),
        Tone::Warn => Style::new().yellow().bold(),
        Tone::Bad => Style::new().red().bold(),
    };
    text.style(style).to_string()
}

fn terminal_width() -> Option<usize> {
    width_of(&io::stdout())
}

fn width_of(stream: &(impl io::IsTerminal + AsFd)) -> Option<usize> {
    let size = stream.is_terminal().then(|| rustix::termios::tcgetwinsize(stream).ok()).flatten()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

fn laid_out(rows: &[Vec<Cell>], width: Option<usize>) -> String {
    let widths = fitted(natural_widths(rows), width);
    rows.iter().map(|row| row_text(row, &widths)).collect()
}

fn row_text(row: &[Cell], widths: &[usize]) -> String {
    let mut line = String::new();
    for (index, (cell, width)) in row.iter().zip(widths).enumerate() {
        let text = cut(&cell.text, *width);
        let blanks = if index + 1 == row.len() { 0 } else { width + GAP - text.chars().count() };
        line.push_str(&cell.painted(&text));
        line.extend(std::iter::repeat_n(' ', blanks));
    }
    format!("{}\n", line.trim_end())
}

fn natural_widths(rows: &[Vec<Cell>]) -> Vec<usize> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column| rows.iter().filter_map(|row| row.get(column)).map(|cell: &Cell| cell.text.chars().count()).max();
    (0..columns).map(|column| width(column).unwrap_or(0)).collect()
}

/// Narrows the widest column until the row fits, as long as one is wider than [`COLUMN_MIN`].
fn fitted(mut widths: Vec<usize>, limit: Option<usize>) -> Vec<usize> {
    let Some(limit) = limit else { return widths };
    let gaps = GAP * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > limit {
        match widths.iter_mut().max() {
            Some(widest) if *widest > COLUMN_MIN => *widest -= 1,
            _ => break,
        }
    }
    widths
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(width: Option<usize>, expected: &str) {
        let rows = [
            vec!["staging".into(), "abc".into(), "waits for an approval of two people".into()],
            vec!["production".into(), "a".into(), "live".into()],
        ];
        assert_eq!(laid_out(&rows, width), expected);
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        check(None, "staging     abc  waits for an approval of two people\nproduction  a    live\n");
    }

    #[test]
    fn widest_column_is_cut_to_fit_the_terminal() {
        check(Some(30), "staging     abc  waits for an…\nproduction  a    live\n");
    }

    #[test]
    fn cells_cannot_carry_escape_sequences() {
        assert_eq!(Cell::new("a\x1b[31m\nb", Tone::Plain).text, "a\\x1b[31m\\nb");
    }

    #[test]
    fn failure_shows_causes_and_hint() {
        let failure = Failure { causes: vec!["disk full".into()], ..Failure::usage("no").with_hint("try again") };
        let plain = anstream::adapter::strip_str(&rendered(&failure)).to_string();
        assert_eq!(plain, "error: no\n  caused by: disk full\n  hint: try again\n");
    }
}
