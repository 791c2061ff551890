//! The node's description of its API: an OpenAPI document, derived from what stands at each route.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use dotmesh_api::node::{SwitchEvent, TransferEvent};
use dotmesh_api::{ErrorCode, PROBLEM_TYPE, Problem};
use utoipa::openapi::schema::{AnyOfBuilder, KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::tag::Tag;
use utoipa::openapi::{
    Components, ContentBuilder, InfoBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder,
    Schema, ServerBuilder,
};
use utoipa::{IntoResponses, PartialSchema, ToSchema};

/// What the operations are about, in the order in which people get to know them.
const TAGS: [(&str, &str); 13] = [
    ("node", "The node itself, and what it found out by itself."),
    ("dots", "Creating, reading, renaming and deleting dots."),
    ("commits", "The commits of a dot."),
    (
        "branches",
        "Deleting and renaming branches. A checkout creates them.",
    ),
    (
        "rows",
        "What is in the databases of a state, and what changed.",
    ),
    ("tags", "Names for single commits."),
    ("stashes", "Working copies that were put aside."),
    (
        "forks",
        "Copies of an app that run side by side, each on a branch of its own.",
    ),
    (
        "state",
        "The working copy: reading it, comparing it, and replacing it. Containers that use it are restarted.",
    ),
    ("operations", "The log of operations, with undo and redo."),
    ("transfers", "Pushing to a hub, and fetching from it."),
    (
        "running",
        "Long operations that run: attaching to them again, and stopping a transfer.",
    ),
    (
        "volumes",
        "Volumes for programs outside of containers, and copies from and to other volumes and archives.",
    ),
];

const DESCRIPTION: &str = "The API of a Dotmesh node, on a unix socket. `docs/node-api.md` is an introduction.\n\nEvery \
     error response is a problem (RFC 9457). Its `code` is for programs, its `detail` and `hint` are for people.\n\nA long \
     operation answers with `application/x-ndjson`: one line of JSON for each event, each with the schema that is given \
     here. The last line has the member `done` or `failed`.\n\nThe node ignores members that it does not know.";

/// What an answer with events has.
pub(super) const EVENTS: &str = "A line of JSON for each event. This is the schema of one line. The last line has the \
     member `done` or `failed`.";

/// The codes of which programs should know. A hub's codes are in the events of transfers only.
const CODES: [ErrorCode; 16] = [
    ErrorCode::Invalid,
    ErrorCode::NotFound,
    ErrorCode::Exists,
    ErrorCode::Diverged,
    ErrorCode::Behind,
    ErrorCode::Dirty,
    ErrorCode::Absent,
    ErrorCode::InUse,
    ErrorCode::AnotherDot,
    ErrorCode::Changed,
    ErrorCode::TooLarge,
    ErrorCode::Incomplete,
    ErrorCode::Corrupt,
    ErrorCode::Internal,
    ErrorCode::Unreachable,
    ErrorCode::NoSpace,
];

/// The name of the answer to a request that fails.
const PROBLEM: &str = "Problem";

/// The answers to a request that fails, of all operations.
pub(super) struct Problems;

impl IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let reference = RefOr::Ref(Ref::from_response_name(PROBLEM));
        BTreeMap::from([("default".to_owned(), reference)])
    }
}

/// A body that is no text.
pub(super) struct Binary;

impl PartialSchema for Binary {
    fn schema() -> RefOr<Schema> {
        let bytes = SchemaFormat::KnownFormat(KnownFormat::Binary);
        let schema = ObjectBuilder::new().schema_type(Type::String);
        schema.format(Some(bytes)).into()
    }
}

impl ToSchema for Binary {}

/// An event of a transfer or of a switch.
pub(super) struct AnyEvent;

impl PartialSchema for AnyEvent {
    fn schema() -> RefOr<Schema> {
        AnyOfBuilder::new()
            .item(Ref::from_schema_name(TransferEvent::name()))
            .item(Ref::from_schema_name(SwitchEvent::name()))
            .into()
    }
}

impl ToSchema for AnyEvent {}

/// Completes what the routes say of themselves.
pub(super) fn complete(mut document: OpenApi) -> OpenApi {
    document.info = InfoBuilder::new()
        .title("Dotmesh node")
        .description(Some(DESCRIPTION))
        .version(env!("CARGO_PKG_VERSION"))
        .build();
    let server = ServerBuilder::new().url("http://localhost").description(Some(
        "Over the node's unix socket, by default `/run/dotmesh/api.sock`. The host's name means nothing.",
    ));
    document.servers = Some(vec![server.build()]);
    let tags = TAGS.iter().map(|(name, description)| {
        let mut tag = Tag::new(*name);
        tag.description = Some((*description).to_owned());
        tag
    });
    document.tags = Some(tags.collect());
    let components = document.components.get_or_insert_with(Components::new);
    for (name, schema) in [
        (Problem::name(), Problem::schema()),
        (ErrorCode::name(), ErrorCode::schema()),
    ] {
        components.schemas.insert(name.into_owned(), schema);
    }
    let problem = RefOr::T(problem());
    components.responses.insert(PROBLEM.to_owned(), problem);
    document
}

fn problem() -> Response {
    let mut description = "The request failed. These are the statuses and codes:\n".to_owned();
    for code in CODES {
        let (status, text, title) = (code.status(), code.as_str(), code.title());
        let _ = write!(description, "\n- {status} `{text}`: {title}.");
    }
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(Problem::name())));
    ResponseBuilder::new()
        .description(description)
        .content(PROBLEM_TYPE, content.build())
        .build()
}
