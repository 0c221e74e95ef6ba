//! What credentials look like: rules in the format of gitleaks, cascade's own and those of Betterleaks, and how they are
//! asked.
//!
//! Keywords come first: one pass over a text says which rules have any of theirs in it, and a rule is asked only around
//! them. A pattern is compiled when it is needed for the first time.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, LazyLock, OnceLock};

use aho_corasick::AhoCorasick;
use regex::bytes::{Captures, Regex, RegexBuilder};
use serde::Deserialize;

use super::GUESSED;
use super::dialect::in_our_dialect;

/// What cascade knows by itself.
const OWN: &str = include_str!("rules.toml");
/// What others maintain; their exceptions are for their rules alone.
const ADOPTED: &str = include_str!("betterleaks.toml");

/// So much before a keyword is looked at, or from the beginning of its line.
const BEFORE_BYTES: usize = 1_000;
/// So much after a keyword is looked at, to the end of the last line: the longest private keys fit in.
const AFTER_BYTES: usize = 16_000;
/// A pattern that needs more memory than this is refused.
const COMPILED_LIMIT_BYTES: usize = 32 << 20;
/// More are not looked for in one text.
pub(super) const MATCHES_LIMIT: usize = 1_000;

static BUILT_IN: LazyLock<Arc<RuleSet>> = LazyLock::new(|| {
    // The text is part of the program, and a test reads it.
    Arc::new(built_in_files().and_then(RuleSet::new).unwrap_or_default())
});

/// What a file of rules says, as gitleaks reads it; other keys are passed over.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RuleFile {
    rules: Vec<RuleSpec>,
    allowlist: Option<ExceptionSpec>,
    allowlists: Vec<ExceptionSpec>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RuleSpec {
    id: String,
    regex: Option<String>,
    path: Option<String>,
    #[serde(default)]
    secret_group: usize,
    #[serde(default)]
    entropy: f64,
    #[serde(default)]
    keywords: Vec<String>,
    allowlist: Option<ExceptionSpec>,
    #[serde(default)]
    allowlists: Vec<ExceptionSpec>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ExceptionSpec {
    condition: Option<String>,
    paths: Vec<String>,
    regexes: Vec<String>,
    regex_target: Option<String>,
    stopwords: Vec<String>,
    target_rules: Vec<String>,
}

/// Reads a file of rules.
///
/// # Errors
/// It is no TOML, or not of this format; with the line and the library's words.
pub(super) fn parse(text: &str) -> Result<RuleFile, String> {
    toml::from_str(text).map_err(|problem| {
        let before = problem.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        format!("line {}: {}", before.matches('\n').count() + 1, problem.message())
    })
}

fn built_in_files() -> Result<Vec<RuleFile>, String> {
    let mut adopted = parse(ADOPTED)?;
    let ids: Vec<String> = adopted.rules.iter().map(|rule| rule.id.clone()).collect();
    adopted.allowlists.iter_mut().for_each(|general| general.target_rules.clone_from(&ids));
    Ok(vec![parse(OWN)?, adopted])
}

#[cfg(test)]
pub(super) fn own_ids() -> Vec<String> {
    parse(OWN).unwrap().rules.into_iter().map(|rule| rule.id).collect()
}

/// Rules that are asked together.
#[derive(Debug, Default)]
pub(super) struct RuleSet {
    rules: Vec<Rule>,
    exceptions: Vec<Exception>,
    keywords: Option<AhoCorasick>,
    /// For each keyword the rules that have it.
    owners: Vec<Vec<usize>>,
}

/// How one kind of credential looks.
#[derive(Debug)]
struct Rule {
    id: String,
    pattern: Pattern,
    path: Option<Pattern>,
    group: usize,
    min_bits_per_char: f64,
    has_keywords: bool,
    exceptions: Vec<Exception>,
}

/// What looks like a credential and is none.
#[derive(Debug)]
struct Exception {
    needs_all: bool,
    paths: Vec<Pattern>,
    regexes: Vec<Pattern>,
    target: Target,
    stopwords: Vec<String>,
    rules: Vec<String>,
}

/// What the patterns of an exception are compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Value,
    Match,
    Line,
}

/// A regular expression that is compiled when it is needed.
#[derive(Debug)]
struct Pattern {
    text: String,
    compiled: OnceLock<Option<Regex>>,
}

/// Something in a text that a rule points out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Match<'r> {
    /// The rule.
    pub rule: &'r str,
    /// Where everything is that the rule describes.
    pub span: Range<usize>,
    /// Where the value is, without blanks around it.
    pub value: Range<usize>,
}

impl RuleSet {
    /// Answers the rules that are part of the program.
    pub fn built_in() -> Arc<Self> {
        Arc::clone(&BUILT_IN)
    }

    /// Answers cascade's own rules and further ones; a further one with the name of an own one replaces it.
    ///
    /// # Errors
    /// A pattern is none, with the name of its rule.
    pub fn extended(further: Vec<RuleFile>) -> Result<Self, String> {
        let mut files = built_in_files()?;
        files.extend(further);
        let set = Self::new(files)?;
        set.patterns()
            .try_for_each(|(id, pattern)| pattern.test().map_err(|problem| format!("rule `{id}`: {problem}")))?;
        Ok(set)
    }

    fn new(files: Vec<RuleFile>) -> Result<Self, String> {
        let (mut specs, mut exceptions): (Vec<RuleSpec>, Vec<Exception>) = Default::default();
        for file in files {
            specs.retain(|known| file.rules.iter().all(|rule| rule.id != known.id));
            specs.extend(file.rules);
            exceptions.extend(file.allowlist.into_iter().chain(file.allowlists).map(Exception::new));
        }
        let mut owners: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let mut rules = Vec::new();
        // Of two rules for one value the first counts: who guesses comes last.
        specs.sort_by_key(|spec| spec.id == GUESSED);
        // A rule about paths alone says nothing about text.
        for spec in specs.into_iter().filter(|spec| spec.regex.is_some()) {
            for keyword in spec.keywords.iter().filter(|keyword| !keyword.is_empty()) {
                owners.entry(keyword.to_ascii_lowercase()).or_default().push(rules.len());
            }
            rules.push(Rule::new(spec));
        }
        let keywords = AhoCorasick::builder().ascii_case_insensitive(true).build(owners.keys());
        let keywords = Some(keywords.map_err(|problem| problem.to_string())?);
        Ok(Self { rules, exceptions, keywords, owners: owners.into_values().collect() })
    }

    /// Finds what the rules describe, in the order of the text; of values that overlap the first rule's counts.
    pub fn matches<'r>(&'r self, path: &str, text: &[u8]) -> Vec<Match<'r>> {
        let mut found: Vec<Match<'r>> = Vec::new();
        for (index, regions) in self.regions(text) {
            let Some(rule) = self.rules.get(index) else { continue };
            if rule.path.as_ref().is_some_and(|wanted| !wanted.is_in(path.as_bytes())) {
                continue;
            }
            for region in regions {
                self.ask(rule, path, text, region, &mut found);
            }
        }
        found.sort_by_key(|found| found.value.start);
        found
    }

    /// Answers for each rule where it is worth asking.
    fn regions(&self, text: &[u8]) -> BTreeMap<usize, Vec<Range<usize>>> {
        let mut regions: BTreeMap<usize, Vec<Range<usize>>> = BTreeMap::new();
        let unkeyed = self.rules.iter().enumerate().filter(|(_, rule)| !rule.has_keywords);
        unkeyed.for_each(|(index, _)| regions.entry(index).or_default().push(0..text.len()));
        let Some(keywords) = &self.keywords else { return regions };
        for hit in keywords.find_overlapping_iter(text) {
            for rule in self.owners.get(hit.pattern().as_usize()).into_iter().flatten() {
                let known = regions.entry(*rule).or_default();
                let end = text.len().min(hit.end() + AFTER_BYTES);
                match known.last_mut().filter(|last| hit.start() < last.end) {
                    Some(last) => last.end = last.end.max(end),
                    None => known.push(line_start(text, hit.start())..end),
                }
            }
        }
        for region in regions.values_mut().flatten() {
            region.end = line_end(text, region.end);
        }
        regions
    }

    fn ask<'r>(&self, rule: &'r Rule, path: &str, text: &[u8], region: Range<usize>, found: &mut Vec<Match<'r>>) {
        let Some(regex) = rule.pattern.regex() else { return };
        let mut at = region.start;
        while found.len() < MATCHES_LIMIT
            && let Some(captures) = regex.captures_at(&text[..region.end], at)
            && let Some(whole) = captures.get(0)
        {
            at = if whole.is_empty() { whole.end() + 1 } else { whole.end() };
            let value = trimmed(text, rule.value_of(&captures).unwrap_or(whole.range()));
            let one = Match { rule: &rule.id, span: whole.range(), value };
            let known = found.iter().any(|known| overlap(&known.value, &one.value));
            if !known && !one.value.is_empty() && !self.is_excused(rule, path, text, &one) {
                found.push(one);
            }
            if at > region.end {
                return;
            }
        }
    }

    fn is_excused(&self, rule: &Rule, path: &str, text: &[u8], one: &Match<'_>) -> bool {
        let value = &text[one.value.clone()];
        let is_placeholder = rule.min_bits_per_char > 0.0 && bits_per_char(value) <= rule.min_bits_per_char;
        let general = self.exceptions.iter().filter(|one| one.rules.is_empty() || one.rules.contains(&rule.id));
        is_placeholder || rule.exceptions.iter().chain(general).any(|exception| exception.holds(path, text, one))
    }

    fn patterns(&self) -> impl Iterator<Item = (&str, &Pattern)> {
        let general = self.exceptions.iter().flat_map(Exception::patterns).map(|pattern| ("allowlist", pattern));
        let of_rules = self.rules.iter().flat_map(|rule| {
            let excepted = rule.exceptions.iter().flat_map(Exception::patterns);
            let patterns = std::iter::once(&rule.pattern).chain(&rule.path).chain(excepted);
            patterns.map(|pattern| (rule.id.as_str(), pattern))
        });
        general.chain(of_rules)
    }

    #[cfg(test)]
    pub(super) fn described(&self) -> impl Iterator<Item = (&str, &str)> {
        self.rules.iter().map(|rule| (rule.id.as_str(), rule.pattern.text.as_str()))
    }
}

impl Rule {
    fn new(spec: RuleSpec) -> Self {
        Self {
            pattern: Pattern::new(&spec.regex.unwrap_or_default()),
            path: spec.path.as_deref().map(Pattern::new),
            group: spec.secret_group,
            min_bits_per_char: spec.entropy,
            has_keywords: spec.keywords.iter().any(|keyword| !keyword.is_empty()),
            exceptions: spec.allowlist.into_iter().chain(spec.allowlists).map(Exception::new).collect(),
            id: spec.id,
        }
    }

    fn value_of(&self, captures: &Captures<'_>) -> Option<Range<usize>> {
        let group = if self.group > 0 {
            captures.get(self.group)
        } else {
            captures.iter().skip(1).flatten().find(|group| !group.is_empty())
        };
        group.map(|group| group.range())
    }
}

impl Exception {
    fn new(spec: ExceptionSpec) -> Self {
        let patterns = |texts: Vec<String>| texts.iter().map(|text| Pattern::new(text)).collect();
        Self {
            needs_all: spec.condition.is_some_and(|word| word.eq_ignore_ascii_case("and") || word == "&&"),
            paths: patterns(spec.paths),
            regexes: patterns(spec.regexes),
            target: match spec.regex_target.as_deref() {
                Some("match") => Target::Match,
                Some("line") => Target::Line,
                _ => Target::Value,
            },
            stopwords: spec.stopwords.into_iter().map(|word| word.to_ascii_lowercase()).collect(),
            rules: spec.target_rules,
        }
    }

    fn patterns(&self) -> impl Iterator<Item = &Pattern> {
        self.paths.iter().chain(&self.regexes)
    }

    fn holds(&self, path: &str, text: &[u8], one: &Match<'_>) -> bool {
        let value = || &text[one.value.clone()];
        let target = match self.target {
            Target::Value => value(),
            Target::Match => &text[one.span.clone()],
            Target::Line => &text[line_start(text, one.span.start)..line_end(text, one.span.end)],
        };
        let lower = || String::from_utf8_lossy(value()).to_ascii_lowercase();
        let has_stopword = || {
            let value = lower();
            self.stopwords.iter().any(|word| value.contains(word))
        };
        let answers = [
            (!self.paths.is_empty()).then(|| self.paths.iter().any(|pattern| pattern.is_in(path.as_bytes()))),
            (!self.regexes.is_empty()).then(|| self.regexes.iter().any(|pattern| pattern.is_in(target))),
            (!self.stopwords.is_empty()).then(has_stopword),
        ];
        let mut answers = answers.into_iter().flatten().peekable();
        if self.needs_all { answers.peek().is_some() && answers.all(|yes| yes) } else { answers.any(|yes| yes) }
    }
}

impl Pattern {
    fn new(text: &str) -> Self {
        Self { text: in_our_dialect(text), compiled: OnceLock::new() }
    }

    /// Compiles the pattern to see whether it is one.
    fn test(&self) -> Result<(), String> {
        match self.compile() {
            Ok(regex) => drop(self.compiled.set(Some(regex))),
            Err(problem) => return Err(problem.to_string()),
        }
        Ok(())
    }

    fn compile(&self) -> Result<Regex, regex::Error> {
        RegexBuilder::new(&self.text).unicode(false).size_limit(COMPILED_LIMIT_BYTES).build()
    }

    /// Answers the compiled pattern; further rules were tested when they were read, and a test compiles the own ones.
    fn regex(&self) -> Option<&Regex> {
        self.compiled.get_or_init(|| self.compile().ok()).as_ref()
    }

    fn is_in(&self, text: &[u8]) -> bool {
        self.regex().is_some_and(|regex| regex.is_match(text))
    }
}

fn overlap(one: &Range<usize>, other: &Range<usize>) -> bool {
    one.start < other.end && other.start < one.end
}

fn trimmed(text: &[u8], range: Range<usize>) -> Range<usize> {
    let value = &text[range.clone()];
    let start = range.start + (value.len() - value.trim_ascii_start().len());
    start..start + value.trim_ascii().len()
}

fn line_start(text: &[u8], at: usize) -> usize {
    let floor = at.saturating_sub(BEFORE_BYTES);
    text[floor..at].iter().rposition(|byte| *byte == b'\n').map_or(floor, |newline| floor + newline + 1)
}

fn line_end(text: &[u8], at: usize) -> usize {
    let ceiling = text.len().min(at + BEFORE_BYTES);
    text[at..ceiling].iter().position(|byte| *byte == b'\n').map_or(ceiling, |newline| at + newline)
}

/// Answers the Shannon entropy of the bytes.
fn bits_per_char(value: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    value.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
    let total = f64::from(u32::try_from(value.len()).unwrap_or(u32::MAX));
    let shares = counts.into_iter().filter(|count| *count > 0).map(|count| f64::from(count) / total);
    shares.map(|share| -share * share.log2()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found<'t>(rules: &str, path: &str, text: &'t str) -> Vec<&'t str> {
        let set = RuleSet::new(vec![parse(rules).unwrap()]).unwrap();
        set.matches(path, text.as_bytes()).into_iter().map(|one| &text[one.value]).collect()
    }

    fn rule(more: &str) -> String {
        format!("[[rules]]\nid = 'r'\nregex = '''key=(\\w+)'''\n{more}")
    }

    #[test]
    fn every_own_pattern_compiles() {
        let set = RuleSet::built_in();
        assert!(set.rules.len() > 60);
        for (id, pattern) in set.patterns() {
            assert_eq!(pattern.test(), Ok(()), "{id}");
        }
        let unkeyed: Vec<_> = set.rules.iter().filter(|rule| !rule.has_keywords).map(|rule| &rule.id).collect();
        assert!(unkeyed.is_empty(), "asked of every text: {unkeyed:?}");
    }

    #[test]
    fn rule_is_asked_only_where_a_keyword_is() {
        assert_eq!(found(&rule("keywords = ['KEY=']"), "f", "key=abc"), ["abc"]);
        assert_eq!(found(&rule("keywords = ['other']"), "f", "key=abc"), Vec::<&str>::new());
        assert_eq!(found(&rule(""), "f", "key=abc"), ["abc"]);
        let far = format!("key=a{}\nkey=b", " ".repeat(3 * AFTER_BYTES));
        assert_eq!(found(&rule("keywords = ['key']"), "f", &far), ["a", "b"]);
    }

    #[test]
    fn value_is_the_named_group_else_the_first_else_everything() {
        let with = |regex: &str, more: &str| format!("[[rules]]\nid = 'r'\nregex = '''{regex}'''\n{more}");
        assert_eq!(found(&with("(a)?(b)(c)", ""), "f", "bc"), ["b"]);
        assert_eq!(found(&with("(a)?(b)(c)", "secretGroup = 3"), "f", "bc"), ["c"]);
        assert_eq!(found(&with("a?bc", ""), "f", "bc"), ["bc"]);
    }

    #[test]
    fn placeholders_have_too_little_entropy() {
        assert_eq!(found(&rule("entropy = 2"), "f", "key=aaaaaaaaaa key=abcdefghij"), ["abcdefghij"]);
    }

    #[test]
    fn exceptions_hold_for_values_matches_lines_paths_and_words() {
        let none = Vec::<&str>::new();
        let with = |keys: &str| rule(&format!("[[rules.allowlists]]\n{keys}"));
        assert_eq!(found(&with("regexes = ['^abc$']"), "f", "key=abc"), none);
        assert_eq!(found(&with("regexes = ['^abc$']\nregexTarget = 'match'"), "f", "key=abc"), ["abc"]);
        assert_eq!(found(&with("regexes = ['^key']\nregexTarget = 'match'"), "f", "key=abc"), none);
        assert_eq!(found(&with("regexes = ['^let']\nregexTarget = 'line'"), "f", "x\nlet key=abc"), none);
        assert_eq!(found(&with("paths = ['\\.lock$']"), "a.lock", "key=abc"), none);
        assert_eq!(found(&with("stopwords = ['EXAMPLE']"), "f", "key=anExample"), none);
        let both = "condition = 'AND'\npaths = ['\\.lock$']\nstopwords = ['x']";
        assert_eq!(found(&with(both), "a.lock", "key=abc"), ["abc"]);
        assert_eq!(found(&with(both), "a.lock", "key=x"), none);
        assert_eq!(
            found(&rule("[[allowlists]]\ntargetRules = ['other']\nstopwords = ['abc']"), "f", "key=abc"),
            ["abc"]
        );
        assert_eq!(found(&rule("[allowlist]\nregexes = ['abc']"), "f", "key=abc"), none);
    }

    #[test]
    fn rule_can_be_for_some_paths_only() {
        assert_eq!(found(&rule("path = '\\.env$'"), "x/.env", "key=abc"), ["abc"]);
        assert!(found(&rule("path = '\\.env$'"), "x/main.rs", "key=abc").is_empty());
    }

    #[test]
    fn further_rules_come_on_top_and_replace_those_of_the_same_name() {
        let rule = |id: &str, regex: &str| format!("[[rules]]\nid = '{id}'\nregex = '{regex}'\n");
        let further = [("npm-token", "never"), ("npm-access-token", "never"), ("mine", "mine-[0-9]{4}")];
        let further = further.map(|(id, regex)| rule(id, regex)).concat();
        let set = RuleSet::extended(vec![parse(&further).unwrap()]).unwrap();
        assert_eq!(set.rules.len(), RuleSet::built_in().rules.len() + 1);
        let text = format!("{} mine-1234", ["np", "m_q7Rf2LxVb9KdTz4MnWc8HpYs3GjEa6UvQr5X"].concat());
        assert_eq!(set.matches("f", text.as_bytes()).iter().map(|one| one.rule).collect::<Vec<_>>(), ["mine"]);
    }

    #[test]
    fn pattern_that_is_none_is_named_with_its_rule() {
        let problem = RuleSet::extended(vec![parse("[[rules]]\nid = 'bad'\nregex = '('\n").unwrap()]).unwrap_err();
        assert!(problem.starts_with("rule `bad`: "), "{problem}");
        assert!(parse("title = 'x'\nrules = 1").unwrap_err().starts_with("line 2: "));
    }
}
