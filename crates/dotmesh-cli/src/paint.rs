//! Colours on a terminal. They help to find things, and nothing is told by a colour alone.

use std::ops::Range;

use clap::builder::styling::{AnsiColor, Style};

/// Finds the part of a line to colour.
pub type Rule = fn(&str) -> Option<(Range<usize>, AnsiColor)>;

/// Colours text line by line.
pub fn paint(text: &str, rule: Rule) -> String {
    let lines = text.split_inclusive('\n');
    let painted = lines.map(|line| {
        let bare = line.trim_end_matches('\n');
        let Some((part, colour)) = rule(bare) else {
            return line.to_owned();
        };
        let (before, after) = (&line[..part.start], &line[part.end..]);
        let style = Style::new().fg_color(Some(colour.into()));
        format!("{before}{style}{}{style:#}{after}", &line[part])
    });
    painted.collect()
}

/// Messages on stderr: the word that says what kind a line is.
pub fn message(line: &str) -> Option<(Range<usize>, AnsiColor)> {
    let kinds = [
        ("Error:", AnsiColor::Red),
        ("Warning:", AnsiColor::Yellow),
        ("hint:", AnsiColor::Cyan),
    ];
    let kind = kinds.into_iter().find(|(word, _)| line.starts_with(word));
    kind.map(|(word, colour)| (0..word.len(), colour))
}

/// A diff: added and removed lines, and where they are.
pub fn diff(line: &str) -> Option<(Range<usize>, AnsiColor)> {
    let colour = match line {
        _ if line.starts_with("+++") || line.starts_with("---") => AnsiColor::Yellow,
        _ if line.starts_with('+') => AnsiColor::Green,
        _ if line.starts_with('-') => AnsiColor::Red,
        _ if line.starts_with("@@") => AnsiColor::Cyan,
        _ => return None,
    };
    Some((0..line.len(), colour))
}

/// A log, with or without a graph: the line that begins a commit, or its id.
pub fn log(line: &str) -> Option<(Range<usize>, AnsiColor)> {
    let text = line.trim_start_matches(['*', '|', '/', ' ']);
    let start = line.len() - text.len();
    // Messages are indented by four.
    if line.starts_with("    ") {
        return None;
    }
    let word = text.split(' ').next().unwrap_or_default();
    let is_id = word.len() == 10 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let end = match word {
        "commit" => line.len(),
        _ if is_id => start + word.len(),
        _ => return None,
    };
    Some((start..end, AnsiColor::Yellow))
}

/// A list with a star: the line that is marked.
pub fn current(line: &str) -> Option<(Range<usize>, AnsiColor)> {
    line.starts_with('*')
        .then_some((0..line.len(), AnsiColor::Green))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_colours_a_part_of_each_line_that_it_finds() {
        let shown = |text, rule| paint(text, rule).replace('\u{1b}', "^");
        assert_eq!(
            shown("Error: no\nhint: yes\nDone\n", message),
            "^[31mError:^[0m no\n^[36mhint:^[0m yes\nDone\n"
        );
        assert_eq!(
            shown("@@ -1 +1 @@\n-a\n+b\n c\n", diff),
            "^[36m@@ -1 +1 @@^[0m\n^[31m-a^[0m\n^[32m+b^[0m\n c\n"
        );
        assert_eq!(
            shown(
                "| * b2b2b2b2b2 (HEAD) Two\n* commit c3\n    commit it\n",
                log
            ),
            "| * ^[33mb2b2b2b2b2^[0m (HEAD) Two\n* ^[33mcommit c3^[0m\n    commit it\n"
        );
        assert_eq!(shown("* a\n  b", current), "^[32m* a^[0m\n  b");
    }
}
