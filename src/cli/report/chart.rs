//! Charts as numbers that a template draws. Pure.

use crate::base::Timestamp;
use crate::promote::figures::Week;

/// Width of a chart, in the units of its `viewBox`.
pub const WIDTH: f64 = 720.0;
/// Height of the bars.
pub const HEIGHT: f64 = 120.0;
/// A mark at either end is seen whole.
const MARK_RADIUS: f64 = 4.0;
/// Part of a week's place that its bar takes.
const BAR_PART: f64 = 0.7;
/// Fewer deliveries than this do not fill the height.
const SCALE_MIN: usize = 4;

/// One week: three pieces on each other.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// Left edge.
    pub x: f64,
    /// Width.
    pub width: f64,
    /// The pieces that are not empty, from below.
    pub pieces: Vec<Piece>,
    /// What a pointer is told.
    pub title: String,
}

/// One piece of a bar.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// Name of its colour.
    pub class: &'static str,
    /// Top edge.
    pub y: f64,
    /// Height.
    pub height: f64,
}

/// Draws what came to its end week by week.
#[must_use]
pub fn bars(weeks: &[Week]) -> Vec<Bar> {
    let most = weeks.iter().map(|week| week.live + week.rolled_back + week.stopped).max().unwrap_or(0).max(SCALE_MIN);
    let place = WIDTH / weeks.len().max(1) as f64;
    let bar = |(index, week): (usize, &Week)| {
        let parts = [("live", week.live), ("rolled-back", week.rolled_back), ("stopped", week.stopped)];
        let mut y = HEIGHT;
        let mut pieces = Vec::new();
        for (class, count) in parts.into_iter().filter(|(_, count)| *count > 0) {
            let height = count as f64 / most as f64 * HEIGHT;
            y -= height;
            pieces.push(Piece { class, y, height });
        }
        let day = day(week.from);
        let title =
            format!("week from {day}: {} live, {} rolled back, {} stopped", week.live, week.rolled_back, week.stopped);
        Bar { x: index as f64 * place + place * (1.0 - BAR_PART) / 2.0, width: place * BAR_PART, pieces, title }
    };
    weeks.iter().enumerate().map(bar).collect()
}

/// Answers where in the width a moment of the time from `since` to `now` is.
#[must_use]
pub fn across(at: Timestamp, since: Timestamp, now: Timestamp) -> f64 {
    let whole = (now.as_millisecond() - since.as_millisecond()).max(1) as f64;
    let part = (at.as_millisecond() - since.as_millisecond()) as f64 / whole;
    part.clamp(0.0, 1.0) * (WIDTH - 2.0 * MARK_RADIUS) + MARK_RADIUS
}

/// Answers a day as charts write it: `2026-11-21`.
#[must_use]
pub fn day(at: Timestamp) -> String {
    at.strftime("%F").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::from_ms;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bars_stay_in_the_picture_and_do_not_overlap(
            weeks in proptest::collection::vec((0_usize..50, 0_usize..50, 0_usize..50), 0..80),
        ) {
            let week = |(live, rolled_back, stopped)| {
                Week { from: from_ms(0), live, rolled_back, stopped, lead_time_ms: None }
            };
            let bars = bars(&weeks.into_iter().map(week).collect::<Vec<_>>());
            for pair in bars.windows(2) {
                prop_assert!(pair[0].x + pair[0].width <= pair[1].x);
            }
            for bar in &bars {
                prop_assert!(bar.x >= 0.0 && bar.x + bar.width <= WIDTH + 1e-6);
                let mut floor = HEIGHT;
                for piece in &bar.pieces {
                    prop_assert!((piece.y + piece.height - floor).abs() < 1e-6 && piece.y >= -1e-6);
                    floor = piece.y;
                }
            }
        }
    }

    #[test]
    fn moments_are_placed_by_their_part_of_the_time() {
        let at = |ms| across(from_ms(ms), from_ms(1_000), from_ms(3_000));
        assert_eq!([at(0), at(1_000), at(2_000), at(9_000)], [4.0, 4.0, WIDTH / 2.0, WIDTH - 4.0]);
    }
}
