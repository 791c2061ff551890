//! Compares two texts by line, and changed lines by word.

use std::time::{Duration, Instant};

use similar::{ChangeTag, InlineChangeOptions, TextDiff};

/// The longest text that is compared, in bytes.
pub const MAX_LENGTH: usize = 256 << 10;

/// The most lines of a text that is compared.
const MAX_LINES: usize = 20_000;

/// The most lines of a difference that are returned.
const MAX_TOLD: usize = 2_000;

/// The length at which a returned line is cut, in bytes.
const MAX_LINE_LENGTH: usize = 2_000;

/// The time after which the comparison becomes coarse.
const TIMEOUT: Duration = Duration::from_millis(150);

/// The number of unchanged lines around a difference.
const CONTEXT: usize = 3;

/// Whether a line is the same, added or removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineKind {
    Same,
    Added,
    Removed,
}

/// A line of a difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiffLine {
    pub kind: LineKind,
    /// The line's number in the old text, from 1.
    pub old: Option<usize>,
    /// The line's number in the new text, from 1.
    pub new: Option<usize>,
    /// The line's parts. A marked part differs from the line's other version.
    pub parts: Vec<(bool, String)>,
}

/// The difference between two texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextChanges {
    /// The differences, each with the lines around it.
    pub hunks: Vec<Vec<DiffLine>>,
    /// The number of new lines.
    pub added: usize,
    /// The number of removed lines.
    pub removed: usize,
    /// Whether some lines are missing from `hunks`.
    pub cut: bool,
}

/// Compares two texts. At `until` at the latest, the comparison becomes coarse. `None` if one of them is too long or is not text.
pub fn compare(old: &[u8], new: &[u8], until: Instant) -> Option<TextChanges> {
    let (old, new) = (text(old)?, text(new)?);
    let deadline = until.min(Instant::now() + TIMEOUT);
    let diff = TextDiff::configure()
        .deadline(deadline)
        .diff_lines(old, new);
    let mut changes = TextChanges {
        hunks: Vec::new(),
        added: 0,
        removed: 0,
        cut: false,
    };
    let mut told = 0;
    for change in diff.iter_all_changes() {
        match change.tag() {
            ChangeTag::Insert => changes.added += 1,
            ChangeTag::Delete => changes.removed += 1,
            ChangeTag::Equal => {}
        }
    }
    let deadline = until.min(Instant::now() + TIMEOUT);
    for group in diff.grouped_ops(CONTEXT) {
        let mut hunk = Vec::new();
        for op in &group {
            let options = InlineChangeOptions::default();
            let lines = diff.iter_inline_changes_with_options_deadline(op, options, Some(deadline));
            for line in lines {
                told += 1;
                if told > MAX_TOLD {
                    changes.cut = true;
                    break;
                }
                hunk.push(DiffLine {
                    kind: match line.tag() {
                        ChangeTag::Equal => LineKind::Same,
                        ChangeTag::Insert => LineKind::Added,
                        ChangeTag::Delete => LineKind::Removed,
                    },
                    old: line.old_index().map(|index| index + 1),
                    new: line.new_index().map(|index| index + 1),
                    parts: parts(line.iter_strings_lossy()),
                });
            }
        }
        if !hunk.is_empty() {
            changes.hunks.push(hunk);
        }
        if changes.cut {
            break;
        }
    }
    Some(changes)
}

fn text(bytes: &[u8]) -> Option<&str> {
    if bytes.len() > MAX_LENGTH || bytes.contains(&0) {
        return None;
    }
    let text = std::str::from_utf8(bytes).ok()?;
    (text.lines().count() <= MAX_LINES).then_some(text)
}

fn parts<'a>(
    strings: impl Iterator<Item = (bool, std::borrow::Cow<'a, str>)>,
) -> Vec<(bool, String)> {
    let mut left = MAX_LINE_LENGTH;
    let mut parts = Vec::new();
    for (is_marked, string) in strings {
        let string = string.trim_end_matches(['\n', '\r']);
        if string.is_empty() {
            continue;
        }
        let end = string.floor_char_boundary(left.min(string.len()));
        let mut part = string[..end].to_owned();
        left -= end;
        if end < string.len() {
            part.push('…');
            parts.push((is_marked, part));
            break;
        }
        parts.push((is_marked, part));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(old: &[u8], new: &[u8]) -> Option<TextChanges> {
        super::compare(old, new, Instant::now() + Duration::from_secs(60))
    }

    #[test]
    fn words_of_lines() {
        let changes = compare(b"a\nb c d\ne\n", b"a\nb x d\ne\nf").expect("texts");
        assert_eq!((changes.added, changes.removed, changes.cut), (2, 1, false));
        let lines: Vec<_> = changes.hunks.concat();
        let told: Vec<_> = lines
            .iter()
            .map(|line| {
                let text: String = line
                    .parts
                    .iter()
                    .map(|(marked, text)| {
                        if *marked {
                            format!("[{text}]")
                        } else {
                            text.clone()
                        }
                    })
                    .collect();
                (line.kind, line.old, line.new, text)
            })
            .collect();
        assert_eq!(
            told,
            [
                (LineKind::Same, Some(1), Some(1), "a".to_owned()),
                (LineKind::Removed, Some(2), None, "b [c] d".to_owned()),
                (LineKind::Added, None, Some(2), "b [x] d".to_owned()),
                (LineKind::Same, Some(3), Some(3), "e".to_owned()),
                (LineKind::Added, None, Some(4), "f".to_owned()),
            ]
        );
    }

    #[test]
    fn what_is_not_compared() {
        assert!(compare(b"\0", b"a").is_none());
        assert!(compare(b"a", b"\xff").is_none());
        assert!(compare(&vec![b'a'; MAX_LENGTH + 1], b"").is_none());
        assert!(compare(&vec![b'\n'; MAX_LINES + 1], b"").is_none());
    }

    #[test]
    fn what_is_hard_to_compare_ends_soon() {
        let text = |seed: u32| -> Vec<u8> {
            let mut state = seed;
            let line = |_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                format!("{}\n", state % 50)
            };
            (0..15_000).map(line).collect::<String>().into_bytes()
        };
        let started = std::time::Instant::now();
        let changes = compare(&text(1), &text(2)).expect("texts");
        assert!(changes.cut);
        assert!(started.elapsed() < Duration::from_secs(5));
        let long = vec![b'a'; 100_000];
        let changes = compare(&long, b"b").expect("texts");
        assert!(changes.hunks[0][0].parts[0].1.len() < 3_000);
    }
}
