//! How the parts of a path are described: once for each extractor of `extract.rs`.

use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{Ref, RefOr, Required, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use dotmesh_api::identity::IDENTITY_HEADER;
use dotmesh_model::{BranchName, CommitId, UserName};

use crate::extract::{
    BranchPath, CommitPath, DeliveryPath, DotIdPath, DotPath, NotePath, Paging, RefPath, TagPath,
    UploadPath, UserPath, WebhookPath,
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
        let limit = "The maximum number of entries on a page.";
        let after = "Where the page begins: the value from the `Link` header.";
        let name = ObjectBuilder::new().schema_type(Type::String);
        vec![part("limit", limit, number), part("after", after, name)]
    }
}

impl IntoParams for DotPath {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let dot = "The dot's name in that namespace, or one of its former names.";
        let meant = "The identity of the dot that the caller means, or `new` for a dot that a push creates. If the name \
                     belongs to another dot, the answer is `another_dot`.";
        let meant = ParameterBuilder::new()
            .name(IDENTITY_HEADER)
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(meant))
            .schema(Some(text("4567cdef4567cdef4567cdef4567cdef")))
            .build();
        vec![
            part("namespace", "The dot's owner.", name_of_user()),
            part("dot", dot, name_of_dot()),
            meant,
        ]
    }
}

parameters! {
    UserPath: ("user", "The user.", name_of_user());
    BranchPath: ("branch", "The name of the branch, percent-encoded, or its spelling, such as `feature~2flogin`.", name_of_branch());
    TagPath: ("tag", "The name of the tag, percent-encoded, or its spelling, such as `v1~2e2`.", name_of_branch());
    DotIdPath: ("id", "The dot's id in the list. Another dot may have its name now.", text("17"));
    CommitPath: ("commit", "The full id of a commit.", Ref::from_schema_name(CommitId::name()));
    NotePath: ("note", "The note's id.", text("17"));
    WebhookPath: ("webhook", "The webhook's id.", text("17"));
    DeliveryPath: ("delivery", "The delivery's id.", text("17"));
    RefPath:
        ("reference", "A branch, a tag, a commit id, or a prefix of one with at least six digits. Names are percent-encoded or spelled.", text("master"));
    UploadPath: ("upload", "The id of the upload.", text("5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f"));
}
