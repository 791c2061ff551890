//! The API's description of itself: an OpenAPI document, made of what stands at each route.
//!
//! A route is in the router because it is described: `router.rs` lists the handlers, and both the router and the document
//! are made of that list. The one that is checked in is `docs/openapi.json`.
//!
//! **A new route** is a handler with `#[utoipa::path]` in a file of `routes/`, and its name in `router.rs`. Its doc comment
//! is what the document says of it; `params` names the extractors of its path (described in `parameters.rs`) and its
//! query, and `responses` the success and one of the groups of problems of `refusals.rs`. It is in the security schemes'
//! hands unless it says `security`. Types of its bodies derive `ToSchema`. `UPDATE=1 cargo test -p dotmesh-hub --test hub
//! openapi` writes the document; the tests of roles check every answer against it.

use dotmesh_api::{ErrorCode, PROBLEM_TYPE, Problem};
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::tag::Tag;
use utoipa::openapi::{
    Components, ContentBuilder, HeaderBuilder, InfoBuilder, OpenApi, Ref, RefOr, Response,
    ResponseBuilder, Schema, ServerBuilder,
};
use utoipa::{PartialSchema, ToSchema};

mod parameters;
mod refusals;

use parameters::OwnName;

pub(crate) use refusals::{OfAnyone, OfChange, OfLookup, OfObjects, OfUser, OfView};

/// What the operations are about, in the order in which people get to know them.
const TAGS: [(&str, &str); 11] = [
    ("hub", "The hub itself, and the user who calls."),
    (
        "logins",
        "How a program gets an API key: it starts a login, and its user approves it in a browser.",
    ),
    ("dots", "Dots, their settings, forks and collaborators."),
    (
        "moving dots",
        "Moving dots to another owner, and restoring them from the trash.",
    ),
    (
        "branches",
        "Creating, deleting and protecting branches on the hub.",
    ),
    ("tags", "Fixed names of commits."),
    (
        "databases",
        "What is in the databases of a commit, as the machine that pushed it says.",
    ),
    ("notes", "What people write on a commit or a branch."),
    (
        "webhooks",
        "Addresses that the hub notifies of events of a dot, signed as in Standard Webhooks. For the owner only.",
    ),
    (
        "pulling",
        "Commits and objects, as `dm clone` and `dm pull` get them.",
    ),
    ("pushing", "Commits and objects, as `dm push` sends them."),
];

const DESCRIPTION: &str = "The API of a Dotmesh hub, *git for the state of a running app*. `docs/api.md` is an \
     introduction. `docs/protocol.md` describes how a client pushes and pulls dots.\n\nEvery error response is a problem \
     (RFC 9457). Its `code` is for programs, its `detail` and `hint` are for people. A caller who may not see a private dot \
     gets the same answer as for a dot that does not exist.";

/// A body that is no text.
#[derive(Debug)]
pub(crate) struct Binary;

impl PartialSchema for Binary {
    fn schema() -> RefOr<Schema> {
        let bytes = SchemaFormat::KnownFormat(KnownFormat::Binary);
        let schema = ObjectBuilder::new().schema_type(Type::String);
        schema.format(Some(bytes)).into()
    }
}

impl ToSchema for Binary {}

/// The document as it is served and checked in. The router makes it, and gives it to the routes that show it.
#[derive(Clone, Copy)]
pub struct Document(pub &'static str);

/// Completes what the routes say of themselves.
pub(crate) fn complete(mut document: OpenApi) -> OpenApi {
    document.info = InfoBuilder::new()
        .title("DotHub")
        .description(Some(DESCRIPTION))
        .version(env!("CARGO_PKG_VERSION"))
        .build();
    let server = ServerBuilder::new().url("/api/v1");
    document.servers = Some(vec![server.build()]);
    document.tags = Some(
        TAGS.iter()
            .map(|(name, description)| {
                let mut tag = Tag::new(*name);
                tag.description = Some((*description).to_owned());
                tag
            })
            .collect(),
    );
    document.security = Some(credentials());
    let components = document.components.get_or_insert_with(Components::new);
    components
        .schemas
        .insert(OwnName::name().into_owned(), OwnName::schema());
    describe_problems(components);
    for (name, scheme) in schemes() {
        components.add_security_scheme(name, scheme);
    }
    // No tool knows what a router's wildcard is.
    let paths = std::mem::take(&mut document.paths.paths);
    for (path, mut item) in paths {
        let operations = [
            &mut item.get,
            &mut item.put,
            &mut item.post,
            &mut item.delete,
            &mut item.patch,
        ];
        for operation in operations.into_iter().flatten() {
            may_always_fail(operation);
        }
        if let Some(operation) = &mut item.get {
            has_versions(operation);
            may_go_on(operation);
        }
        document.paths.paths.insert(path.replace("{*", "{"), item);
    }
    document
}

/// One of these is needed where an operation does not say otherwise.
fn credentials() -> Vec<SecurityRequirement> {
    ["key", "password", "session"]
        .map(|scheme| SecurityRequirement::new(scheme, [""; 0]))
        .to_vec()
}

fn schemes() -> [(&'static str, SecurityScheme); 3] {
    let key = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(
        "An API key: `Authorization: Bearer dmk_…`. Its scope (read, write or admin) limits what it allows. A key \
         can be limited to one dot.",
    ));
    let password = HttpBuilder::new()
        .scheme(HttpAuthScheme::Basic)
        .description(Some("A user name, and a password or an API key."));
    let session = ApiKeyValue::with_description(
        "__Host-dothub_session",
        "The session of a browser that is logged in on the hub's pages. Without TLS, the cookie is `dothub_session`. \
         Requests that change something must come from the hub's own pages.",
    );
    [
        ("key", SecurityScheme::Http(key.build())),
        ("password", SecurityScheme::Http(password.build())),
        ("session", SecurityScheme::ApiKey(ApiKey::Cookie(session))),
    ]
}

/// One answer for each status that problems have, which operations refer to.
fn describe_problems(components: &mut Components) {
    components
        .schemas
        .insert(Problem::name().into_owned(), Problem::schema());
    components
        .schemas
        .insert(ErrorCode::name().into_owned(), ErrorCode::schema());
    for (status, name) in refusals::STATUSES {
        let response = RefOr::T(problem(status));
        components.responses.insert(name.to_owned(), response);
    }
}

fn problem(status: u16) -> Response {
    let codes = ErrorCode::ALL.into_iter();
    let codes = codes.filter(|code| code.status() == status);
    let codes: Vec<_> = codes
        .map(|code| format!("{} (`{}`).", code.title(), code.as_str()))
        .collect();
    let description = match status {
        405 => "This address does not accept this method (`invalid`).".to_owned(),
        408 => "The request body did not arrive in time (`invalid`).".to_owned(),
        _ => codes.join(" "),
    };
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(Problem::name())));
    ResponseBuilder::new()
        .description(description)
        .content(PROBLEM_TYPE, content.build())
        .build()
}

/// What is answered in JSON has an `ETag`, and is not sent to who has it.
fn has_versions(operation: &mut Operation) {
    let responses = &mut operation.responses.responses;
    let Some(RefOr::T(found)) = responses.get_mut("200") else {
        return;
    };
    if !found.content.contains_key("application/json") {
        return;
    }
    let tag =
        HeaderBuilder::new().description(Some("The version of the response, for `If-None-Match`."));
    found
        .headers
        .insert("ETag".to_owned(), RefOr::T(tag.build()));
    let same = ResponseBuilder::new()
        .description("The client already has this version, according to its `If-None-Match`.");
    responses.insert("304".to_owned(), RefOr::T(same.build()));
}

/// A list in pages says where the next one is.
fn may_go_on(operation: &mut Operation) {
    let mut parameters = operation.parameters.iter().flatten();
    let is_list = parameters
        .any(|parameter| matches!(parameter, RefOr::T(parameter) if parameter.name == "after"));
    if let (true, Some(RefOr::T(page))) = (is_list, operation.responses.responses.get_mut("200")) {
        let link = HeaderBuilder::new().description(Some(
            "The next page, if there is one: `<ADDRESS>; rel=\"next\"` (RFC 8288).",
        ));
        page.headers
            .insert("Link".to_owned(), RefOr::T(link.build()));
    }
}

fn may_always_fail(operation: &mut Operation) {
    for status in [429, 500] {
        let (status, response) = refusals::refer(status);
        operation.responses.responses.insert(status, response);
    }
}
