//! The schemas of ids and names in the hub's OpenAPI document: strings with a pattern.

use std::borrow::Cow;

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::ids::{CommitId, DotIdentity, ObjectHash, StashId};
use crate::names::{BranchName, DotName, UserName};

macro_rules! text_schema {
    ($type:ident, $description:literal, $pattern:expr, $example:literal) => {
        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .description(Some($description))
                    .pattern(Some($pattern))
                    .examples([$example])
                    .into()
            }
        }

        impl ToSchema for $type {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($type))
            }
        }
    };
}

const NAME: &str = "^[A-Za-z0-9_][A-Za-z0-9_-]{0,63}$";

text_schema!(
    CommitId,
    "The id of a commit: 128 random bits.",
    "^[0-9a-f]{32}$",
    "0123abcd0123abcd0123abcd0123abcd"
);
text_schema!(
    DotIdentity,
    "The identity of a dot: 128 random bits. A rename or a new owner does not change it. A fork has its \
     own identity, and so does a new dot with the name of a deleted one.",
    "^[0-9a-f]{32}$",
    "4567cdef4567cdef4567cdef4567cdef"
);
text_schema!(
    StashId,
    "The id of a stash: 128 random bits.",
    "^[0-9a-f]{32}$",
    "89ab89ab89ab89ab89ab89ab89ab89ab"
);
text_schema!(
    ObjectHash,
    "The BLAKE3 digest of an object.",
    "^[0-9a-f]{64}$",
    "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
);
text_schema!(
    BranchName,
    "The name of a branch or a tag, at most 200 bytes. The grammar is git's: single slashes separate parts, and no \
     part begins with a dot or ends with `.lock`. The name contains no `..` and no `@{`, and does not end with a dot.",
    r"^[^\x00-\x20\x7f~^:?*\[\\/.-][^\x00-\x20\x7f~^:?*\[\\]{0,199}$",
    "feature/login"
);
text_schema!(UserName, "The name of an account.", NAME, "alice");
text_schema!(
    DotName,
    "The full name of a dot: its owner's name, a slash, and its own name.",
    "^[A-Za-z0-9_][A-Za-z0-9_-]{0,63}/[A-Za-z0-9_][A-Za-z0-9_-]{0,63}$",
    "alice/tracker"
);
