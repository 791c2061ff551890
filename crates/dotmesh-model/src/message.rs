//! The title of a commit's message.

use std::borrow::Cow;

/// The title and the rest of a message. As in git, the title is the first paragraph, joined into one line.
pub fn split(message: &str) -> (Cow<'_, str>, &str) {
    let message = message.trim();
    let mut end = message.len();
    let mut at = 0;
    for line in message.split_inclusive('\n') {
        if line.trim().is_empty() {
            end = at;
            break;
        }
        at += line.len();
    }
    let (paragraph, rest) = message.split_at(end);
    let paragraph = paragraph.trim_end();
    let title = if paragraph.contains('\n') {
        let lines: Vec<&str> = paragraph.lines().map(str::trim).collect();
        lines.join(" ").into()
    } else {
        paragraph.into()
    };
    (title, rest.trim())
}

/// The title of a message.
pub fn title(message: &str) -> Cow<'_, str> {
    split(message).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_paragraph_is_the_title() {
        let check = |message, title: &str, rest| {
            assert_eq!(split(message), (title.into(), rest));
        };
        check("", "", "");
        check(" \n\n", "", "");
        check("one", "one", "");
        check(
            "\n  Eek - register to see \r\n   that all are new.\n",
            "Eek - register to see that all are new.",
            "",
        );
        check(
            "one\ntwo\n \t\n\n  three\nfour\n\nfive\n",
            "one two",
            "three\nfour\n\nfive",
        );
    }
}
