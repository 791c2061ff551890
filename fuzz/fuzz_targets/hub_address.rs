//! Addresses of hubs as users write them. The client sends a login only to the host that is written there. It sends a
//! login in clear text only to the loopback interface or after an explicit `http://`.

#![no_main]

use dotmesh_api::HubAddress;
use libfuzzer_sys::fuzz_target;
use url::{Host, Url};

fuzz_target!(|text: &str| {
    let Ok(address) = text.parse::<HubAddress>() else {
        return;
    };
    let shown = address.to_string();
    assert_eq!(shown.parse().as_ref(), Ok(&address));
    // An address that cannot be part of a URL is refused when the hub is called.
    let Ok(url) = Url::parse(&format!("{shown}/api/v1/user")) else {
        return;
    };
    assert_eq!(url.path(), "/api/v1/user");
    assert!(url.username().is_empty() && url.password().is_none());
    assert!(url.query().is_none() && url.fragment().is_none());
    let is_loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => panic!("a hub without a host: {url}"),
    };
    assert!(
        url.scheme() == "https" || is_loopback || text.starts_with("http://"),
        "{url} is in clear"
    );
});
