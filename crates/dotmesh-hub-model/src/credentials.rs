//! API keys and passwords: how the hub creates, stores and compares them.

mod guessable;

use std::fmt;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use dotmesh_model::ambient::Random;
use sha2::{Digest, Sha256};

/// The prefix of every API key, so that people and secret scanners recognise one. It never changes.
pub const API_KEY_PREFIX: &str = "dmk_";

/// The shortest password that is accepted, in bytes.
pub const MIN_PASSWORD_LENGTH: usize = 8;

/// The longest secret that is accepted, in bytes.
pub const MAX_SECRET_LENGTH: usize = 1024;

/// The names of the hub itself, from which a password must not be derived.
const HUB_NAMES: [&str; 2] = ["dothub", "dotmesh"];

/// An API key in clear text. It is shown once and never stored.
pub struct ApiKey(String);

impl ApiKey {
    /// Creates a key from 256 random bits.
    pub fn generate(random: &Random) -> Self {
        let secret = hex::encode(random.bytes::<32>());
        Self(format!("{API_KEY_PREFIX}{secret}"))
    }

    /// Returns the key, to show it to its owner.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Returns the digest, which is stored instead of the key.
    pub fn digest(&self) -> KeyDigest {
        KeyDigest::of(&self.0)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

/// The token in a session cookie or in a one-time link: 256 random bits. It is never stored.
pub struct Token(String);

impl Token {
    /// Creates a token.
    pub fn generate(random: &Random) -> Self {
        Self(hex::encode(random.bytes::<32>()))
    }

    /// Returns the token, to hand it out.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Returns the digest, which is stored instead of the token.
    pub fn digest(&self) -> KeyDigest {
        KeyDigest::of(&self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// A short code that a user compares between a program and a page, such as `BCDF-GHJK`. It is valid for minutes.
#[derive(Clone, PartialEq, Eq)]
pub struct UserCode(String);

/// Without vowels, a code contains no words. Letters that look like digits are left out too.
const CODE_LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

/// The number of letters in each half of a code.
const CODE_PART: usize = 4;

impl UserCode {
    /// Creates a code. There are about 25.6 billion.
    pub fn generate(random: &Random) -> Self {
        let letter = || {
            let at = random.below(CODE_LETTERS.len() as u64);
            char::from(CODE_LETTERS[at as usize])
        };
        Self(std::iter::repeat_with(letter).take(2 * CODE_PART).collect())
    }

    /// Returns the digest, which is stored instead of the code.
    pub fn digest(&self) -> KeyDigest {
        KeyDigest::of(&self.0)
    }
}

impl fmt::Display for UserCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, second) = self.0.split_at(CODE_PART);
        write!(f, "{first}-{second}")
    }
}

impl fmt::Debug for UserCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserCode(…)")
    }
}

impl std::str::FromStr for UserCode {
    type Err = NotACode;

    /// Parses a code as people type it: in either case, with or without spaces and dashes.
    fn from_str(text: &str) -> Result<Self, NotACode> {
        let letters: String = text
            .chars()
            .filter(|c| !matches!(c, ' ' | '-'))
            .map(|c| c.to_ascii_uppercase())
            .take(2 * CODE_PART + 1)
            .collect();
        let known = letters.bytes().all(|byte| CODE_LETTERS.contains(&byte));
        if known && letters.len() == 2 * CODE_PART {
            Ok(Self(letters))
        } else {
            Err(NotACode)
        }
    }
}

/// A text that is not a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a code has eight letters, such as BCDF-GHJK")]
pub struct NotACode;

/// The SHA-256 of an API key or of a token.
///
/// The database looks it up by an index, so the lookup time may reveal bits of the digest. A digest does not reveal the
/// key.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// Returns the digest of a text that may be a key or a token.
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// The digest, as it is stored.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Reads a stored digest.
    pub fn from_stored(bytes: &[u8]) -> Option<Self> {
        Some(Self(bytes.try_into().ok()?))
    }

    /// The digest as hexadecimal text for a form. It does not help anybody to log in.
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }

    /// Reads a digest from a form.
    pub fn from_hex(text: &str) -> Option<Self> {
        Self::from_stored(&hex::decode(text).ok()?)
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest(…)")
    }
}

/// Why a text is refused as a password.
#[derive(Debug, thiserror::Error)]
pub enum InvalidPassword {
    /// Too short or too long.
    #[error("a password has {MIN_PASSWORD_LENGTH} to {MAX_SECRET_LENGTH} bytes")]
    Length,
    /// The prefix tells the hub whether a login is by key or by password.
    #[error("a password cannot start with {API_KEY_PREFIX}: that is how API keys start")]
    LooksLikeKey,
    /// Attackers try these first.
    #[error(
        "this password is one of the most common ones: choose one that nobody else has, such as four random words"
    )]
    Common,
    /// An attacker who knows the user tries these.
    #[error(
        "this password is hardly more than your name or the hub's: choose one that does not follow from them"
    )]
    Named,
}

/// A password hashed with argon2id, as a PHC string with its own salt and cost.
pub struct HashedPassword(String);

impl HashedPassword {
    /// Hashes a new password. The password must not be derived from `names`, which are names of the user and the hub.
    /// It takes tens of milliseconds and 19 MiB, so don't call it on an async thread.
    pub fn new(password: &str, names: &[&str]) -> Result<Self, InvalidPassword> {
        if !(MIN_PASSWORD_LENGTH..=MAX_SECRET_LENGTH).contains(&password.len()) {
            return Err(InvalidPassword::Length);
        }
        if password.starts_with(API_KEY_PREFIX) {
            return Err(InvalidPassword::LooksLikeKey);
        }
        if guessable::is_common(password) {
            return Err(InvalidPassword::Common);
        }
        if guessable::is_named(password, names) || guessable::is_named(password, &HUB_NAMES) {
            return Err(InvalidPassword::Named);
        }
        Ok(Self::hash(password))
    }

    /// Returns the hash that an unknown user's password is compared with, so that the check takes as long as for a
    /// known user.
    pub fn nobody(random: &Random) -> Self {
        Self::hash(&hex::encode(random.bytes::<16>()))
    }

    /// Reads a stored hash.
    pub fn from_stored(phc: String) -> Self {
        Self(phc)
    }

    /// The hash, as it is stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether this is the password. It takes as long as hashing one. A damaged hash matches nothing.
    pub fn matches(&self, password: &str) -> bool {
        PasswordHash::new(&self.0).is_ok_and(|hash| {
            Argon2::default()
                .verify_password(password.as_bytes(), &hash)
                .is_ok()
        })
    }

    fn hash(password: &str) -> Self {
        let hash = Argon2::default()
            .hash_password(password.as_bytes())
            .expect("the default cost is valid and the system gives random bytes");
        Self(hash.to_string())
    }
}

impl fmt::Debug for HashedPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashedPassword(…)")
    }
}

/// The secret in a request. The prefix tells keys from passwords.
#[derive(Clone)]
pub enum Secret {
    /// A text with the prefix of API keys.
    Key(KeyDigest),
    /// Anything else.
    Password(String),
}

impl Secret {
    pub fn new(text: &str) -> Self {
        if text.starts_with(API_KEY_PREFIX) {
            Self::Key(KeyDigest::of(text))
        } else {
            Self::Password(text.to_owned())
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::*;

    #[test]
    fn a_key_is_recognised_by_its_digest_only() {
        let numbers = AtomicU8::new(1);
        let random = Random::new(move |bytes| bytes.fill(numbers.fetch_add(1, Ordering::Relaxed)));
        let (key, other) = (ApiKey::generate(&random), ApiKey::generate(&random));
        assert!(key.digest() == KeyDigest::of(key.reveal()));
        assert!(key.digest() != other.digest());
        assert_eq!(key.reveal().len(), API_KEY_PREFIX.len() + 64);
        assert!(!format!("{key:?}").contains(&key.reveal()[4..]));
    }

    #[test]
    fn a_code_is_read_as_people_type_it() {
        let code = UserCode::generate(&Random::new(|bytes| bytes.fill(77)));
        let text = code.to_string();
        assert_eq!(text.len(), 9);
        for typed in [
            text.clone(),
            text.to_lowercase(),
            text.replace('-', ""),
            format!(" {} ", text.replace('-', " ")),
        ] {
            assert_eq!(typed.parse(), Ok(code.clone()), "{typed}");
        }
        for bad in [
            "",
            "BCDF-GHJ",
            "BCDF-GHJKL",
            "ACDF-GHJK",
            "BCDF GHJ1",
            "BCDF-GHJ\u{212a}",
        ] {
            assert_eq!(bad.parse::<UserCode>(), Err(NotACode), "{bad}");
        }
        assert!(!format!("{code:?}").contains(&text[..4]));
    }

    #[test]
    fn a_password_matches_itself_and_nothing_else() {
        let hashed = HashedPassword::new("correct horse", &[]).expect("long enough");
        assert!(hashed.as_str().starts_with("$argon2id$"));
        assert!(hashed.matches("correct horse"));
        assert!(!hashed.matches("correct horsf"));
        assert!(!HashedPassword::from_stored("damaged".to_owned()).matches("damaged"));
    }

    #[test]
    fn bad_passwords_are_refused() {
        let refused = |password| HashedPassword::new(password, &["alice"]).expect_err(password);
        assert!(matches!(refused("short"), InvalidPassword::Length));
        assert!(matches!(
            refused("dmk_0123456789"),
            InvalidPassword::LooksLikeKey
        ));
        assert!(matches!(refused("Password1"), InvalidPassword::Common));
        assert!(matches!(refused("alice1234"), InvalidPassword::Named));
        assert!(matches!(refused("Dotmesh!"), InvalidPassword::Named));
    }
}
