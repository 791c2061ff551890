//! Converts errors of lower layers into errors of operations.

use dotmesh_api::{ErrorBody, ErrorCode};
use dotmesh_pool::PoolError;

use super::{NodeError, POOL_FULL};
use crate::engine::EngineError;

impl From<EngineError> for NodeError {
    fn from(error: EngineError) -> Self {
        Self::Docker {
            doing: "looking at containers".to_owned(),
            message: error.to_string(),
        }
    }
}

impl From<sqlx::Error> for NodeError {
    /// The registry is stored in the pool, so it is full when the pool is.
    fn from(error: sqlx::Error) -> Self {
        const SQLITE_FULL: &str = "13";
        let code = error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code);
        match code.as_deref() {
            Some(SQLITE_FULL) => Self::Pool(PoolError::Full {
                doing: "write the registry",
            }),
            _ => Self::Registry(error),
        }
    }
}

impl From<dotmesh_api::ClientError> for NodeError {
    fn from(error: dotmesh_api::ClientError) -> Self {
        Self::Transfer(error.into())
    }
}

impl From<dotmesh_sync::SealError> for NodeError {
    fn from(error: dotmesh_sync::SealError) -> Self {
        Self::Transfer(told(&error, ErrorCode::Internal))
    }
}

impl From<dotmesh_sync::DiskError> for NodeError {
    fn from(error: dotmesh_sync::DiskError) -> Self {
        Self::Transfer(told(&error, ErrorCode::Internal))
    }
}

impl From<dotmesh_sync::HubError> for NodeError {
    fn from(error: dotmesh_sync::HubError) -> Self {
        Self::Transfer(told(&error, ErrorCode::Internal))
    }
}

impl From<dotmesh_sync::MaterialiseError> for NodeError {
    fn from(error: dotmesh_sync::MaterialiseError) -> Self {
        Self::Transfer(told(&error, ErrorCode::Internal))
    }
}

impl From<dotmesh_model::commit::InvalidRecord> for NodeError {
    fn from(error: dotmesh_model::commit::InvalidRecord) -> Self {
        Self::Transfer(told(&error, ErrorCode::Corrupt))
    }
}

impl From<dotmesh_sync::HistoryError> for NodeError {
    fn from(error: dotmesh_sync::HistoryError) -> Self {
        Self::Transfer(told(&error, ErrorCode::Corrupt))
    }
}

/// The error with all its causes. If a hub's answer is the cause, it has the hub's code and hint.
fn told(error: &(dyn std::error::Error + 'static), otherwise: ErrorCode) -> ErrorBody {
    let mut body = ErrorBody::new(otherwise, error.to_string());
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !body.message.ends_with(&text) {
            body.message = format!("{}: {text}", body.message);
        }
        if let Some(client) = cause.downcast_ref::<dotmesh_api::ClientError>() {
            body.code = client.code();
            body.hint = client.hint();
            if let dotmesh_api::ClientError::Refused(refused) = client {
                body.moved_to.clone_from(&refused.moved_to);
            }
        }
        if let Some(io) = cause.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::StorageFull
        {
            body.code = ErrorCode::NoSpace;
            body.hint = Some(POOL_FULL.to_owned());
        }
        source = cause.source();
    }
    body
}
