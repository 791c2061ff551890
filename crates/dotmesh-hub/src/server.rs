//! The listener: it accepts connections with or without TLS, sets their time limits, and shuts them down gracefully.

mod paced;

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use dotmesh_hub_model::limits::Pace;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::address::network;
use dotmesh_hub_service::rate_limit::Subject;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use self::paced::Paced;
use crate::extract::Peer;
use crate::tls::Tls;

/// How long running requests may take to finish at a shutdown.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(25);

/// The size of a connection's read buffer, and so the longest head of a request. It is small, so that all connections
/// together use little memory.
const BUFFER_LENGTH: usize = 32 << 10;

/// The length of the kernel's queue of connections. A shorter queue would drop connections of a burst, and clients
/// would retry after a second.
const BACKLOG: u32 = 4096;

/// The most unsent bytes that the kernel buffers for a connection. With a larger buffer, a slow client would seem to
/// take nothing while the buffer drains.
const UNSENT_LENGTH: u32 = 64 << 10;

/// Listens on an address. With port 0, the kernel chooses the port.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A restarted hub must not wait until the kernel forgets its old connections.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves the hub until `shutdown` completes, then waits for running requests.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    hub: &Hub,
    router: Router,
    shutdown: impl Future<Output = ()>,
) {
    let graceful = GracefulShutdown::new();
    let pace = hub.settings.pace;
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut shutdown => break,
        };
        let (stream, peer) = match accepted {
            Ok((stream, peer)) => (stream, peer.ip().to_canonical()),
            Err(error) => {
                // The process has most likely run out of file descriptors. Another connection will end soon.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (subject, head) = match hub.settings.is_trusted_proxy(peer) {
            true => (Subject::Proxy, pace.head_of_proxy),
            false => (Subject::Network(network(peer)), pace.head),
        };
        let Some(turn) = hub.turns.connections.try_take(&subject, 1) else {
            // Waiting for a free turn here would block the connections behind it.
            tracing::debug!(%peer, "a connection too many was closed");
            hub.metrics.connection_refused();
            continue;
        };
        // Send small responses without delay.
        let _ = stream.set_nodelay(true);
        let _ = SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_LENGTH);
        let router = TowerToHyperService::new(router.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            router.call(request)
        });
        let acceptor = tls.as_ref().map(Tls::acceptor);
        let watcher = graceful.watcher();
        tokio::spawn(async move {
            let _turn = turn;
            let Some(stream) = open(stream, acceptor, &pace).await else {
                return;
            };
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(head)
                .max_buf_size(BUFFER_LENGTH)
                .serve_connection(TokioIo::new(stream), service);
            // Clients disconnect at any time, which is neither the server's fault nor of interest to the operator.
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

type Plain = Paced<TcpStream>;

/// Prepares a connection for requests. Returns `None` if the TLS handshake fails or takes too long.
async fn open(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    pace: &Pace,
) -> Option<Either<Plain, TlsStream<Plain>>> {
    let stream = Paced::new(stream, pace);
    let Some(acceptor) = acceptor else {
        return Some(Either::Left(stream));
    };
    match tokio::time::timeout(pace.handshake, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => Some(Either::Right(stream)),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a client does not speak TLS, or does not trust the certificate");
            None
        }
        Err(_) => None,
    }
}
