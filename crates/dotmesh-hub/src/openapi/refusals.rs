//! With which problems a route may answer, by what it takes and who may call it.

use std::collections::BTreeMap;

use utoipa::IntoResponses;
use utoipa::openapi::{Ref, RefOr, Response};

/// The statuses that problems have, and what the answers are called in the document.
pub(super) const STATUSES: [(u16, &str); 13] = [
    (400, "Invalid"),
    (401, "Unauthorized"),
    (403, "Forbidden"),
    (404, "NotFound"),
    (405, "WrongMethod"),
    (408, "Slow"),
    (409, "Conflict"),
    (412, "Changed"),
    (413, "TooLarge"),
    (422, "Unprocessable"),
    (429, "TooMany"),
    (500, "Failed"),
    (507, "NoSpace"),
];

/// What an operation says of a status.
pub(super) fn refer(status: u16) -> (String, RefOr<Response>) {
    let found = STATUSES.iter().find(|(other, _)| *other == status);
    let name = found.map_or("Failed", |(_, name)| name);
    let reference = RefOr::Ref(Ref::from_response_name(name));
    (status.to_string(), reference)
}

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident: $($status:literal)*;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub(crate) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                [$($status),*].into_iter().map(refer).collect()
            }
        }
    )*};
}

refusals! {
    /// Of a route for everybody that takes a body.
    OfAnyone: 400 403 404 408 413;
    /// Of a list that everybody may see, as far as it concerns them.
    OfView: 400 401 403;
    /// Of a route that shows something of a dot.
    OfLookup: 400 401 403 404 409;
    /// Of a route that sends objects of a dot.
    OfObjects: 400 401 403 404 408 409 413;
    /// Of a route for users that shows something of their account.
    OfUser: 400 401 403;
    /// Of a route that changes something.
    OfChange: 400 401 403 404 408 409 413 422 507;
}
