//! The URLs of a hub's pages. Users paste them, and commands print them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use dotmesh_model::names::SpellingFlaw;
use dotmesh_model::{BranchName, CommitId, DotName, InvalidName};

use crate::hub_address::HubAddress;

/// A page about a dot, parsed from its URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DotPage {
    /// The hub.
    pub hub: HubAddress,
    /// The dot there.
    pub dot: DotName,
    /// The state on the page. `None` for a page about the dot as a whole.
    pub reference: Option<Reference>,
}

/// A name for a state of a dot: a branch, a tag, or a commit by its id or the first digits of it.
///
/// It follows the grammar of branch names, as ids do, too. Only the hub knows what it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference(BranchName);

impl Reference {
    /// The name or the digits.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The spelling for a segment of a URL.
    pub fn spelling(&self) -> Cow<'_, str> {
        self.0.spelling()
    }
}

/// Reads a name or its spelling.
impl FromStr for Reference {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        BranchName::from_address(text).map(Self)
    }
}

impl From<BranchName> for Reference {
    fn from(name: BranchName) -> Self {
        Self(name)
    }
}

impl From<CommitId> for Reference {
    fn from(id: CommitId) -> Self {
        Self(id.to_string().parse().expect("digits are a name"))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a text is not the URL of a page about one state of a dot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotADotPage {
    /// The part before the path is no address of a hub.
    #[error("{0}")]
    Hub(String),
    /// The page is the hub's first page, a user's page, or one of the hub's own pages.
    #[error("'{text}' is not the address of a dot's page")]
    NoDot { text: String },
    /// A name in the URL is invalid.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The page is a comparison.
    #[error("the address compares two states, {from} and {to}")]
    TwoStates { from: String, to: String },
    /// This version does not know the page of the dot.
    #[error("'{segment}' is no page of a dot that is known here")]
    Unknown { segment: String },
}

impl DotPage {
    /// Whether a text is meant as a URL. No name has a scheme.
    pub fn is_address(text: &str) -> bool {
        text.contains("://")
    }

    /// Parses the URL of a page about a dot, as a browser shows it.
    pub fn parse(text: &str) -> Result<Self, NotADotPage> {
        let text = text.trim();
        let whole = text.split(['?', '#']).next().unwrap_or(text);
        let after_scheme = whole.find("://").map_or(0, |at| at + 3);
        let (hub, path) = match whole[after_scheme..].find('/') {
            Some(slash) => whole.split_at(after_scheme + slash),
            None => (whole, ""),
        };
        let hub = hub.parse().map_err(NotADotPage::Hub)?;
        let mut segments = path.split('/').filter(|segment| !segment.is_empty());
        let (Some(owner), Some(dot)) = (segments.next(), segments.next()) else {
            return Err(no_dot(text));
        };
        if owner == "-" || owner == "api" {
            return Err(no_dot(text));
        }
        let dot = DotName::new(owner.parse()?, dot)?;
        let reference = match (segments.next(), segments.next()) {
            (None | Some("graph" | "activity" | "settings"), _)
            | (Some("commits" | "tree" | "raw" | "archive"), None) => None,
            (Some("commits"), Some(word)) => {
                // The name is the last part of the path, so it may have slashes.
                let parts: Vec<_> = std::iter::once(word).chain(segments).collect();
                Some(decode(&parts.join("/"))?.parse()?)
            }
            (Some("commit" | "tree" | "raw" | "archive"), Some(word)) => {
                Some(decode(word)?.parse()?)
            }
            (Some("compare"), Some(states)) => {
                let (from, to) = states.split_once("...").unwrap_or((states, ""));
                let (from, to) = (cut(&name_of(from)), cut(&name_of(to)));
                return Err(NotADotPage::TwoStates { from, to });
            }
            (Some(segment), _) => {
                let segment = cut(segment);
                return Err(NotADotPage::Unknown { segment });
            }
        };
        Ok(Self {
            hub,
            dot,
            reference,
        })
    }
}

/// The permalink of a commit. Its content never changes.
pub fn permalink(hub: &HubAddress, dot: &DotName, commit: CommitId) -> String {
    format!("{hub}/{}/commit/{commit}", dot.full())
}

/// The page of a dot.
pub fn of_dot(hub: &HubAddress, dot: &DotName) -> String {
    format!("{hub}/{}", dot.full())
}

/// The page with the commits of a branch.
pub fn of_branch(hub: &HubAddress, dot: &DotName, branch: &BranchName) -> String {
    format!("{hub}/{}/commits/{}", dot.full(), branch.spelling())
}

/// Decodes the percent-encoding of a segment. Browsers encode all characters that are not ASCII.
fn decode(segment: &str) -> Result<String, InvalidName> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = match after {
            [high, low, after @ ..] if *first == b'%' => {
                digits(*high, *low).map(|byte| (byte, after))
            }
            _ => None,
        };
        let (byte, after) = escaped.unwrap_or((*first, after));
        bytes.push(byte);
        rest = after;
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(_) => Err(InvalidName::Spelling {
            text: cut(segment),
            flaw: SpellingFlaw::NotText,
        }),
    }
}

fn digits(high: u8, low: u8) -> Option<u8> {
    let digit = |byte| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

/// One side of a comparison, for display.
fn name_of(segment: &str) -> String {
    let name = decode(segment).ok().and_then(|text| text.parse().ok());
    name.map_or_else(|| segment.to_owned(), |name: Reference| name.to_string())
}

fn no_dot(text: &str) -> NotADotPage {
    NotADotPage::NoDot { text: cut(text) }
}

/// The start of a bad text, for error messages. They need no more of it.
fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "0123abcd0123abcd0123abcd0123abcd";

    fn shown(text: &str) -> String {
        match DotPage::parse(text) {
            Ok(page) => {
                let reference = page
                    .reference
                    .map_or_else(String::new, |word| format!(" at {word}"));
                format!("{} {}{reference}", page.hub, page.dot.full())
            }
            Err(error) => format!("{error:?}")
                .split([' ', '('])
                .next()
                .unwrap_or("")
                .to_owned(),
        }
    }

    #[test]
    fn addresses_as_they_are_pasted() {
        let hub = "https://hub.example.com";
        let table = [
            ("/alice/app", "alice/app"),
            ("/alice/app/", "alice/app"),
            ("/alice/app?tab=branches#readme", "alice/app"),
            ("/alice/app/graph", "alice/app"),
            ("/alice/app/activity?page=2", "alice/app"),
            ("/alice/app/settings", "alice/app"),
            ("/alice/app/commits", "alice/app"),
            ("/alice/app/commits/many-users", "alice/app at many-users"),
            (
                "/alice/app/commits/many-users?page=3",
                "alice/app at many-users",
            ),
            ("/alice/app/tree/master", "alice/app at master"),
            ("/alice/app/tree/master/a/b%20c/..", "alice/app at master"),
            ("/alice/app/raw/v1/x.png", "alice/app at v1"),
            ("/alice/app/archive/v1/x.tar", "alice/app at v1"),
            ("/alice/app/tree/0123abcd/x", "alice/app at 0123abcd"),
            ("/alice/app/commit/0123ABCD", "alice/app at 0123ABCD"),
            ("//alice//app//commit//0123abcd", "alice/app at 0123abcd"),
            (
                "/alice/app/commits/feature~2flogin?from=0123abcd",
                "alice/app at feature/login",
            ),
            (
                "/alice/app/commits/feature%2Flogin",
                "alice/app at feature/login",
            ),
            (
                "/alice/app/commits/feature/login/",
                "alice/app at feature/login",
            ),
            (
                "/alice/app/tree/feature~2flogin/a/b",
                "alice/app at feature/login",
            ),
            (
                "/alice/app/tree/feature%2flogin/a/b",
                "alice/app at feature/login",
            ),
            ("/alice/app/commits/v1.2", "alice/app at v1.2"),
            ("/alice/app/commits/v1~2e2", "alice/app at v1.2"),
            ("/alice/app/tree/gr%C3%BCn", "alice/app at grün"),
            ("/alice/app/tree/100%/x", "alice/app at 100%"),
        ];
        for (path, expected) in table {
            assert_eq!(
                shown(&format!("{hub}{path}")),
                format!("{hub} {expected}"),
                "{path}"
            );
        }
        assert_eq!(
            shown(&format!(" HTTP://LocalHost:8180/alice/app/commit/{ID}\n")),
            format!("http://localhost:8180 alice/app at {ID}")
        );
    }

    #[test]
    fn addresses_that_name_no_state() {
        let table = [
            ("https://hub.example.com", "NoDot"),
            ("https://hub.example.com/alice", "NoDot"),
            ("https://hub.example.com/-/settings/keys", "NoDot"),
            ("https://hub.example.com/api/v1/dots/alice/app", "NoDot"),
            ("https://hub.example.com/?/alice/app", "NoDot"),
            (
                "https://hub.example.com/alice/app/compare/a...b",
                "TwoStates",
            ),
            ("https://hub.example.com/alice/app/compare/a", "TwoStates"),
            ("https://hub.example.com/alice/app/compare", "Unknown"),
            ("https://hub.example.com/alice/app/commit", "Unknown"),
            ("https://hub.example.com/alice/app/wiki", "Unknown"),
            ("https://hub.example.com/alice/app/commits/a~2", "Name"),
            ("https://hub.example.com/alice/app/commits/a~2F", "Name"),
            ("https://hub.example.com/alice/app/commits/%ff", "Name"),
            ("https://hub.example.com/alice/app/commits/a%00", "Name"),
            ("https://hub.example.com/alice/app/commits/a/../b", "Name"),
            ("https://hub.example.com/alice/app/commit/-0", "Name"),
            ("https://hub.example.com/alice/app/commits/--force", "Name"),
            ("https://hub.example.com/alice/app/tree/..", "Name"),
            ("https://hub.example.com/../app", "Name"),
            ("https://hub.example.com/alice/%61pp", "Name"),
            ("https://hub.example.com/alice/app.git", "Name"),
            ("https://hub.example.com/alice/a;b", "Name"),
            ("https://alice:secret@hub.example.com/alice/app", "Hub"),
            ("https://hub.example.com\\@evil.example/alice/app", "Hub"),
            ("https://@/alice/app", "Hub"),
            ("https:///alice/app", "Hub"),
            ("file:///alice/app", "Hub"),
            ("javascript://hub.example.com/alice/app", "Hub"),
            ("https://hub.example.com:x/alice/app", "Hub"),
            ("https://hüb.example.com/alice/app", "Hub"),
            ("://hub/alice/app", "Hub"),
        ];
        for (text, expected) in table {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_printed_can_be_pasted() {
        let hub: HubAddress = "http://127.0.0.1:8180".parse().expect("an address");
        let dot: DotName = "admin/app".parse().expect("a name");
        let id: CommitId = ID.parse().expect("an id");
        let branch: BranchName = "feature/v1.2/ü".parse().expect("a name");
        let parsed = |text: &str| DotPage::parse(text).expect("a page");
        for (text, reference) in [
            (permalink(&hub, &dot, id), ID.parse().ok()),
            (
                of_branch(&hub, &dot, &branch),
                "feature/v1.2/ü".parse().ok(),
            ),
            (of_dot(&hub, &dot), None),
        ] {
            let page = DotPage {
                hub: hub.clone(),
                dot: dot.clone(),
                reference,
            };
            assert_eq!(parsed(&text), page, "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "\\PC{0,60}", rest in "[a-z0-9/.?#%@:\\[\\]-]{0,60}") {
            let _ = DotPage::parse(&text);
            let _ = DotPage::parse(&format!("https://{rest}"));
        }

        /// Whatever follows the authority, the hub is the host that a browser would call.
        #[test]
        fn the_hub_is_the_authority(host in "[a-z][a-z0-9.-]{0,20}", rest in "[a-z0-9/.?#%@:\\\\-]{0,60}") {
            if let Ok(page) = DotPage::parse(&format!("https://{host}/{rest}")) {
                prop_assert_eq!(page.hub.host(), host);
            }
        }
    }
}
