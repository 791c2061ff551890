//! A plain HTTP client of the API, without the project's typed client.

use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use serde_json::Value;

use crate::openapi;
use crate::support::TestHub;

/// An API client with a user's key.
pub(crate) struct Api {
    http: reqwest::Client,
    url: String,
    key: String,
}

impl Api {
    pub(crate) fn new(hub: &TestHub, key: &str) -> Self {
        Self::at(&hub.url, key)
    }

    /// A client of the hub at an address.
    pub(crate) fn at(url: &str, key: &str) -> Self {
        Self {
            http: reqwest::Client::new(),
            url: format!("{url}/api/v1"),
            key: key.to_owned(),
        }
    }

    /// Returns the status, and the body as JSON: null if it is empty.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let mut request = self
            .http
            .request(method.parse().unwrap(), format!("{}/{path}", self.url))
            .bearer_auth(&self.key);
        if !body.is_null() {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        let content_type = response.headers().get(CONTENT_TYPE).cloned();
        let content_type = content_type.as_ref().map(|value| value.to_str().unwrap());
        let text = response.text().await.unwrap();
        let checked = openapi::check(
            method,
            &format!("/{path}"),
            status.as_u16(),
            content_type,
            &text,
        );
        assert_eq!(checked, Ok(()), "{method} {path}");
        if text.is_empty() {
            return (status.as_u16(), Value::Null);
        }
        (status.as_u16(), serde_json::from_str(&text).unwrap())
    }

    /// Returns the answer to a request that must succeed.
    #[track_caller]
    pub(crate) fn done(
        &self,
        method: &str,
        path: &str,
        body: Value,
    ) -> impl Future<Output = Value> {
        let at = std::panic::Location::caller();
        let (method, path) = (method.to_owned(), path.to_owned());
        async move {
            let (status, answer) = self.call(&method, &path, body).await;
            let is_success = StatusCode::from_u16(status).unwrap().is_success();
            assert!(is_success, "{method} {path}: {status} {answer} at {at}");
            answer
        }
    }

    /// Returns the error code of a request that must be refused.
    pub(crate) async fn refused(&self, method: &str, path: &str, body: Value) -> String {
        let (status, answer) = self.call(method, path, body).await;
        assert!(status >= 400, "{method} {path}: {status} {answer}");
        answer["code"].as_str().unwrap().to_owned()
    }
}
