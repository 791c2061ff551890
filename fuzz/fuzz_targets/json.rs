//! JSON from hubs, nodes, clients and pools, lists of hashes, and bundles. A value that can be read is written so that it
//! reads the same.

#![no_main]

use bytes::Bytes;
use dotmesh_api::hub::{
    BranchUpdate, CommitList, CurrentUser, FinishUpload, GrantAccess, HubDot, HubVersion, Upload,
};
use dotmesh_api::node::{
    Checkout, CreateCommit, DotDetail, Fetch, Log, MountVolume, Reset, Transfer, TransferEvent,
};
use dotmesh_api::{Bundle, Problem, hub_client};
use dotmesh_pool::{DotFile, FormatFile};
use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;

fuzz_target!(|data: &[u8]| {
    if let Some(hashes) = hub_client::split(data) {
        assert_eq!(hub_client::join(&hashes), data);
    }
    if let Some(bundle) = Bundle::decode(&Bytes::copy_from_slice(data)) {
        assert_eq!(bundle.encode(), data);
    }
    for check in [
        reads_the_same::<HubVersion>,
        reads_the_same::<CurrentUser>,
        reads_the_same::<HubDot>,
        reads_the_same::<Vec<HubDot>>,
        reads_the_same::<GrantAccess>,
        reads_the_same::<CommitList>,
        reads_the_same::<Upload>,
        reads_the_same::<FinishUpload>,
        reads_the_same::<BranchUpdate>,
        reads_the_same::<Problem>,
        reads_the_same::<Transfer>,
        reads_the_same::<Fetch>,
        reads_the_same::<TransferEvent>,
        reads_the_same::<DotDetail>,
        reads_the_same::<Log>,
        reads_the_same::<CreateCommit>,
        reads_the_same::<Checkout>,
        reads_the_same::<Reset>,
        reads_the_same::<MountVolume>,
        reads_the_same::<FormatFile>,
        reads_the_same::<DotFile>,
    ] {
        check(data);
    }
});

fn reads_the_same<T: Serialize + DeserializeOwned>(data: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<T>(data) {
        let written = serde_json::to_string(&value).expect("what was read can be written");
        let again: T = serde_json::from_str(&written).expect("and read again");
        assert_eq!(serde_json::to_string(&again).expect("written"), written);
    }
}
