//! Bar charts, which the template `chart.html` draws as SVG.

use jiff::Timestamp;

/// The width of a bar with the gap after it, in units of the picture.
pub(crate) const BAR_WIDTH: usize = 10;

/// A chart has room for at least this many bars. Otherwise a few bars would be very wide.
const MIN_BARS: usize = 30;

/// The height of the picture.
pub(crate) const HEIGHT: usize = 100;

/// The number of colours in the style sheet.
pub(crate) const COLOURS: usize = 6;

/// A stacked bar.
#[derive(Debug, Clone)]
pub(crate) struct Bar {
    /// The text that is shown when a user points at the bar.
    pub(crate) title: String,
    /// The parts from the bottom up: the amount and the colour.
    pub(crate) parts: Vec<(u64, usize)>,
}

/// The rectangle of a bar's part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    /// The distance from the top.
    pub(crate) y: usize,
    /// The height, which is never 0.
    pub(crate) height: usize,
    /// The number of the colour, from 0.
    pub(crate) colour: usize,
}

/// A row of bars, from left to right.
#[derive(Debug, Clone)]
pub(crate) struct Chart {
    /// The title of the chart.
    pub(crate) label: &'static str,
    /// The amount of the highest bar, as text.
    pub(crate) most: String,
    /// The days of the first and the last bar.
    pub(crate) ends: Option<[String; 2]>,
    pub(crate) bars: Vec<Bar>,
}

impl Chart {
    /// Creates a chart. `show` formats the amount of the highest bar. `ends` are the times of the first and the last
    /// bar.
    pub(crate) fn new(
        label: &'static str,
        bars: Vec<Bar>,
        show: fn(u64) -> String,
        ends: Option<[Timestamp; 2]>,
    ) -> Self {
        let most = bars.iter().map(Bar::sum).max().unwrap_or_default();
        Self {
            label,
            most: show(most),
            ends: ends.map(|ends| ends.map(|end| end.strftime("%Y-%m-%d").to_string())),
            bars,
        }
    }

    /// The width of the picture, in its units.
    pub(crate) fn width(&self) -> usize {
        self.bars.len().max(MIN_BARS) * BAR_WIDTH
    }

    /// Returns the rectangles of a bar's parts that are not 0. Each is at least one unit high, so that small amounts
    /// are visible.
    pub(crate) fn blocks(&self, bar: &Bar) -> Vec<Block> {
        let most = self.bars.iter().map(Bar::sum).max().unwrap_or_default();
        let mut y = HEIGHT;
        let blocks = bar.parts.iter().filter(|(amount, _)| *amount > 0);
        blocks
            .map(|&(amount, colour)| {
                let share = amount as f64 / most as f64 * HEIGHT as f64;
                let height = (share.round() as usize).clamp(1, y.max(1));
                y = y.saturating_sub(height);
                Block { y, height, colour }
            })
            .collect()
    }
}

impl Bar {
    fn sum(&self) -> u64 {
        self.parts
            .iter()
            .fold(0, |sum, (amount, _)| sum.saturating_add(*amount))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_bar_is_within_the_picture(
            amounts in prop::collection::vec(prop::collection::vec(any::<u64>(), 0..9), 0..9),
        ) {
            let bars = amounts.iter().map(|parts| Bar {
                title: String::new(),
                parts: parts.iter().enumerate().map(|(n, amount)| (*amount, n)).collect(),
            });
            let chart = Chart::new("", bars.collect(), |amount| amount.to_string(), None);
            for bar in &chart.bars {
                let blocks = chart.blocks(bar);
                let there = bar.parts.iter().filter(|(amount, _)| *amount > 0);
                prop_assert_eq!(blocks.len(), there.count());
                for block in blocks {
                    prop_assert!(block.height > 0 && block.y + block.height <= HEIGHT);
                }
            }
        }
    }
}
