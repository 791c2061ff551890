//! Tests of the hub through its public interface: a real server, called by the client that everyone uses.

#![expect(
    clippy::unwrap_used,
    reason = "in a test it says where the test failed"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "tests run by the system's clock, and with its randomness"
)]

mod abandoned;
mod account_pages;
mod accounts;
mod activity;
mod ambient;
mod api;
mod api_guide;
mod audit;
mod backup;
mod bounds;
mod branch_names;
mod branches;
mod browse;
mod bundles;
mod capability;
mod check;
mod cli;
mod connectivity;
mod cuts;
mod damage;
mod database_files;
mod databases;
mod deltas;
mod device_logins;
mod dot_pages;
mod dots;
mod faults;
mod forks;
mod full_disk;
mod garbage;
mod greedy;
mod identity;
mod left_out;
mod limits;
mod lookup;
mod moving;
mod narrow_keys;
mod nginx;
mod openapi;
mod page_texts;
mod pages;
mod paging;
mod place;
mod postgres;
#[path = "../../../dotmesh-store/tests/it/promises.rs"]
mod promises;
mod publishing;
mod push;
mod quotas;
mod repack;
mod repack_damage;
mod restart;
mod roles;
mod s3;
mod scaling;
mod search;
mod security;
mod several;
mod slow;
mod stores;
mod supervised;
mod support;
mod suspension;
mod time;
mod tls;
mod tree_pages;
#[expect(
    dead_code,
    reason = "what only one filesystem does is not asked for here"
)]
#[path = "../../../dotmesh-sync/tests/it/trees.rs"]
mod trees;
mod visible_text;
mod webhooks;
mod without_data;
