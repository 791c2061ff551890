//! Answers that the server did not send: they come from a proxy in front of it, or from a network on the way.

use std::fmt;
use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap, LOCATION, RETRY_AFTER};

/// The largest body that a client sends, in MiB. It is that of the request that finishes a push.
const LARGEST_BODY: u32 = 64;

/// An answer that does not follow Dotmesh's protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// The server that the client called.
    pub server: String,
    /// The HTTP status.
    pub status: u16,
    /// The target of a redirect.
    pub location: Option<String>,
    /// The time to wait before the next attempt, if the answer has one.
    pub retry_after: Option<Duration>,
    /// Whether the body is JSON. Then another kind of server sent it.
    pub is_json: bool,
}

impl Foreign {
    pub(crate) fn new(server: &str, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let location = headers.get(LOCATION).and_then(|to| to.to_str().ok());
        Self {
            server: server.to_owned(),
            status: status.as_u16(),
            location: location.map(str::to_owned),
            retry_after: retry_after(headers),
            is_json: serde_json::from_slice::<serde_json::Value>(body).is_ok(),
        }
    }

    /// Whether a later attempt may succeed, as after a broken connection. Cloudflare uses statuses from 520 on for a
    /// server that it cannot reach.
    pub fn is_transient(&self) -> bool {
        match self.status {
            200..=299 => !self.is_json,
            302 | 303 | 307 | 408 | 425 | 429 | 502..=504 | 520..=524 | 530 => true,
            _ => false,
        }
    }

    /// Whether the status shows that a proxy sent the answer. Other servers send the remaining statuses, too.
    pub fn says_who(&self) -> bool {
        self.hint().is_some() && !matches!(self.status, 200..=299)
    }

    /// Whether a proxy stopped waiting for the server, which may still be working.
    pub fn is_timeout(&self) -> bool {
        matches!(self.status, 504 | 524)
    }

    /// The next step for the user. `None` if it is only known that no hub answers there.
    pub fn hint(&self) -> Option<String> {
        let hint = match self.status {
            200..=299 if self.is_json => return None,
            200..=299 | 302 | 303 | 307 | 511 => {
                "If a network on the way wants a login, open any page in a browser on this machine and log in. Then \
                 try again."
            }
            301 | 308 => return self.moved(),
            400 if self.server.starts_with("http://") => {
                "If HTTPS is spoken at this port, write https:// before the host."
            }
            401 => {
                "A proxy in front of the hub asks for a login of its own. It must leave /api/ to the hub, which \
                 checks its users' keys itself."
            }
            403 => {
                "A firewall or a proxy on the way forbids it: ask its administrator to let requests to the hub's \
                 /api/ pass."
            }
            405 | 501 => {
                "A proxy on the way must let the methods GET, POST, PUT, PATCH and DELETE pass to the hub's /api/."
            }
            407 => PROXY_LOGIN,
            408 => {
                "The way to the hub is slow, and a proxy gave up. Let it wait longer, and pass requests on as \
                 they come; in nginx: 'client_body_timeout 15m;' and 'proxy_request_buffering off;'."
            }
            411 => {
                "A proxy on the way changes requests so that they have no length. Have it pass them on with \
                 HTTP/1.1; in nginx: 'proxy_http_version 1.1;'."
            }
            413 => {
                return Some(format!(
                    "A proxy in front of the hub limits the size of requests. It has to take {LARGEST_BODY} MiB; \
                     in nginx: 'client_max_body_size {LARGEST_BODY}m;'."
                ));
            }
            414 | 431 => {
                "A proxy on the way limits the length of addresses and headers. It has to take 8 KiB of each; in \
                 nginx: 'large_client_header_buffers 4 16k;'."
            }
            425 => "The connection was too young for the proxy. Try again.",
            429 => {
                "A proxy on the way limits how often it is asked. Try again later, or have the limit raised."
            }
            502 | 521 | 523 | 530 => {
                "The proxy in front of the hub does not reach it: see whether 'dothub' runs, and where the proxy \
                 looks for it."
            }
            503 => {
                "The hub or the proxy in front of it is being maintained, or has too much to do. Try again later."
            }
            504 | 522 | 524 => {
                "The proxy in front of the hub waits too short for it. It has to wait 15 minutes; in nginx: \
                 'proxy_read_timeout 15m;'."
            }
            507 => {
                "The proxy in front of the hub has no room to keep requests in. Have it pass them on as they come; \
                 in nginx: 'proxy_request_buffering off;'."
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }

    /// The error for a permanent redirect. The client does not follow it, because that would send the key to any
    /// server that it names.
    fn moved(&self) -> Option<String> {
        let to = self.location.as_deref()?;
        let origin = match to.split_once("://") {
            Some((scheme, rest)) => format!("{scheme}://{}", rest.split('/').next()?),
            None => return None,
        };
        Some(format!(
            "If you trust it, log in to the hub there: 'dm login {origin}', and use that remote instead."
        ))
    }
}

/// The hint for a proxy that requires a login.
pub(crate) const PROXY_LOGIN: &str = "The proxy asks for a login. Write it into the proxy's address, \
     'http://USER:PASSWORD@HOST:PORT', in --https-proxy of 'dotmeshd' or in the variable HTTPS_PROXY.";

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, status, .. } = self;
        match (self.status, &self.location) {
            (200..=299, _) if !self.is_json => write!(
                f,
                "something on the way to {server} answered in its place (status {status})"
            )?,
            (300..400, Some(to)) => write!(f, "{server} redirects to {to} (status {status})")?,
            _ => {
                write!(f, "{server} answered with status {status}")?;
                let known = StatusCode::from_u16(*status).ok();
                match known.and_then(|status| status.canonical_reason()) {
                    Some(reason) => write!(f, " {reason}, not in Dotmesh's protocol")?,
                    None => f.write_str(", not in Dotmesh's protocol")?,
                }
            }
        }
        match self.retry_after {
            Some(wait) if !wait.is_zero() => {
                write!(f, ", and says to wait {} s", wait.as_secs().max(1))
            }
            _ => Ok(()),
        }
    }
}

/// The time to wait according to an answer: in seconds, or as a date by the sender's clock.
#[expect(
    clippy::disallowed_methods,
    reason = "only for senders that don't tell their own time"
)]
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let until = httpdate::parse_http_date(text).ok()?;
    let told = headers.get(DATE).and_then(|date| date.to_str().ok());
    let now = told.and_then(|date| httpdate::parse_http_date(date).ok());
    let wait = until.duration_since(now.unwrap_or_else(SystemTime::now));
    Some(wait.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(reqwest::header::HeaderName, &str)]) -> HeaderMap {
        let pairs = pairs.iter().cloned();
        pairs
            .map(|(name, value)| (name, value.parse().expect("a value")))
            .collect()
    }

    fn foreign(server: &str, status: u16, headers: &HeaderMap, body: &str) -> Foreign {
        let status = StatusCode::from_u16(status).expect("a status");
        Foreign::new(server, status, headers, body.as_bytes())
    }

    #[test]
    fn a_wait_is_seconds_or_a_date() {
        let now = "Sun, 06 Nov 1994 08:49:37 GMT";
        for (said, seconds) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sunday, 06-Nov-94 08:50:37 GMT", Some(60)),
            ("Sun Nov  6 08:50:37 1994", Some(60)),
            // The date has passed.
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
        ] {
            let wait = retry_after(&headers(&[(RETRY_AFTER, said), (DATE, now)]));
            assert_eq!(wait, seconds.map(Duration::from_secs), "{said:?}");
        }
        // Without the sender's clock, the local clock counts.
        let far = retry_after(&headers(&[(RETRY_AFTER, "Fri, 31 Dec 9999 23:59:59 GMT")]));
        assert!(far.expect("a wait") > Duration::from_secs(1 << 30));
    }

    #[test]
    fn a_final_answer_has_the_setting_that_helps() {
        for (status, says) in [
            (401, "login of its own"),
            (403, "/api/"),
            (405, "methods"),
            (407, "--https-proxy"),
            (411, "proxy_http_version 1.1;"),
            (413, "client_max_body_size 64m;"),
            (414, "large_client_header_buffers"),
            (431, "large_client_header_buffers"),
            (507, "proxy_request_buffering off;"),
            (511, "browser"),
        ] {
            let answer = foreign("https://hub", status, &HeaderMap::new(), "<html>");
            assert!(!answer.is_transient(), "{status}");
            assert!(answer.hint().expect("a hint").contains(says), "{status}");
        }
    }

    #[test]
    fn an_answer_that_passes_has_the_setting_that_avoids_it() {
        for (status, says) in [
            (200, "browser"),
            (204, "browser"),
            (302, "browser"),
            (307, "browser"),
            (408, "client_body_timeout"),
            (429, "limits how often"),
            (502, "dothub"),
            (503, "Try again later"),
            (504, "proxy_read_timeout 15m;"),
            (522, "proxy_read_timeout 15m;"),
        ] {
            let answer = foreign("https://hub", status, &HeaderMap::new(), "<html>");
            assert!(answer.is_transient(), "{status}");
            assert!(answer.hint().expect("a hint").contains(says), "{status}");
        }
    }

    #[test]
    fn a_redirect_for_good_names_the_address_to_use() {
        for status in [301, 308] {
            let to = headers(&[(LOCATION, "https://hub.example.com/api/v1/version")]);
            let answer = foreign("http://hub.example.com", status, &to, "");
            assert!(!answer.is_transient());
            let says = "http://hub.example.com redirects to https://hub.example.com/api/v1/version";
            assert!(answer.to_string().starts_with(says), "{answer}");
            let hint = answer.hint().expect("a hint");
            assert!(
                hint.contains("'dm login https://hub.example.com'"),
                "{hint}"
            );
        }
    }

    #[test]
    fn another_servers_json_is_no_hub_for_good() {
        let answer = foreign("http://hub", 200, &HeaderMap::new(), "{\"status\": \"ok\"}");
        assert!(!answer.is_transient());
        assert_eq!(answer.hint(), None);
    }
}
