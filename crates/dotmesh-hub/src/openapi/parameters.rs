//! How the parts of a path are described: once for each extractor of `extract.rs`.

use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{Ref, RefOr, Required, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use dotmesh_api::identity::IDENTITY_HEADER;
use dotmesh_model::{BranchName, UserName};

use crate::extract::{
    BranchPath, DeliveryPath, DotIdPath, DotPath, NotePath, Paging, RefPath, TagPath, UploadPath,
    UserPath, WebhookPath,
};

fn part(name: &str, description: &str, schema: impl Into<RefOr<Schema>>) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some(description))
        .schema(Some(schema))
        .build()
}

fn text(example: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .examples([example])
}

fn name_of_user() -> Ref {
    Ref::from_schema_name(UserName::name())
}

/// A dot's name without its namespace.
#[derive(Debug)]
pub(super) struct OwnName;

impl PartialSchema for OwnName {
    fn schema() -> RefOr<Schema> {
        text("tracker")
            .description(Some("The name of a dot in its namespace."))
            .pattern(Some("^[A-Za-z0-9_][A-Za-z0-9_-]{0,63}$"))
            .into()
    }
}

impl ToSchema for OwnName {}

fn name_of_dot() -> Ref {
    Ref::from_schema_name(OwnName::name())
}

fn name_of_branch() -> Ref {
    Ref::from_schema_name(BranchName::name())
}

macro_rules! parameters {
    ($($extractor:ty: $(($name:literal, $description:literal, $schema:expr))*;)*) => {$(
        impl IntoParams for $extractor {
            fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
                vec![$(part($name, $description, $schema)),*]
            }
        }
    )*};
}

impl IntoParams for Paging {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let part = |name: &str, description: &str, schema: ObjectBuilder| {
            ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Query)
                .required(Required::False)
                .description(Some(description))
                .schema(Some(schema))
                .build()
        };
        let number = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(1))
            .maximum(Some(1000))
            .default(Some(100.into()));
        let limit = "The most entries of a page.";
        let after = "Where the page begins, as the `Link` to it says.";
        let name = ObjectBuilder::new().schema_type(Type::String);
        vec![part("limit", limit, number), part("after", after, name)]
    }
}

impl IntoParams for DotPath {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let dot = "The dot's name in that namespace, or one that it had.";
        let meant = "The identity of the dot that is meant, or `new` for one that a push is about to make. Where the name \
                     is another dot's, the answer is `another_dot`.";
        let meant = ParameterBuilder::new()
            .name(IDENTITY_HEADER)
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(meant))
            .schema(Some(text("4567cdef4567cdef4567cdef4567cdef")))
            .build();
        vec![
            part("namespace", "Whose dot it is.", name_of_user()),
            part("dot", dot, name_of_dot()),
            meant,
        ]
    }
}

parameters! {
    UserPath: ("user", "The user.", name_of_user());
    BranchPath: ("branch", "The branch: its name, percent-encoded, or its spelling, as in `feature~2flogin`.", name_of_branch());
    TagPath: ("tag", "The tag: its name, percent-encoded, or its spelling, as in `v1~2e2`.", name_of_branch());
    DotIdPath: ("id", "What the list calls the dot by: its name may be another's.", text("17"));
    NotePath: ("note", "The note's id.", text("17"));
    WebhookPath: ("webhook", "The webhook's id.", text("17"));
    DeliveryPath: ("delivery", "The delivery's id.", text("17"));
    RefPath:
        ("reference", "A branch, a tag, or the id of a commit or the first six digits or more of it. Names are percent-encoded or spelled.", text("master"));
    UploadPath: ("upload", "The id that the upload was begun with.", text("5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f"));
}
