//! The style sheet, the script and the pictures, in the program itself.
//!
//! An asset's address has a digest of its content, so that browsers may keep it for good.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};

use crate::error::HubError;

/// Where they are.
pub const FOLDER: &str = "/-/assets/";

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
pub struct Addresses;

impl Addresses {
    /// The style sheet's.
    pub fn style(&self) -> &'static str {
        &ADDRESSES[0]
    }

    /// The script's.
    pub fn script(&self) -> &'static str {
        &ADDRESSES[1]
    }

    /// The icon's.
    pub fn icon(&self) -> &'static str {
        &ADDRESSES[2]
    }
}

/// `GET /-/assets/{digest}/{name}`. Of an older program's page the name still leads to the present content, which is not
/// kept then.
pub async fn get(Path((digest, name)): Path<(String, String)>) -> Result<Response, HubError> {
    let found = ASSETS.iter().position(|asset| asset.name == name);
    let found = found.ok_or(HubError::NoSuchAddress)?;
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
