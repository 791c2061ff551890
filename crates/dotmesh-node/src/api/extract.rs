//! What requests bring along: the dot in the path, the query and the body. A request that does not fit is answered with
//! a problem.

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::request::Parts;
use dotmesh_api::{ErrorBody, ErrorCode};
use dotmesh_model::{BranchName, DotName};
use utoipa::IntoParams;
use utoipa::openapi::Required;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};

use super::ApiError;
use crate::error::NodeError;
use crate::view::At;

/// The body, as JSON.
#[derive(FromRequest)]
#[from_request(via(axum::Json), rejection(ApiError))]
pub(crate) struct Body<T>(pub(crate) T);

/// The query.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(ApiError))]
pub(super) struct Query<T>(pub(super) T);

/// The dot in a path: `{namespace}/{dot}`.
pub(super) struct DotPath(pub(super) DotName);

impl<S: Send + Sync> FromRequestParts<S> for DotPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((namespace, dot)) = path?;
        let namespace = namespace.parse().map_err(NodeError::from)?;
        let name = DotName::new(namespace, &dot).map_err(NodeError::from)?;
        Ok(Self(name))
    }
}

impl IntoParams for DotPath {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let part = |name: &str, description: &str, example: &str| {
            let schema = ObjectBuilder::new()
                .schema_type(Type::String)
                .pattern(Some("^[A-Za-z0-9_][A-Za-z0-9_-]{0,63}$"))
                .examples([example]);
            ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .description(Some(description))
                .schema(Some(schema))
                .build()
        };
        let namespace = "The dot's namespace. Dots that are made on this node are in `admin`.";
        let dot = "The dot's name in that namespace.";
        vec![
            part("namespace", namespace, "admin"),
            part("dot", dot, "tracker"),
        ]
    }
}

/// The id of a running operation in a path: `{id}`.
pub(super) struct OperationPath(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for OperationPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Path(id) = Path::<String>::from_request_parts(parts, state).await?;
        Ok(Self(id))
    }
}

impl IntoParams for OperationPath {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema = ObjectBuilder::new()
            .schema_type(Type::String)
            .examples(["0123456789abcdef"]);
        let id = ParameterBuilder::new()
            .name("id")
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .description(Some("The operation's id."))
            .schema(Some(schema))
            .build();
        vec![id]
    }
}

/// The dot in a path, and the branch that the request is about: `?branch=NAME`.
pub(super) struct AtPath(pub(super) At);

#[derive(serde::Deserialize)]
struct BranchQuery {
    branch: Option<BranchName>,
}

impl<S: Send + Sync> FromRequestParts<S> for AtPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let DotPath(dot) = DotPath::from_request_parts(parts, state).await?;
        let Query(BranchQuery { branch }) = Query::from_request_parts(parts, state).await?;
        Ok(Self(At { dot, branch }))
    }
}

impl IntoParams for AtPath {
    fn into_params(parameter_in: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let branch = ParameterBuilder::new()
            .name("branch")
            .parameter_in(ParameterIn::Query)
            .required(Required::False)
            .description(Some(
                "The branch that the request is about, such as a fork's. Without it, the one that is checked out.",
            ))
            .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
            .build();
        let mut all = DotPath::into_params(parameter_in);
        all.push(branch);
        all
    }
}

fn refused(status: StatusCode, text: &str) -> ApiError {
    let code = match status {
        StatusCode::PAYLOAD_TOO_LARGE => ErrorCode::TooLarge,
        _ => ErrorCode::Invalid,
    };
    ApiError(
        ErrorBody::new(
            code,
            format!("the node does not understand this request: {text}"),
        )
        .hint(
            "'dm' and 'dotmeshd' may have different versions: compare them with 'dm version'. \
             For other programs, 'GET /v1/openapi.json' describes each request.",
        ),
    )
}

impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> Self {
        refused(rejection.status(), &rejection.body_text())
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        refused(rejection.status(), &rejection.body_text())
    }
}

impl From<PathRejection> for ApiError {
    fn from(rejection: PathRejection) -> Self {
        refused(rejection.status(), &rejection.body_text())
    }
}
