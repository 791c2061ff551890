//! The listener: accepts connections, with TLS or without, gives each its time limits, ends them in order.

mod paced;

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
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
use crate::extract::{Peer, network};
use crate::limits::Pace;
use crate::rate_limit::Subject;
use crate::state::Hub;
use crate::tls::Tls;

/// How long running requests get to end when the server is told to.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(25);

/// What a connection reads ahead, and the longest head of a request: all connections together have little of it.
const BUFFER_LENGTH: usize = 32 << 10;

/// Connections that the system keeps until they are accepted: those of a burst are not lost, to be tried again after a
/// second.
const BACKLOG: u32 = 4096;

/// What the system takes of an answer before the client's side does. With more a slow client would look like one that
/// takes nothing, for as long as that lasts.
const UNSENT_LENGTH: u32 = 64 << 10;

/// Listens on an address; port 0 lets the system choose.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A hub that is started again need not wait for old connections to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves the hub until `shutdown` is done, then lets running requests end.
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
                // Out of file handles, most likely: some connection will end.
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
            // Waiting would keep others waiting behind it.
            tracing::debug!(%peer, "a connection too many was closed");
            hub.metrics.connection_refused();
            continue;
        };
        // Small answers go out at once.
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

type Plain = Paced<TcpStream>;

/// A connection as the client's requests come through it; `None` when it never came to that.
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
