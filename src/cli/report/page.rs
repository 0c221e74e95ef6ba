//! The page: everything that is shown, as the template takes it. Texts are escaped by the template.

use askama::Template;

use super::chart::{self, Bar, across, day};
use super::{Measured, ended_at};
use crate::base::Timestamp;
use crate::base::escape::shown;
use crate::cli::standing::Standing;
use crate::cli::words;
use crate::context::Context;
use crate::promote::figures::Figures;
use crate::store::{Promotion, State};

/// Width of an environment's box in the picture of the pipeline, with the arrow before it.
const STAGE_WIDTH: usize = 190;
/// Characters that fit into a box.
const STAGE_CHARS: usize = 20;

/// One HTML page that needs nothing else.
#[derive(Debug, Template)]
#[template(
    ext = "html",
    source = r##"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{{ project }}: releases</title>
<style>
:root { color-scheme: light dark; --ink: #1c2430; --dim: #5b6675; --line: #d5dae1; --paper: #fff; --card: #f5f7f9;
  --live: #2e7d4f; --back: #c0392b; --stop: #c98a16; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ee; --dim: #9aa5b4; --line: #39424f; --paper: #14181e; --card: #1d232b;
    --live: #5cc48a; --back: #f07a6b; --stop: #e6b450; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
p, figcaption, .dim { color: var(--dim); } figure { margin: 0; }
svg { width: 100%; height: auto; display: block; } svg text { fill: var(--ink); font-size: 12px; } svg .dim { fill: var(--dim); }
.box { fill: var(--card); stroke: var(--line); } .arrow { stroke: var(--dim); fill: none; }
.live { fill: var(--live); } .rolled-back { fill: var(--back); } .stopped { fill: var(--stop); } .open { fill: var(--dim); }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .7rem; }
dl div { background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: .6rem .8rem; }
dt { color: var(--dim); font-size: .85rem; } dd { margin: 0; font-size: 1.35rem; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; } .scroll { overflow-x: auto; }
th, td { text-align: left; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--dim); font-weight: normal; } code { font-family: ui-monospace, monospace; }
.dot { display: inline-block; width: .7em; height: .7em; border-radius: 50%; margin-right: .4em; }
.dot.live { background: var(--live); } .dot.rolled-back { background: var(--back); } .dot.stopped { background: var(--stop); } .dot.open { background: var(--dim); }
</style>
</head>
<body>
<h1>{{ project }}</h1>
<p>Releases from {{ since }} to {{ until }}.</p>
<figure>
<svg viewBox="0 0 {{ pipeline_width }} 96" role="img" aria-label="The pipeline">
{%- for stage in stages %}
<g transform="translate({{ stage.x }} 4)">
{%- if stage.x > 0 %}<path class="arrow" d="M-24 44 H-6 M-12 38 L-5 44 L-12 50"/>{% endif %}
<rect class="box" width="160" height="88" rx="6"/>
<circle class="{{ stage.class }}" cx="16" cy="18" r="5"/>
<text x="28" y="22">{{ stage.name }}</text>
<text class="dim" x="12" y="44">{{ stage.branch }} {{ stage.commit }}</text>
<text class="dim" x="12" y="62">{{ stage.distance }}</text>
<text class="dim" x="12" y="80">{{ stage.note }}</text>
</g>
{%- endfor %}
</svg>
</figure>
{%- for environment in environments %}
<h2>{{ environment.name }}</h2>
<dl>
<div><dt>Deployments</dt><dd>{{ environment.frequency }}</dd></div>
<div><dt>Lead time for changes</dt><dd>{{ environment.lead_time }}</dd></div>
<div><dt>Change failure rate</dt><dd>{{ environment.failure_rate }}</dd></div>
<div><dt>Time to restore</dt><dd>{{ environment.restore }}</dd></div>
</dl>
<figure>
<svg viewBox="0 0 {{ width }} {{ height + 56.0 }}" role="img" aria-label="Promotions to {{ environment.name }} week by week">
<path class="arrow" d="M0 {{ height }} H{{ width }}"/>
{%- for bar in environment.bars %}
<g><title>{{ bar.title }}</title><rect x="{{ bar.x }}" y="0" width="{{ bar.width }}" height="{{ height }}" fill="transparent"/>
{%- for piece in bar.pieces %}<rect class="{{ piece.class }}" x="{{ bar.x }}" y="{{ piece.y }}" width="{{ bar.width }}" height="{{ piece.height }}"/>{% endfor %}</g>
{%- endfor %}
{%- for mark in environment.marks %}
<circle class="{{ mark.class }}" cx="{{ mark.x }}" cy="{{ height + 16.0 }}" r="4"><title>{{ mark.title }}</title></circle>
{%- endfor %}
<text class="dim" x="0" y="{{ height + 44.0 }}">{{ since }}</text>
<text class="dim" x="{{ width }}" y="{{ height + 44.0 }}" text-anchor="end">{{ until }}</text>
</svg>
<figcaption><span class="dot live"></span>live <span class="dot rolled-back"></span>rolled back <span class="dot stopped"></span>stopped before it landed; bars by week, a dot for each promotion</figcaption>
</figure>
{%- endfor %}
<h2>Promotions</h2>
{%- if releases.is_empty() %}
<p>There was none in this time.</p>
{%- else %}
<div class="scroll"><table>
<tr><th>when</th><th>environment</th><th>state</th><th>candidate</th><th>by</th><th>reason</th></tr>
{%- for release in releases %}
<tr><td>{{ release.at }}</td><td>{{ release.environment }}</td><td><span class="dot {{ release.class }}"></span>{{ release.state }}</td><td><code>{{ release.candidate }}</code></td><td>{{ release.by }}</td><td>{{ release.reason }}</td></tr>
{%- endfor %}
</table></div>
{%- endif %}
<p>Lead time: median from a commit to its being live. Change failure rate: the part of what went live that was rolled back. Time to restore: median from going live to being rolled back.</p>
</body>
</html>
"##
)]
pub struct Page {
    project: String,
    since: String,
    until: String,
    width: f64,
    height: f64,
    pipeline_width: usize,
    stages: Vec<Stage>,
    environments: Vec<Panel>,
    releases: Vec<Release>,
}

/// A box in the picture of the pipeline.
#[derive(Debug)]
struct Stage {
    x: usize,
    name: String,
    branch: String,
    commit: String,
    distance: String,
    note: String,
    class: &'static str,
}

/// One environment: its figures and its time.
#[derive(Debug)]
struct Panel {
    name: String,
    frequency: String,
    lead_time: String,
    failure_rate: String,
    restore: String,
    bars: Vec<Bar>,
    marks: Vec<Mark>,
}

/// One promotion in the time.
#[derive(Debug)]
struct Mark {
    class: &'static str,
    x: f64,
    title: String,
}

/// One line of the table.
#[derive(Debug)]
pub struct Release {
    at: String,
    environment: String,
    state: String,
    class: &'static str,
    candidate: String,
    by: String,
    reason: String,
}

impl Page {
    /// Puts a page together for the time from the first to the second moment.
    pub(super) fn new(
        ctx: &Context,
        (since, now): (Timestamp, Timestamp),
        standings: &[Standing],
        measured: &[Measured],
        ended: &[Promotion],
        releases: Vec<Release>,
    ) -> Self {
        let sandbox = Stage {
            x: 0,
            name: "sandbox".to_owned(),
            branch: words::cut(&ctx.config.sandbox.branch, STAGE_CHARS - 8),
            commit: words::brief(standings.first().and_then(|first| first.source)),
            distance: String::new(),
            note: String::new(),
            class: "open",
        };
        let stages: Vec<Stage> = std::iter::once(sandbox).chain(standings.iter().enumerate().map(stage)).collect();
        let marks = |name: &str| {
            let these = ended.iter().filter(|promotion| promotion.environment == name);
            these.map(|promotion| mark(promotion, since, now)).collect()
        };
        Self {
            project: ctx.config.project.clone(),
            since: day(since),
            until: day(now),
            width: chart::WIDTH,
            height: chart::HEIGHT,
            pipeline_width: stages.len() * STAGE_WIDTH - (STAGE_WIDTH - 162),
            environments: measured
                .iter()
                .map(|it| Panel::new(&it.environment, &it.figures, marks(&it.environment)))
                .collect(),
            stages,
            releases,
        }
    }
}

impl Panel {
    fn new(name: &str, figures: &Figures, marks: Vec<Mark>) -> Self {
        let time = |ms: Option<i64>| ms.map_or_else(|| "–".to_owned(), long_duration);
        let percent = |rate: f64| format!("{:.0} %", rate * 100.0);
        Self {
            name: name.to_owned(),
            frequency: frequency(figures),
            lead_time: time(figures.lead_time_ms),
            failure_rate: figures.change_failure_rate.map_or_else(|| "–".to_owned(), percent),
            restore: time(figures.time_to_restore_ms),
            bars: chart::bars(&figures.weeks),
            marks,
        }
    }
}

fn frequency(figures: &Figures) -> String {
    let rate = figures.deployments_per_week.map(|rate| format!(", {rate:.1} a week"));
    format!("{}{}", figures.deployments, rate.unwrap_or_default())
}

impl Release {
    /// Makes the line of a promotion.
    pub(super) fn of(promotion: &Promotion) -> Self {
        let reason = promotion.reason.as_ref().or(promotion.purpose.as_ref());
        Self {
            at: words::moment(ended_at(promotion)),
            environment: promotion.environment.clone(),
            state: words::state(promotion.state),
            class: class(promotion.state),
            candidate: words::brief(promotion.candidate),
            by: shown(words::name(&promotion.requested_by).as_bytes()),
            reason: shown(reason.map(String::as_bytes).unwrap_or_default()),
        }
    }
}

fn stage((index, standing): (usize, &Standing)) -> Stage {
    let note = match (&standing.hold, &standing.open) {
        (Some(_), _) => "held".to_owned(),
        (None, Some(open)) => words::state(open.state),
        (None, None) => standing.health.as_str().to_owned(),
    };
    Stage {
        x: (index + 1) * STAGE_WIDTH,
        name: words::cut(&standing.name, STAGE_CHARS - 2),
        branch: words::cut(&standing.branch, STAGE_CHARS - 8),
        commit: words::brief(standing.tip),
        distance: words::cut(&standing.distance(), STAGE_CHARS + 4),
        note: words::cut(&note, STAGE_CHARS),
        class: standing.last.as_ref().map_or("open", |last| class(last.state)),
    }
}

fn mark(promotion: &Promotion, since: Timestamp, now: Timestamp) -> Mark {
    let at = ended_at(promotion);
    let title = format!("{} {} {}", words::moment(at), promotion.id, words::state(promotion.state));
    Mark { class: class(promotion.state), x: across(at, since, now), title }
}

/// Answers the name of a state's colour.
fn class(state: State) -> &'static str {
    match state {
        State::Promoted => "live",
        State::RolledBack | State::RollbackFailed => "rolled-back",
        State::Failed | State::Conflict | State::Drifted | State::Rejected | State::Expired => "stopped",
        _ => "open",
    }
}

/// Answers a duration in its two largest units, up to days.
fn long_duration(ms: i64) -> String {
    let hours = ms / 3_600_000;
    if hours < 48 { words::duration(ms) } else { format!("{}d {}h", hours / 24, hours % 24) }
}
