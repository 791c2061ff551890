//! Names of dots, subdots and users. They are parsed once, where they enter the program.
//!
//! A name has 1 to 64 letters, digits, `_` and `-`. It is therefore always a safe file name and a safe URL segment. A
//! name cannot start with `-`, because a command line would take it for an option. Names of branches are in
//! [`crate::branch_name`].

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use crate::branch_name::{
    BranchFlaw, BranchName, MAX_BRANCH_LENGTH, MAX_SPELLING_LENGTH, SpellingFlaw,
};

/// The longest name, in bytes.
pub const MAX_NAME_LENGTH: usize = 64;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// The text is empty.
    #[error("{what} cannot be empty")]
    Empty { what: &'static str },
    /// A character, the length or the first character is not allowed.
    #[error(
        "invalid {what} '{name}': use 1 to {MAX_NAME_LENGTH} letters, digits, '_' or '-', not starting with '-'"
    )]
    Malformed { what: &'static str, name: String },
    /// The text is no branch name in git either.
    #[error(
        "invalid branch name '{name}': {flaw}; use a name that git takes, such as feature/login or v1.2"
    )]
    Branch { name: String, flaw: BranchFlaw },
    /// The text has a `~`, but is not the spelling of a branch's name.
    #[error(
        "'{text}' does not spell a branch name: {flaw}; '/' is spelled ~2f and '.' ~2e, as in feature~2flogin"
    )]
    Spelling { text: String, flaw: SpellingFlaw },
    /// A dot's name has more than one `/`.
    #[error("a dot is named NAMESPACE/DOT or just DOT, got '{name}'")]
    DotForm { name: String },
    /// A volume's name does not follow `[NAMESPACE/]DOT[@BRANCH][.SUBDOT]`.
    #[error("volume names must be of the form [NAMESPACE/]DOT[@BRANCH][.SUBDOT], got '{name}'")]
    VolumeForm { name: String },
    /// A volume's name has several dots after the `@`.
    #[error(
        "volume names must be of the form [NAMESPACE/]DOT[@BRANCH][.SUBDOT], got '{name}': write a '.' in BRANCH as ~2e, as in app@v1~2e2.db"
    )]
    VolumeBranch { name: String },
}

pub(crate) fn check(what: &'static str, name: &str) -> Result<(), InvalidName> {
    if name.is_empty() {
        return Err(InvalidName::Empty { what });
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if name.len() > MAX_NAME_LENGTH || name.starts_with('-') || !name.bytes().all(allowed) {
        // Error messages and logs need no more than the start of a bad name.
        let name = name.chars().take(80).collect();
        return Err(InvalidName::Malformed { what, name });
    }
    Ok(())
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                check($what, text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type!(
    /// The owner part of a dot's name. On a hub, it is a user's name.
    Namespace, "namespace"
);
name_type!(
    /// A named folder of a dot, one per store.
    SubdotName, "subdot name"
);
name_type!(
    /// An account on a hub.
    UserName, "user name"
);

impl Namespace {
    /// The namespace of dots that are named without one. It is omitted in output.
    pub const DEFAULT: &'static str = "admin";
}

impl Default for Namespace {
    fn default() -> Self {
        Self(Self::DEFAULT.to_owned())
    }
}

impl From<UserName> for Namespace {
    fn from(user: UserName) -> Self {
        Self(user.0)
    }
}

impl SubdotName {
    /// The subdot of a volume whose name has none: `__default__`.
    pub fn default_subdot() -> Self {
        Self("__default__".to_owned())
    }
}

/// A dot's full name, `NAMESPACE/DOT`. Output omits the default namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DotName {
    /// The owner's namespace.
    pub namespace: Namespace,
    name: String,
}

impl DotName {
    /// Joins the two parts. `name` must follow the grammar of names.
    pub fn new(namespace: Namespace, name: &str) -> Result<Self, InvalidName> {
        check("dot name", name)?;
        Ok(Self {
            namespace,
            name: name.to_owned(),
        })
    }

    /// The part after the namespace.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `NAMESPACE/DOT`, also for the default namespace.
    pub fn full(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Parses `[NAMESPACE/]DOT`. Without a namespace in the text, it takes `namespace`.
    pub fn parse_in(text: &str, namespace: &Namespace) -> Result<Self, InvalidName> {
        match text.split_once('/') {
            None => Self::new(namespace.clone(), text),
            Some((_, name)) if name.contains('/') => Err(InvalidName::DotForm {
                name: text.chars().take(160).collect(),
            }),
            Some((namespace, name)) => Self::new(namespace.parse()?, name),
        }
    }
}

impl FromStr for DotName {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::parse_in(text, &Namespace::default())
    }
}

impl TryFrom<String> for DotName {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<DotName> for String {
    fn from(dot: DotName) -> String {
        dot.full()
    }
}

impl fmt::Display for DotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.as_str() == Namespace::DEFAULT {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}
