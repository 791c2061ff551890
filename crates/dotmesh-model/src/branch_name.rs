//! Names of branches and tags: git's grammar, and their spelling for places that cannot have a `/` or a `.`.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::CommitId;
use crate::names::InvalidName;

/// The longest name of a branch, in bytes.
pub const MAX_BRANCH_LENGTH: usize = 200;

/// The longest spelling of a branch's name, in bytes. A file name has at most 255.
pub const MAX_SPELLING_LENGTH: usize = 240;

/// A branch: a named line of commits with its own working copy. Tags follow the same grammar.
///
/// The grammar is git's, but characters that deceive people are refused, too: see [`is_deceptive`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BranchName(String);

/// Why a text is not a branch's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BranchFlaw {
    /// Longer than [`MAX_BRANCH_LENGTH`].
    #[error("it has more than {MAX_BRANCH_LENGTH} bytes")]
    TooLong,
    /// Its spelling is longer than [`MAX_SPELLING_LENGTH`].
    #[error(
        "it has more than {MAX_SPELLING_LENGTH} bytes when each one but ASCII letters, digits, '_' and '-' counts three times"
    )]
    SpellingTooLong,
    /// It would be an option on a command line.
    #[error("it begins with '-'")]
    Option,
    /// A slash at an end, or two in a row.
    #[error("a part between slashes is empty")]
    EmptyPart,
    /// A part is a hidden file.
    #[error("a part between slashes begins with '.'")]
    HiddenPart,
    /// A part has the name of a lock file.
    #[error("a part between slashes ends with '.lock'")]
    LockPart,
    /// It ends with a dot.
    #[error("it ends with '.'")]
    LastDot,
    /// `..` separates two revisions.
    #[error("it has '..'")]
    Range,
    /// `@{` starts an entry of the reflog.
    #[error("it has '@{{'")]
    Reflog,
    /// `@` is another word for `HEAD`.
    #[error("it is '@'")]
    At,
    /// It has a space.
    #[error("it has a space")]
    Space,
    /// It has a character that is invisible or changes the look of others.
    #[error("it has a character that is invisible or changes how text is shown")]
    Deceptive,
    /// It has one of `~^:?*[\`, which have a meaning in revisions and patterns.
    #[error("it has '{0}'")]
    Character(char),
    /// A new branch cannot be called `HEAD`.
    #[error("HEAD stands for the commit that is checked out")]
    Head,
    /// A new branch or tag cannot have a name of 32 hex digits.
    #[error("32 hex digits stand for the commit with that id")]
    CommitId,
}

/// Why a text is not a spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpellingFlaw {
    /// A spelling must escape this byte.
    #[error("it has bytes that are not ASCII letters, digits, '_', '-' or '~'")]
    Unescaped,
    /// A `~` is not followed by two hex digits.
    #[error("a '~' is not followed by two lowercase hex digits")]
    CutEscape,
    /// A byte is escaped without need.
    #[error("it escapes a letter, a digit, '_' or '-'")]
    NeedlessEscape,
    /// The bytes are not UTF-8.
    #[error("what it stands for is not UTF-8")]
    NotText,
}

impl BranchName {
    /// The branch every dot starts with.
    pub fn master() -> Self {
        Self("master".to_owned())
    }

    /// The name of a branch for work on a commit that is no branch's head: `at-0123abcd01`.
    pub fn at(commit: CommitId) -> Self {
        Self(format!("at-{}", commit.short()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name for file names, volume names and URLs, which can have only ASCII letters, digits, `_`, `-` and `~`.
    /// Every other byte becomes `~` and two hex digits, as in `feature~2flogin`.
    pub fn spelling(&self) -> Cow<'_, str> {
        spell(&self.0)
    }

    /// Reads a spelling. Each name has exactly one.
    pub fn from_spelling(text: &str) -> Result<Self, InvalidName> {
        let name = unspell(text).map_err(|flaw| InvalidName::Spelling {
            text: cut(text),
            flaw,
        })?;
        name.try_into()
    }

    /// Reads a name in a URL, either as it is or as its spelling. No name has a `~`, so there is no ambiguity.
    pub fn from_address(text: &str) -> Result<Self, InvalidName> {
        if text.contains('~') {
            Self::from_spelling(text)
        } else {
            text.parse()
        }
    }

    /// Refuses names that a new branch cannot have, although older ones may have them.
    pub fn check_new(&self) -> Result<(), InvalidName> {
        if self.0 == "HEAD" {
            return Err(invalid(&self.0, BranchFlaw::Head));
        }
        self.check_no_id()
    }

    /// Refuses a name that reads as the full id of a commit. Otherwise a permalink could seem to lead to a branch.
    ///
    /// A name may be the prefix of an id, as in git. Then the name wins, so only full ids are safe to pass on.
    pub fn check_no_id(&self) -> Result<(), InvalidName> {
        match CommitId::from_any_case(&self.0) {
            Some(_) => Err(invalid(&self.0, BranchFlaw::CommitId)),
            None => Ok(()),
        }
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

fn spell(name: &str) -> Cow<'_, str> {
    if name.bytes().all(is_plain) {
        return Cow::Borrowed(name);
    }
    let mut spelling = String::with_capacity(spelled_length(name));
    for byte in name.bytes() {
        if is_plain(byte) {
            spelling.push(char::from(byte));
        } else {
            let _ = write!(spelling, "~{byte:02x}");
        }
    }
    Cow::Owned(spelling)
}

fn spelled_length(name: &str) -> usize {
    let length = |byte| if is_plain(byte) { 1 } else { 3 };
    name.bytes().map(length).sum()
}

fn unspell(text: &str) -> Result<String, SpellingFlaw> {
    let digit = |byte: Option<&u8>| match byte {
        Some(byte @ b'0'..=b'9') => Ok(byte - b'0'),
        Some(byte @ b'a'..=b'f') => Ok(byte - b'a' + 10),
        _ => Err(SpellingFlaw::CutEscape),
    };
    let mut name = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes().iter();
    while let Some(byte) = bytes.next() {
        if is_plain(*byte) {
            name.push(*byte);
        } else if *byte == b'~' {
            let byte = digit(bytes.next())? << 4 | digit(bytes.next())?;
            if is_plain(byte) {
                return Err(SpellingFlaw::NeedlessEscape);
            }
            name.push(byte);
        } else {
            return Err(SpellingFlaw::Unescaped);
        }
    }
    String::from_utf8(name).map_err(|_| SpellingFlaw::NotText)
}

/// The start of a bad name, for error messages and logs. They need no more of it.
fn cut(name: &str) -> String {
    let shown = |c: char| if is_deceptive(c) { '\u{fffd}' } else { c };
    name.chars().take(80).map(shown).collect()
}

fn invalid(name: &str, flaw: BranchFlaw) -> InvalidName {
    let name = cut(name);
    InvalidName::Branch { name, flaw }
}

/// Whether a character can make a text look like another one: control characters, invisible or unusual spaces, and
/// marks of text direction.
pub fn is_deceptive(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{a0}' | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{2000}'..='\u{200f}' | '\u{2028}'..='\u{202f}'
            | '\u{205f}'..='\u{206f}' | '\u{3000}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

fn check(name: &str) -> Result<(), BranchFlaw> {
    if name.len() > MAX_BRANCH_LENGTH {
        return Err(BranchFlaw::TooLong);
    }
    if spelled_length(name) > MAX_SPELLING_LENGTH {
        return Err(BranchFlaw::SpellingTooLong);
    }
    for c in name.chars() {
        match c {
            ' ' => return Err(BranchFlaw::Space),
            '~' | '^' | ':' | '?' | '*' | '[' | '\\' => return Err(BranchFlaw::Character(c)),
            c if is_deceptive(c) => return Err(BranchFlaw::Deceptive),
            _ => {}
        }
    }
    if name.starts_with('-') {
        return Err(BranchFlaw::Option);
    }
    for part in name.split('/') {
        if part.is_empty() {
            return Err(BranchFlaw::EmptyPart);
        }
        if part.starts_with('.') {
            return Err(BranchFlaw::HiddenPart);
        }
        if part.ends_with(".lock") {
            return Err(BranchFlaw::LockPart);
        }
    }
    if name.contains("..") {
        return Err(BranchFlaw::Range);
    }
    if name.ends_with('.') {
        return Err(BranchFlaw::LastDot);
    }
    if name.contains("@{") {
        return Err(BranchFlaw::Reflog);
    }
    if name == "@" {
        return Err(BranchFlaw::At);
    }
    Ok(())
}

impl TryFrom<String> for BranchName {
    type Error = InvalidName;
    fn try_from(name: String) -> Result<Self, InvalidName> {
        if name.is_empty() {
            let what = "branch name";
            return Err(InvalidName::Empty { what });
        }
        match check(&name) {
            Ok(()) => Ok(Self(name)),
            Err(flaw) => Err(invalid(&name, flaw)),
        }
    }
}

impl FromStr for BranchName {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        text.to_owned().try_into()
    }
}

impl From<BranchName> for String {
    fn from(name: BranchName) -> Self {
        name.0
    }
}

impl fmt::Display for BranchName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
