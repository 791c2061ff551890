//! How the parts of a path are described: once for each extractor of `extract.rs`.

use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{Ref, RefOr, Required, Schema};
use utoipa::{IntoParams, ToSchema as _};

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

parameters! {
    DotPath:
        ("namespace", "Whose dot it is.", name_of_user())
        ("dot", "The dot's name in that namespace, or one that it had.", name_of_branch());
    UserPath: ("user", "The user.", name_of_user());
    BranchPath: ("branch", "The branch.", name_of_branch());
    TagPath: ("tag", "The tag.", name_of_branch());
    DotIdPath: ("id", "What the list calls the dot by: its name may be another's.", text("17"));
    NotePath: ("note", "The note's id.", text("17"));
    WebhookPath: ("webhook", "The webhook's id.", text("17"));
    DeliveryPath: ("delivery", "The delivery's id.", text("17"));
    RefPath:
        ("reference", "A branch, a tag, or the id of a commit or the first six digits or more of it.", text("master"));
    UploadPath: ("upload", "The id that the upload was begun with.", text("5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f"));
}
