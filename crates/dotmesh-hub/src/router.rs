//! Every route of the hub, and what surrounds them all.

use std::time::Instant;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{any, delete, get, post};

use crate::error::HubError;
use crate::pages;
use crate::routes::{
    begin_upload, commits, delete_dot, dot, dots, finish_upload, grant, missing, objects, revoke,
    send_pack, user, version,
};
use crate::state::Hub;
use crate::web;

/// The hub as a service.
pub fn router(hub: Hub) -> Router {
    let api = Router::new()
        .route("/version", get(version::get))
        .route("/user", get(user::get))
        .route("/dots", get(dots::get))
        .route(
            "/dots/{namespace}/{dot}",
            get(dot::get).delete(delete_dot::delete),
        )
        .route(
            "/dots/{namespace}/{dot}/collaborators/{user}",
            delete(revoke::delete).put(grant::put),
        )
        .route("/dots/{namespace}/{dot}/commits", get(commits::get))
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
        );

    // Names do not begin with `-`: what is below `/-/` is nobody's.
    let pages = Router::new()
        .route("/", get(pages::home::get))
        .route("/-/assets/{digest}/{name}", get(web::assets::get))
        .route("/-/login", get(pages::login::get).post(pages::login::post))
        .route("/-/logout", post(pages::logout::post))
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
        .fallback(async || HubError::NoSuchAddress)
        .method_not_allowed_fallback(async || HubError::WrongMethod)
        .layer(middleware::from_fn_with_state(
            hub.clone(),
            web::errors::as_pages,
        ));

    let api = api
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
        .layer(middleware::from_fn(log))
        .with_state(hub)
}

/// One line for each request. Neither headers nor bodies: they hold secrets and people's data.
async fn log(request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let start = Instant::now();
    let response = next.run(request).await;
    let (status, ms) = (
        response.status().as_u16(),
        start.elapsed().as_millis() as u64,
    );
    tracing::info!(%method, path, status, ms, "request");
    response
}
