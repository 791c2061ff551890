//! Every route of the hub, and the middleware around them.

use std::sync::LazyLock;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{MethodRouter, any, get, post};
use axum::{Extension, Router};
use dotmesh_hub_service::Hub;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::HttpError;
use crate::intake;
use crate::openapi;
use crate::pages;
use crate::router_state::RouterState;
use crate::routes::{
    begin_login, begin_upload, branch, bundle, commits, databases, delete_dot, document, dot, dots,
    finish_upload, fork_dot, forks, grant, health, login_state, metrics, missing, notes, objects,
    offer, offers, protection, push_bundle, reference, rename_dot, revoke, search, send_pack,
    settings, tags, trash, user, users, version, webhook, webhook_deliveries, webhook_secret,
    webhooks, without_data,
};
use crate::web;

/// The path prefix of the API.
const API: &str = "/api/v1";

/// Routes with a list of their paths. `tests/hub/roles.rs` has a row for each path.
struct Routes {
    router: Router<RouterState>,
    paths: Vec<String>,
}

impl Routes {
    fn new() -> Self {
        Self {
            router: Router::new(),
            paths: Vec::new(),
        }
    }

    fn route(mut self, path: &'static str, methods: MethodRouter<RouterState>) -> Self {
        self.paths.push(path.to_owned());
        self.router = self.router.route(path, methods);
        self
    }
}

/// Returns the path pattern of every route.
pub fn paths() -> Vec<String> {
    let api = api().into_openapi().paths.paths.into_keys();
    let api = api.map(|path| format!("{API}{path}"));
    let others = [pages(), service()].into_iter();
    api.chain(others.flat_map(|routes| routes.paths)).collect()
}

/// The routes below [`API`]. Each handler declares its path, its method, and what it takes and returns.
fn api() -> OpenApiRouter<RouterState> {
    OpenApiRouter::new()
        .routes(routes!(version::get))
        .routes(routes!(document::get))
        .routes(routes!(user::get))
        .routes(routes!(users::get))
        .routes(routes!(search::get))
        .routes(routes!(begin_login::post))
        .routes(routes!(login_state::post))
        .routes(routes!(dots::get))
        .routes(routes!(dot::get, delete_dot::delete))
        .routes(routes!(grant::put, revoke::delete))
        .routes(routes!(settings::get, settings::patch))
        .routes(routes!(rename_dot::post))
        .routes(routes!(fork_dot::post))
        .routes(routes!(forks::get))
        .routes(routes!(offer::put, offer::delete))
        .routes(routes!(offers::get))
        .routes(routes!(offers::post, offers::delete))
        .routes(routes!(trash::get))
        .routes(routes!(trash::post))
        .routes(routes!(branch::put, branch::delete))
        .routes(routes!(protection::put, protection::delete))
        .routes(routes!(tags::get))
        .routes(routes!(tags::put, tags::delete))
        .routes(routes!(notes::get, notes::post))
        .routes(routes!(notes::delete))
        .routes(routes!(webhooks::get, webhooks::post))
        .routes(routes!(webhook::get, webhook::patch, webhook::delete))
        .routes(routes!(webhook_secret::post))
        .routes(routes!(webhook_deliveries::get))
        .routes(routes!(webhook_deliveries::ping))
        .routes(routes!(webhook_deliveries::redeliver))
        .routes(routes!(commits::get))
        .routes(routes!(bundle::get))
        .routes(routes!(without_data::get))
        .routes(routes!(databases::get, databases::put, databases::delete))
        .routes(routes!(reference::get))
        .routes(routes!(objects::post))
        .routes(routes!(begin_upload::post))
        .routes(routes!(push_bundle::put))
        .routes(routes!(missing::post))
        .routes(routes!(send_pack::post))
        .routes(routes!(finish_upload::post))
}

/// Returns the OpenAPI document of the API, as it is served and checked in.
pub fn document() -> openapi::Document {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let document = openapi::complete(api().into_openapi());
        serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
    });
    openapi::Document(&TEXT)
}

// No user name begins with `-`, so the paths below `/-/` are free for the hub's own pages.
fn pages() -> Routes {
    Routes::new()
        .route("/", get(pages::home::get))
        .route("/-/api", get(pages::api::get))
        .route("/-/assets/{digest}/{name}", get(web::assets::get))
        .route(
            "/-/authorize",
            get(pages::authorize::get).post(pages::authorize::post),
        )
        .route("/-/login", get(pages::login::get).post(pages::login::post))
        .route("/-/logout", post(pages::logout::post))
        .route(
            "/-/signup",
            get(pages::signup::get).post(pages::signup::post),
        )
        .route(
            "/-/password",
            get(pages::password::get).post(pages::password::post),
        )
        .route("/-/settings", get(pages::account::get))
        .route(
            "/-/settings/password",
            post(pages::account::change_password),
        )
        .route("/-/settings/sessions", post(pages::account::end_session))
        .route(
            "/-/settings/keys",
            get(pages::keys::get).post(pages::keys::post),
        )
        .route("/-/settings/keys/revoke", post(pages::keys::revoke))
        .route("/-/admin", get(pages::admin::get))
        .route("/-/admin/invitations", post(pages::admin::invite))
        .route("/-/admin/resets", post(pages::admin::reset))
        .route("/-/admin/quotas", post(pages::admin::set_quota))
        .route("/-/admin/suspensions", post(pages::admin::suspend))
        .route("/-/admin/events", get(pages::admin_events::get))
        .route("/-/admin/access", get(pages::admin_access::get))
        .route("/-/offers", get(pages::offers::get))
        .route("/-/offers/take", post(pages::offers::take))
        .route("/-/offers/decline", post(pages::offers::decline))
        .route("/-/search", get(pages::search::get))
        .route("/-/trash", get(pages::trash::get))
        .route("/-/trash/restore", post(pages::trash::restore))
        .route("/-/{*rest}", any(async || HttpError::NoSuchAddress))
        .route("/{namespace}", get(pages::owner::get))
        .route("/{namespace}/{dot}", get(pages::dot::get))
        .route("/{namespace}/{dot}/activity", get(pages::activity::get))
        .route(
            "/{namespace}/{dot}/commit/{reference}",
            get(pages::commit::get),
        )
        .route(
            "/{namespace}/{dot}/commits",
            get(pages::commits::get_default),
        )
        .route(
            "/{namespace}/{dot}/commits/{*branch}",
            get(pages::commits::get),
        )
        .route("/{namespace}/{dot}/compare", get(pages::compare::choose))
        .route(
            "/{namespace}/{dot}/compare/{range}",
            get(pages::compare::get),
        )
        .route(
            "/{namespace}/{dot}/branches",
            get(pages::branches::get).post(pages::branches::post),
        )
        .route(
            "/{namespace}/{dot}/branches/delete",
            post(pages::branches::delete),
        )
        .route(
            "/{namespace}/{dot}/fork",
            get(pages::fork::get).post(pages::fork::post),
        )
        .route("/{namespace}/{dot}/graph", get(pages::graph::get))
        .route("/{namespace}/{dot}/live", get(pages::live::get))
        .route("/{namespace}/{dot}/notes", post(pages::notes::post))
        .route(
            "/{namespace}/{dot}/notes/delete",
            post(pages::notes::delete),
        )
        .route(
            "/{namespace}/{dot}/settings",
            get(pages::settings::get).post(pages::settings::post),
        )
        .route(
            "/{namespace}/{dot}/settings/visibility",
            post(pages::settings::visibility),
        )
        .route(
            "/{namespace}/{dot}/settings/forks",
            post(pages::settings::forks),
        )
        .route(
            "/{namespace}/{dot}/settings/grant",
            post(pages::settings::grant),
        )
        .route(
            "/{namespace}/{dot}/settings/revoke",
            post(pages::settings::revoke),
        )
        .route(
            "/{namespace}/{dot}/settings/protect",
            post(pages::settings::protect),
        )
        .route(
            "/{namespace}/{dot}/settings/unprotect",
            post(pages::settings::unprotect),
        )
        .route(
            "/{namespace}/{dot}/settings/rename",
            post(pages::settings::rename),
        )
        .route(
            "/{namespace}/{dot}/settings/offer",
            post(pages::settings::offer),
        )
        .route(
            "/{namespace}/{dot}/settings/withdraw",
            post(pages::settings::withdraw),
        )
        .route(
            "/{namespace}/{dot}/settings/delete",
            post(pages::settings::delete),
        )
        .route(
            "/{namespace}/{dot}/settings/webhooks",
            get(pages::webhooks::get).post(pages::webhooks::post),
        )
        .route(
            "/{namespace}/{dot}/settings/webhooks/{webhook}",
            get(pages::webhook::get).post(pages::webhook::post),
        )
        .route(
            "/{namespace}/{dot}/settings/webhooks/{webhook}/switch",
            post(pages::webhook::switch),
        )
        .route(
            "/{namespace}/{dot}/settings/webhooks/{webhook}/secret",
            post(pages::webhook::renew_secret),
        )
        .route(
            "/{namespace}/{dot}/settings/webhooks/{webhook}/ping",
            post(pages::webhook::ping),
        )
        .route(
            "/{namespace}/{dot}/settings/webhooks/{webhook}/redeliver",
            post(pages::webhook::redeliver),
        )
        .route(
            "/{namespace}/{dot}/settings/webhooks/{webhook}/delete",
            post(pages::webhook::delete),
        )
        .route(
            "/{namespace}/{dot}/tags",
            get(pages::tags::get).post(pages::tags::post),
        )
        .route("/{namespace}/{dot}/tags/delete", post(pages::tags::delete))
        .route("/{namespace}/{dot}/tree", get(pages::tree::get_default))
        .route("/{namespace}/{dot}/tree/{reference}", get(pages::tree::get))
        .route(
            "/{namespace}/{dot}/tree/{reference}/{*path}",
            get(pages::tree::get),
        )
        .route(
            "/{namespace}/{dot}/raw/{reference}/{*path}",
            get(pages::raw::get),
        )
        .route(
            "/{namespace}/{dot}/archive/{reference}",
            get(pages::archive::get),
        )
        .route(
            "/{namespace}/{dot}/archive/{reference}/{*path}",
            get(pages::archive::get),
        )
}

// Routes for the operator. No account can have one of these names.
fn service() -> Routes {
    Routes::new()
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::get))
}

/// Returns the whole hub as a service.
pub fn router(hub: Hub) -> Router {
    let in_turn = middleware::from_fn_with_state(hub.clone(), intake::in_turn);
    let pages = pages()
        .router
        .layer(in_turn.clone())
        .merge(service().router)
        .fallback(async || HttpError::NoSuchAddress)
        .method_not_allowed_fallback(async || HttpError::WrongMethod)
        .layer(middleware::from_fn_with_state(
            hub.clone(),
            web::errors::as_pages,
        ));

    let (api, _) = api().split_for_parts();
    let api = api
        .fallback(async || HttpError::NoSuchAddress)
        .method_not_allowed_fallback(async || HttpError::WrongMethod)
        .layer(middleware::from_fn(web::etag::add))
        .layer(in_turn);

    Router::new()
        .nest(API, api)
        .merge(pages)
        .layer(Extension(document()))
        .layer(middleware::from_fn(web::guard::same_origin))
        .layer(middleware::from_fn_with_state(
            hub.clone(),
            web::headers::add,
        ))
        .layer(middleware::from_fn_with_state(hub.clone(), log))
        .layer(middleware::from_fn_with_state(hub.clone(), intake::admit))
        .with_state(RouterState(hub))
}

/// Logs a line for each request, and records it in the metrics. It doesn't log headers, bodies or queries, because they
/// contain secrets and personal data.
async fn log(State(hub): State<Hub>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let start = Instant::now();
    let response = next.run(request).await;
    if !method.is_safe() {
        hub.outbox.notify_one();
    }
    let (status, took) = (response.status().as_u16(), start.elapsed());
    let ms = took.as_millis() as u64;
    tracing::info!(%method, path, status, ms, "request");
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    hub.metrics.record(method.as_str(), route, status, took);
    response
}
