//! Every route of the hub, and what surrounds them all.

use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{MethodRouter, any, delete, get, post};

use crate::error::HubError;
use crate::pages;
use crate::routes::{
    begin_login, begin_upload, branch, commits, delete_dot, dot, dots, finish_upload, fork_dot,
    forks, grant, health, login_state, metrics, missing, notes, objects, offer, offers, protection,
    reference, rename_dot, revoke, search, send_pack, settings, tags, trash, user, users, version,
};
use crate::state::Hub;
use crate::web;

/// Routes that can be listed. `tests/it/roles.rs` has a row for each.
struct Routes {
    router: Router<Hub>,
    prefix: &'static str,
    paths: Vec<String>,
}

impl Routes {
    fn below(prefix: &'static str) -> Self {
        Self {
            router: Router::new(),
            prefix,
            paths: Vec::new(),
        }
    }

    fn route(mut self, path: &'static str, methods: MethodRouter<Hub>) -> Self {
        self.paths.push(format!("{}{path}", self.prefix));
        self.router = self.router.route(path, methods);
        self
    }
}

/// The path of every route, as it is written below.
pub fn paths() -> Vec<String> {
    let routes = [api(), pages(), service()];
    routes.into_iter().flat_map(|routes| routes.paths).collect()
}

fn api() -> Routes {
    Routes::below("/api/v1")
        .route("/version", get(version::get))
        .route("/user", get(user::get))
        .route("/logins", post(begin_login::post))
        .route("/logins/token", post(login_state::post))
        .route("/dots", get(dots::get))
        .route(
            "/dots/{namespace}/{dot}",
            get(dot::get).delete(delete_dot::delete),
        )
        .route(
            "/dots/{namespace}/{dot}/collaborators/{user}",
            delete(revoke::delete).put(grant::put),
        )
        .route(
            "/dots/{namespace}/{dot}/settings",
            get(settings::get).patch(settings::patch),
        )
        .route("/dots/{namespace}/{dot}/rename", post(rename_dot::post))
        .route(
            "/dots/{namespace}/{dot}/offer",
            delete(offer::delete).put(offer::put),
        )
        .route("/dots/{namespace}/{dot}/fork", post(fork_dot::post))
        .route("/dots/{namespace}/{dot}/forks", get(forks::get))
        .route(
            "/dots/{namespace}/{dot}/branches/{branch}",
            delete(branch::delete).put(branch::put),
        )
        .route(
            "/dots/{namespace}/{dot}/protected/{branch}",
            delete(protection::delete).put(protection::put),
        )
        .route("/dots/{namespace}/{dot}/tags", get(tags::get))
        .route(
            "/dots/{namespace}/{dot}/tags/{tag}",
            delete(tags::delete).put(tags::put),
        )
        .route(
            "/dots/{namespace}/{dot}/notes",
            get(notes::get).post(notes::post),
        )
        .route(
            "/dots/{namespace}/{dot}/notes/{note}",
            delete(notes::delete),
        )
        .route("/offers", get(offers::get))
        .route("/offers/{id}", delete(offers::delete).post(offers::post))
        .route("/trash", get(trash::get))
        .route("/trash/{id}/restore", post(trash::post))
        .route("/users", get(users::get))
        .route("/search", get(search::get))
        .route("/dots/{namespace}/{dot}/commits", get(commits::get))
        .route(
            "/dots/{namespace}/{dot}/refs/{reference}",
            get(reference::get),
        )
        .route("/dots/{namespace}/{dot}/objects", post(objects::post))
        .route("/dots/{namespace}/{dot}/uploads", post(begin_upload::post))
        .route(
            "/dots/{namespace}/{dot}/uploads/{upload}/missing",
            post(missing::post),
        )
        .route(
            "/dots/{namespace}/{dot}/uploads/{upload}/packs",
            post(send_pack::post),
        )
        .route(
            "/dots/{namespace}/{dot}/uploads/{upload}/finish",
            post(finish_upload::post),
        )
}

// Names do not begin with `-`: what is below `/-/` is nobody's.
fn pages() -> Routes {
    Routes::below("")
        .route("/", get(pages::home::get))
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
        .route("/-/admin/events", get(pages::admin_events::get))
        .route("/-/offers", get(pages::offers::get))
        .route("/-/offers/take", post(pages::offers::take))
        .route("/-/offers/decline", post(pages::offers::decline))
        .route("/-/search", get(pages::search::get))
        .route("/-/trash", get(pages::trash::get))
        .route("/-/trash/restore", post(pages::trash::restore))
        .route("/-/{*rest}", any(async || HubError::NoSuchAddress))
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
            "/{namespace}/{dot}/commits/{branch}",
            get(pages::commits::get),
        )
        .route("/{namespace}/{dot}/compare", get(pages::compare::choose))
        .route(
            "/{namespace}/{dot}/compare/{range}",
            get(pages::compare::get),
        )
        .route("/{namespace}/{dot}/branches", post(pages::branches::post))
        .route(
            "/{namespace}/{dot}/branches/delete",
            post(pages::branches::delete),
        )
        .route(
            "/{namespace}/{dot}/fork",
            get(pages::fork::get).post(pages::fork::post),
        )
        .route("/{namespace}/{dot}/graph", get(pages::graph::get))
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
        .route("/{namespace}/{dot}/tags", post(pages::tags::post))
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

// For who runs it. No account has one of these names.
fn service() -> Routes {
    Routes::below("")
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::get))
}

/// The hub as a service.
pub fn router(hub: Hub) -> Router {
    let pages = pages()
        .router
        .merge(service().router)
        .fallback(async || HubError::NoSuchAddress)
        .method_not_allowed_fallback(async || HubError::WrongMethod)
        .layer(middleware::from_fn_with_state(
            hub.clone(),
            web::errors::as_pages,
        ));

    let api = api()
        .router
        .fallback(async || HubError::NoSuchAddress)
        .method_not_allowed_fallback(async || HubError::WrongMethod);

    Router::new()
        .nest("/api/v1", api)
        .merge(pages)
        .layer(middleware::from_fn(web::guard::same_origin))
        .layer(middleware::from_fn_with_state(
            hub.clone(),
            web::headers::add,
        ))
        .layer(middleware::from_fn_with_state(hub.clone(), log))
        .with_state(hub)
}

/// One line for each request, and its place in the metrics. Neither headers nor bodies nor queries: they hold secrets
/// and people's data.
async fn log(State(hub): State<Hub>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let start = Instant::now();
    let response = next.run(request).await;
    let (status, took) = (response.status().as_u16(), start.elapsed());
    let ms = took.as_millis() as u64;
    tracing::info!(%method, path, status, ms, "request");
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    hub.metrics.record(&method, route, status, took);
    response
}
