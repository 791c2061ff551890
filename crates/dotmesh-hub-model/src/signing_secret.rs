//! The secrets that sign deliveries.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dotmesh_model::ambient::Random;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// The prefix of every secret, as the specification requires.
const PREFIX: &str = "whsec_";

/// A webhook's secret: 256 random bits. Stored unencrypted, because the hub signs with it. Shown only once.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret([u8; 32]);

impl SigningSecret {
    /// Makes a new secret.
    pub fn generate(random: &Random) -> Self {
        Self(random.bytes())
    }

    /// Returns the text to show to the dot's owner.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(self.0))
    }

    /// Returns the secret as it is stored.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Reads a stored secret.
    pub fn from_stored(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().map(Self).ok()
    }

    /// Returns the header `webhook-signature` of a message. `timestamp` is the time of sending, in seconds since
    /// 1970.
    pub fn sign(&self, message: &str, timestamp: i64, body: &str) -> String {
        // HMAC pads a key with zeros to the length of a block.
        let mut key = [0; 64];
        key[..self.0.len()].copy_from_slice(&self.0);
        let mut mac = Hmac::<Sha256>::new(&key.into());
        mac.update(format!("{message}.{timestamp}.{body}").as_bytes());
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::SigningSecret;

    /// Python's `hmac` computed the expected signature.
    #[test]
    fn a_signature_is_what_others_compute() {
        let secret = SigningSecret::from_stored(&[1; 32]).expect("a secret");
        assert_eq!(
            secret.sign("msg_1", 1_700_000_000, r#"{"type":"ping"}"#),
            "v1,T+9v+I621hJQJ35wwTIzH/+ftMWvyw/Wyebzhr+KCxc="
        );
        assert!(secret.reveal().starts_with("whsec_AQEB"));
        assert!(!format!("{secret:?}").contains("AQEB"));
    }
}
