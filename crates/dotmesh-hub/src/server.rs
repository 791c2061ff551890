//! The listener: accepts connections, with TLS or without, gives each its time limits, ends them in order.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use crate::extract::Peer;
use crate::tls::Tls;

/// How long a client may take to send a request's head, and to begin the next one on its connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a client may take to agree on a TLS connection.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long running requests get to end when the server is told to.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(25);

/// Connections at once; more wait.
const MAX_CONNECTIONS: usize = 1024;

/// Listens on an address; port 0 lets the system choose.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until `shutdown` is done, then lets running requests end.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    router: Router,
    shutdown: impl Future<Output = ()>,
) {
    let graceful = GracefulShutdown::new();
    let connections = std::sync::Arc::new(tokio::sync::Semaphore::new(MAX_CONNECTIONS));
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accept = async {
            let turn = connections.clone().acquire_owned().await;
            (listener.accept().await, turn)
        };
        let (accepted, turn) = tokio::select! {
            accepted = accept => accepted,
            () = &mut shutdown => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file handles, most likely: some connection will end.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Small answers go out at once.
        let _ = stream.set_nodelay(true);
        let router = TowerToHyperService::new(router.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            request
                .extensions_mut()
                .insert(Peer(peer.ip().to_canonical()));
            router.call(request)
        });
        let acceptor = tls.as_ref().map(Tls::acceptor);
        let watcher = graceful.watcher();
        tokio::spawn(async move {
            let _turn = turn;
            let Some(stream) = open(stream, acceptor).await else {
                return;
            };
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            // Clients hang up at any time: not the server's fault, nor its operator's business.
            if let Err(error) = watcher.watch(connection).await {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(SHUTDOWN_TIMEOUT, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("some requests did not end in time");
    }
}

/// A connection as the client's requests come through it; `None` when it never came to that.
async fn open(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
) -> Option<Either<TcpStream, TlsStream<TcpStream>>> {
    let Some(acceptor) = acceptor else {
        return Some(Either::Left(stream));
    };
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => Some(Either::Right(stream)),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a client does not speak TLS, or does not trust the certificate");
            None
        }
        Err(_) => None,
    }
}
