//! Charts of bars, drawn as SVG by the template `chart.html`.

/// How wide a bar is with the gap after it, in units of the picture.
pub const BAR_WIDTH: usize = 10;

/// So many bars have room in any picture: of few each would be a wall.
const MIN_BARS: usize = 30;

/// How high the picture is.
pub const HEIGHT: usize = 100;

/// How many colours the style sheet has.
pub const COLOURS: usize = 6;

/// A bar of parts on top of each other.
#[derive(Debug, Clone)]
pub struct Bar {
    /// What it says when it is pointed at.
    pub title: String,
    /// From the bottom, each with its colour.
    pub parts: Vec<(u64, usize)>,
}

/// A part of a bar, placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// From the top.
    pub y: usize,
    /// Never 0.
    pub height: usize,
    /// From 0.
    pub colour: usize,
}

/// Bars beside each other, from left to right.
#[derive(Debug, Clone)]
pub struct Chart {
    /// What it shows.
    pub label: &'static str,
    /// What the highest bar amounts to.
    pub most: String,
    /// The bars.
    pub bars: Vec<Bar>,
}

impl Chart {
    /// With the label of its highest bar in words.
    pub fn new(label: &'static str, bars: Vec<Bar>, show: fn(u64) -> String) -> Self {
        let most = bars.iter().map(Bar::sum).max().unwrap_or_default();
        Self {
            label,
            most: show(most),
            bars,
        }
    }

    /// In units of the picture.
    pub fn width(&self) -> usize {
        self.bars.len().max(MIN_BARS) * BAR_WIDTH
    }

    /// A bar's parts that are not nothing. What there is can be seen, however little it is.
    pub fn blocks(&self, bar: &Bar) -> Vec<Block> {
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
            let chart = Chart::new("", bars.collect(), |amount| amount.to_string());
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
