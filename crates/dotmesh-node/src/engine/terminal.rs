//! Programs on a terminal in a container, over a connection of their own. Their output has no frames. bollard looks for frames
//! all the same, and waits for more when it begins with a byte from 0 to 2.

use bollard::Docker;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::EngineError;

type Result<T> = std::result::Result<T, EngineError>;

/// What bytes go through.
trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// Starts a program whose exec instance has a terminal. The connection is its keyboard and its screen.
pub(super) async fn start(
    client: &Docker,
    host: &str,
    exec: &str,
) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + use<>> {
    let lost = |error: &dyn std::error::Error| EngineError::Unreachable(error.to_string());
    let version = client.client_version();
    let (major, minor) = (version.major_version, version.minor_version);
    let request = Request::post(format!("/v{major}.{minor}/exec/{exec}/start"))
        .header(HOST, "docker")
        .header(CONTENT_TYPE, "application/json")
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "tcp")
        .body(r#"{"Detach":false,"Tty":true}"#.to_owned())
        .map_err(|error| EngineError::Refused(error.to_string()))?;
    let stream = connect(host).await.map_err(|error| lost(&error))?;
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| lost(&error))?;
    tokio::spawn(connection.with_upgrades());
    let answer = sender.send_request(request).await;
    let answer = answer.map_err(|error| lost(&error))?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let message = format!("the Engine gives no terminal: status {}", answer.status());
        return Err(EngineError::Refused(message));
    }
    let upgraded = hyper::upgrade::on(answer).await;
    Ok(TokioIo::new(upgraded.map_err(|error| lost(&error))?))
}

async fn connect(host: &str) -> std::io::Result<Box<dyn Bytes>> {
    if let Some(path) = host.strip_prefix("unix://") {
        return Ok(Box::new(UnixStream::connect(path).await?));
    }
    let address = host.split_once("://").map_or(host, |(_, address)| address);
    let stream = TcpStream::connect(address.trim_end_matches('/')).await?;
    Ok(Box::new(stream))
}
