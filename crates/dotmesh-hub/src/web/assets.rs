//! The style sheet, the script and the icon, which are compiled into the program.
//!
//! An asset's address contains a digest of its content, so browsers may cache it forever.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};

use crate::error::HttpError;

/// The path prefix of assets.
pub(crate) const FOLDER: &str = "/-/assets/";

struct Asset {
    name: &'static str,
    content_type: &'static str,
    content: &'static [u8],
}

macro_rules! asset {
    ($name:literal, $content_type:literal) => {
        Asset {
            name: $name,
            content_type: $content_type,
            content: include_bytes!(concat!("../../assets/", $name)),
        }
    };
}

const ASSETS: [Asset; 3] = [
    asset!("style.css", "text/css; charset=utf-8"),
    asset!("script.js", "text/javascript; charset=utf-8"),
    asset!("icon.svg", "image/svg+xml"),
];

/// The addresses, in the order of [`ASSETS`].
static ADDRESSES: LazyLock<Vec<String>> = LazyLock::new(|| {
    ASSETS
        .iter()
        .map(|asset| {
            let digest = hex::encode(&Sha256::digest(asset.content)[..8]);
            format!("{FOLDER}{digest}/{}", asset.name)
        })
        .collect()
});

/// The addresses that the layout needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses;

impl Addresses {
    /// Returns the style sheet's address.
    pub(crate) fn style(&self) -> &'static str {
        &ADDRESSES[0]
    }

    /// Returns the script's address.
    pub(crate) fn script(&self) -> &'static str {
        &ADDRESSES[1]
    }

    /// Returns the icon's address.
    pub(crate) fn icon(&self) -> &'static str {
        &ADDRESSES[2]
    }
}

/// `GET /-/assets/{digest}/{name}`. A page of an older version asks for another digest. It gets the present content,
/// which the browser then may not cache.
pub(crate) async fn get(
    Path((digest, name)): Path<(String, String)>,
) -> Result<Response, HttpError> {
    let found = ASSETS.iter().position(|asset| asset.name == name);
    let found = found.ok_or(HttpError::NoSuchAddress)?;
    let asset = &ASSETS[found];
    let current = ADDRESSES[found] == format!("{FOLDER}{digest}/{name}");
    let caching = if current {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static(asset.content_type),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static(caching)),
    ];
    Ok((headers, asset.content).into_response())
}
