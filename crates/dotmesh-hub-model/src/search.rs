//! What a search looks for, and where.

use serde::Deserialize;
use utoipa::ToSchema;

/// The most words of a query.
const MAX_WORDS: usize = 8;

/// The longest word of a query, in characters.
const MAX_WORD_LENGTH: usize = 64;

/// Where to search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Names and descriptions of dots.
    #[default]
    Dots,
    /// Names of branches.
    Branches,
    /// Names and messages of tags.
    Tags,
    /// Messages of commits.
    Commits,
    /// Names of tables in databases.
    Tables,
}

impl Place {
    /// Every place.
    pub const ALL: [Self; 5] = [
        Self::Dots,
        Self::Branches,
        Self::Tags,
        Self::Commits,
        Self::Tables,
    ];

    /// The place, as it is in addresses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dots => "dots",
            Self::Branches => "branches",
            Self::Tags => "tags",
            Self::Commits => "commits",
            Self::Tables => "tables",
        }
    }

    /// The place's label on pages.
    pub fn label(self) -> &'static str {
        match self {
            Self::Dots => "Dots",
            Self::Branches => "Branches",
            Self::Tags => "Tags",
            Self::Commits => "Commits",
            Self::Tables => "Tables",
        }
    }
}

/// The words of a query, in lower case. They contain letters and digits only, so no character is an operator of a query
/// language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words(Vec<String>);

impl Words {
    /// Returns the first words of a text.
    pub fn new(text: &str) -> Self {
        let words = text
            .split(|c: char| !c.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .take(MAX_WORDS)
            .map(|word| word.chars().take(MAX_WORD_LENGTH).collect::<String>());
        Self(words.map(|word| word.to_lowercase()).collect())
    }

    pub fn as_slice(&self) -> &[String] {
        &self.0
    }

    /// Returns whether a text contains all words, as parts of its words.
    pub fn are_in(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        self.0.iter().all(|word| text.contains(word))
    }

    /// Returns the number of characters before the first match. `None` if no word matches. The time is linear in the
    /// text's length, whatever the text contains.
    pub fn first_in(&self, text: &str) -> Option<usize> {
        let lower = text.to_lowercase();
        let first = self.0.iter().filter_map(|word| lower.find(word)).min()?;
        let mut at = 0;
        let before = text.chars().take_while(|c| {
            at += c.to_lowercase().map(char::len_utf8).sum::<usize>();
            at <= first
        });
        Some(before.count())
    }

    /// Splits a short text into parts, each with a flag that says whether the part matches a word.
    pub fn mark<'a>(&self, text: &'a str) -> Vec<(bool, &'a str)> {
        let mut parts = Vec::new();
        let mut plain = 0;
        let mut at = 0;
        while at < text.len() {
            let length = self
                .0
                .iter()
                .filter_map(|word| prefix(&text[at..], word))
                .max();
            match length {
                Some(length) => {
                    if plain < at {
                        parts.push((false, &text[plain..at]));
                    }
                    parts.push((true, &text[at..at + length]));
                    at += length;
                    plain = at;
                }
                None => at += text[at..].chars().next().map_or(1, char::len_utf8),
            }
        }
        if plain < text.len() {
            parts.push((false, &text[plain..]));
        }
        parts
    }
}

/// Returns the length of the text's prefix that equals a word in lower case.
fn prefix(text: &str, word: &str) -> Option<usize> {
    let mut word = word.chars();
    let mut wanted = word.next()?;
    for (at, letter) in text.char_indices() {
        for small in letter.to_lowercase() {
            if small != wanted {
                return None;
            }
            match word.next() {
                Some(next) => wanted = next,
                None => return Some(at + letter.len_utf8()),
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Words;

    #[test]
    fn words_are_marked() {
        let marked = |text: &'static str| Words::new("fix ÉCRAN").mark(text);
        assert_eq!(
            marked("Fixes the écran"),
            [(true, "Fix"), (false, "es the "), (true, "écran")]
        );
        assert_eq!(marked("nothing"), [(false, "nothing")]);
        assert!(marked("").is_empty());
    }

    #[test]
    fn the_first_word_is_found_by_characters() {
        let first = |text: &str| Words::new("fix écran").first_in(text);
        assert_eq!(first("é İx ÉCRAN, fix"), Some(5));
        assert_eq!(first("a FIX"), Some(2));
        assert_eq!(first("nothing"), None);
        // A word that almost matches at every position.
        let words = Words::new(&format!("{}b", "a".repeat(60)));
        assert_eq!(words.first_in(&"a".repeat(1 << 20)), None);
    }

    proptest! {
        #[test]
        fn marking_loses_nothing(query in "\\PC{0,20}", text in "\\PC{0,60}") {
            let words = Words::new(&query);
            let parts = words.mark(&text);
            let joined: String = parts.iter().map(|(_, part)| *part).collect();
            prop_assert_eq!(&joined, &text);
            for (_, part) in parts {
                prop_assert!(!part.is_empty());
            }
        }
    }
}
