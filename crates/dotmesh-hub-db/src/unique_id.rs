//! Ids that no other process makes.

/// Makes an id of 128 random bits. Only that it differs from all others matters, so nobody needs to pass in another source.
#[expect(
    clippy::disallowed_methods,
    reason = "nothing depends on the value of such an id"
)]
pub(crate) fn unique_id() -> String {
    hex::encode(rand::random::<[u8; 16]>())
}
