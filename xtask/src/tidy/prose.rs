//! Checks the prose of Markdown: one sentence per line, no long sentence, no long paragraph. Code blocks, tables and
//! headings are not checked.

const LONGEST_SENTENCE: usize = 35;
const LONGEST_PARAGRAPH: usize = 5;

/// Abbreviations whose period does not end a sentence.
const ABBREVIATIONS: &[&str] = &["e.g.", "i.e.", "etc.", "vs."];

/// The problems of one page, each with its line number.
pub(super) fn check(text: &str) -> Vec<(usize, String)> {
    let mut problems = Vec::new();
    let mut paragraph = 0;
    let mut lines = blocks(text).peekable();
    while let Some((number, block)) = lines.next() {
        let (starts_item, line) = match block {
            Block::Other => {
                paragraph = 0;
                continue;
            }
            Block::Item(line) => (true, line),
            Block::Prose(line) => (false, line),
        };
        paragraph = if starts_item { 1 } else { paragraph + 1 };
        if paragraph == LONGEST_PARAGRAPH + 1 {
            problems.push((
                number,
                format!(
                    "a paragraph of more than {LONGEST_PARAGRAPH} lines: make it a list or a table"
                ),
            ));
        }
        let words = words(line);
        if words > LONGEST_SENTENCE {
            problems.push((
                number,
                format!("a sentence of {words} words; {LONGEST_SENTENCE} is the most"),
            ));
        }
        if let Some(second) = second_sentence(line) {
            problems.push((
                number,
                format!("'{second}' begins a second sentence: give it a line"),
            ));
        }
        let goes_on = matches!(lines.peek(), Some((_, Block::Prose(_))));
        if goes_on && !ends_sentence(line) && !line.ends_with(':') {
            problems.push((number, "this sentence goes on in the next line".to_owned()));
        }
    }
    problems
}

enum Block<'a> {
    /// A line of a paragraph, or of a list item after its first line.
    Prose(&'a str),
    /// The first line of a list item, without its marker.
    Item(&'a str),
    /// Code, a table, a heading, an empty line, an image or HTML.
    Other,
}

/// Each line with its number and its kind.
fn blocks(text: &str) -> impl Iterator<Item = (usize, Block<'_>)> {
    let mut code = false;
    text.lines().enumerate().map(move |(index, line)| {
        let line = line.trim();
        let fence = line.starts_with("```");
        code ^= fence;
        let other = ["|", "#", "![", "<", "---"];
        let block =
            if code || fence || line.is_empty() || other.iter().any(|is| line.starts_with(is)) {
                Block::Other
            } else if let Some(item) = item(line) {
                Block::Item(item)
            } else {
                Block::Prose(line)
            };
        (index + 1, block)
    })
}

/// The text after the marker of a list item.
fn item(line: &str) -> Option<&str> {
    let (mark, rest) = line.split_once(' ')?;
    let number = mark.strip_suffix('.');
    let is_number =
        number.is_some_and(|it| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_digit()));
    (is_number || mark == "-" || mark == "*").then_some(rest)
}

fn words(line: &str) -> usize {
    let is_word = |word: &&str| word.contains(char::is_alphanumeric);
    line.split_whitespace().filter(is_word).count()
}

/// The first word of the second sentence in a line.
fn second_sentence(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace().peekable();
    let mut in_code = false;
    while let Some(word) = words.next() {
        in_code ^= word.matches('`').count() % 2 == 1;
        let next = words.peek()?;
        if !in_code && ends_sentence(word) && !ABBREVIATIONS.contains(&word) {
            return Some(next);
        }
    }
    None
}

/// Whether the text ends a sentence, perhaps inside quotes or emphasis. A period in code does not count.
fn ends_sentence(text: &str) -> bool {
    text.trim_end_matches(['*', '_', ')', ']', '"', '\''])
        .ends_with(['.', '?', '!'])
}

#[cfg(test)]
mod tests {
    use super::check;

    /// The problems of a page, one per line.
    fn problems(text: &str) -> String {
        let problems = check(text).into_iter();
        let lines = problems.map(|(line, problem)| format!("{line}: {problem}"));
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_reads_well_has_no_problems() {
        let page = "# A title. With two. Sentences\n\nOne sentence, e.g. Redis.\nAnother one (of `a. B`, `.` and `..`):\n\n\
                    1. An item.\n   It goes on here.\n2. Another item\n\n- a fragment\n- version 1.2 of it\n";
        assert_eq!(problems(page), "");
    }

    #[test]
    fn a_line_has_one_sentence() {
        assert_eq!(
            problems("One. Two.\n"),
            "1: 'Two.' begins a second sentence: give it a line"
        );
        for line in [
            "- a **bold one.** Two.",
            "1. (One.) `two` is code.",
            "One! 2 is more.",
            "`One`. *Two*.",
            "One. btrfs has no capital.",
        ] {
            assert!(problems(line).contains("second sentence"), "{line}");
        }
    }

    #[test]
    fn a_sentence_has_one_line() {
        assert_eq!(
            problems("This goes\non here.\n"),
            "1: this sentence goes on in the next line"
        );
        assert!(problems("- an item\n  that goes on\n").starts_with("1: this sentence goes on"));
        assert_eq!(problems("What follows is a list:\n- an item\n"), "");
        assert_eq!(
            problems("A colon may end a line:\nit is taken for a full stop.\n"),
            ""
        );
    }

    #[test]
    fn a_sentence_has_at_most_35_words() {
        let words = |count| format!("{}.\n", vec!["word"; count].join(" "));
        assert_eq!(problems(&words(35)), "");
        assert_eq!(
            problems(&words(36)),
            "1: a sentence of 36 words; 35 is the most"
        );
        // A dash is not a word.
        assert_eq!(problems(&format!("- {}", words(35))), "");
    }

    #[test]
    fn a_paragraph_has_at_most_five_lines() {
        let lines = |count| "A sentence.\n".repeat(count);
        assert_eq!(problems(&lines(5)), "");
        assert_eq!(
            problems(&lines(7)),
            "6: a paragraph of more than 5 lines: make it a list or a table"
        );
        assert_eq!(problems(&format!("{}\n{}", lines(5), lines(5))), "");
        // Each list item is a paragraph.
        assert_eq!(problems(&"- an item\n".repeat(9)), "");
        assert!(problems(&format!("- An item.\n{}", lines(5))).starts_with("6: "));
    }

    #[test]
    fn code_and_tables_are_left_alone() {
        let words = vec!["word. Word"; 40].join(" ");
        let lines = format!("{words}\n").repeat(9);
        assert_eq!(problems(&format!("```text\n{lines}```\n")), "");
        assert_eq!(problems(&format!("| {words} |\n").repeat(9)), "");
        // The rules apply again after them.
        assert_eq!(check(&format!("```text\n{lines}```\n{words}\n")).len(), 2);
    }
}
