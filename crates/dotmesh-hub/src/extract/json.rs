//! Parses JSON of requests. An unknown member is an error, because otherwise a misspelled one would be ignored
//! silently.

use std::fmt;

use serde::de::{self, DeserializeOwned, Deserializer, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Map, Value};

use crate::error::HttpError;

/// Parses a request whose type denies unknown members: `#[serde(deny_unknown_fields)]`.
pub(crate) fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, HttpError> {
    parse_open_json(bytes).map_err(|error| explain::<T>(bytes).unwrap_or(error))
}

/// Parses a request of `dm` or `dotmeshd`, which may be newer than the hub. Unknown members are ignored, as
/// `docs/protocol.md` says.
pub(crate) fn parse_open_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, HttpError> {
    serde_json::from_slice(bytes)
        .map_err(|error| HttpError::malformed(format!("the request's JSON is wrong: {error}")))
}

/// Returns an error that names the unknown member and the most similar known one. `None` if all are known.
fn explain<T: DeserializeOwned>(bytes: &[u8]) -> Option<HttpError> {
    let members: Map<String, Value> = serde_json::from_slice(bytes).ok()?;
    let known = members_of::<T>();
    let mut names = members.keys().map(String::as_str);
    let unknown = names.find(|name| !known.contains(name))?;
    // A long name would be expensive to compare, and too long to show.
    let shown: String = unknown.chars().take(80).collect();
    let like = |name: &&&str| strsim::levenshtein(name, &shown);
    let nearest = known.iter().min_by_key(like)?;
    Some(HttpError::malformed(format!(
        "there is no member '{shown}' in this request: did you mean '{nearest}'? It takes {}",
        known.join(", ")
    )))
}

/// Returns the members that a request may have.
fn members_of<T: DeserializeOwned>() -> &'static [&'static str] {
    match T::deserialize(Ask) {
        Err(Answer(members)) => members,
        Ok(_) => &[],
    }
}

/// A deserializer that only learns which members a struct has.
struct Ask;

#[derive(Debug)]
struct Answer(&'static [&'static str]);

impl<'de> Deserializer<'de> for Ask {
    type Error = Answer;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        members: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Answer> {
        Err(Answer(members))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Answer> {
        Err(Answer(&[]))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

impl de::Error for Answer {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(&[])
    }
}

impl std::error::Error for Answer {}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use dotmesh_api::dots::{ChangeSettings, NewName, WriteNote};
    use dotmesh_api::hub::BeginLogin;

    use super::*;

    fn refusal<T: DeserializeOwned>(text: &str) -> String {
        match parse_json::<T>(text.as_bytes()) {
            Ok(_) => "taken".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_misspelled_member_is_named() {
        assert_eq!(
            refusal::<ChangeSettings>(r#"{"description": "x", "visibilty": "private"}"#),
            "there is no member 'visibilty' in this request: did you mean 'visibility'? \
             It takes description, default_branch, visibility, allow_secrets, forks"
        );
        assert_eq!(
            refusal::<WriteNote>(r#"{"body": "x", "comit": "0"}"#),
            "there is no member 'comit' in this request: did you mean 'commit'? It takes branch, commit, body"
        );
        let long = format!(r#"{{"{}": 1}}"#, "n".repeat(500));
        let said = refusal::<NewName>(&long);
        assert!(said.contains("'name'") && said.len() < 200, "{said}");
    }

    #[test]
    fn other_errors_are_told_as_they_are() {
        for (text, said) in [
            ("{}", "missing field `name`"),
            ("[]", "invalid length 0"),
            (r#"{"name": 1}"#, "invalid type"),
            (r#"{"name": "a", "name": "b"}"#, "duplicate field"),
            ("{", "EOF"),
        ] {
            let refused = refusal::<NewName>(text);
            assert!(refused.contains(said), "{text}: {refused}");
        }
        assert_eq!(refusal::<NewName>(r#"{"name": "a"}"#), "taken");
    }

    #[test]
    fn what_a_newer_client_says_besides_is_passed_over() {
        let read = parse_open_json::<BeginLogin>(br#"{"client": "laptop", "shell": "sh"}"#);
        assert_eq!(read.expect("taken").client, "laptop");
    }
}
