//! Which file names look like secrets. It warns about oversights, and does not prove that there are no secrets.

/// File names in which programs keep secrets.
const NAMES: [&str; 15] = [
    ".env",
    ".pgpass",
    ".my.cnf",
    ".netrc",
    ".git-credentials",
    ".htpasswd",
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    "credentials.json",
    "service-account.json",
    "secrets.json",
    "secrets.yaml",
    "secrets.yml",
];

/// Extensions of files that hold only private keys.
const ENDINGS: [&str; 6] = [".p12", ".pfx", ".jks", ".keystore", ".kdbx", ".ppk"];

/// Extensions of files that may hold a private key.
const MAYBE: [&str; 2] = [".pem", ".key"];

/// Extensions of examples: `.env.production` is a secret, `.env.example` is not.
const EXAMPLES: [&str; 4] = [".example", ".sample", ".template", ".dist"];

/// How many bytes of a file are searched for a private key in PEM.
pub const PEM_LENGTH: usize = 64 << 10;

/// What a file's name says about its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspicion {
    /// It looks like a secret.
    Secret,
    /// It is a secret if its first [`PEM_LENGTH`] bytes contain a private key ([`has_private_key`]).
    PerhapsKey,
    /// It looks like anything else.
    None,
}

/// Judges a file by its name, which is without folders. Upper and lower case are the same.
pub fn suspicion(name: &[u8]) -> Suspicion {
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    if NAMES.contains(&name.as_str())
        || ends(&ENDINGS)
        || (name.starts_with(".env.") && !ends(&EXAMPLES))
    {
        Suspicion::Secret
    } else if ends(&MAYBE) {
        Suspicion::PerhapsKey
    } else {
        Suspicion::None
    }
}

/// Returns whether these bytes contain a private key in PEM.
pub fn has_private_key(beginning: &[u8]) -> bool {
    let marker = b"PRIVATE KEY-----";
    beginning.windows(marker.len()).any(|part| part == marker)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged() {
        for (name, expected) in [
            (".env", Suspicion::Secret),
            (".ENV.production", Suspicion::Secret),
            (".env.example", Suspicion::None),
            ("env", Suspicion::None),
            ("id_rsa.pub", Suspicion::None),
            ("Credentials.JSON", Suspicion::Secret),
            ("store.p12", Suspicion::Secret),
            ("server.pem", Suspicion::PerhapsKey),
        ] {
            assert_eq!(suspicion(name.as_bytes()), expected, "{name}");
        }
        assert!(has_private_key(b"-----BEGIN EC PRIVATE KEY-----\n"));
        assert!(!has_private_key(b"-----BEGIN CERTIFICATE-----\n"));
    }
}
