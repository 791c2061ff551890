//! A session of `dm sql`: the database's own client on a throwaway copy, which reads what the user types until the user leaves.

use axum::body::{Body, Bytes};
use axum::response::Response;
use dotmesh_api::node::{SqlEvent, SqlInput, SqlSession, take_text};
use dotmesh_api::{ErrorBody, ErrorCode};
use futures::StreamExt as _;
use tokio::sync::{mpsc, oneshot};

use super::sql::{find_database, respond};
use super::{Lines, Opened};
use crate::engine::throwaway::Typed;
use crate::error::NodeError;
use crate::node::Node;
use crate::view::At;

/// The most bytes of a line of input.
const LONGEST_LINE: usize = 1 << 20;

/// Starts the client, passes the body on to it, and responds with its output.
pub(crate) async fn start(
    node: Node,
    at: At,
    session: SqlSession,
    body: Body,
) -> Result<Response, NodeError> {
    let found = find_database(&node, &at, &session.revision, &session.target).await?;
    let talking = move |opened: Opened, database: Option<String>, lines: Lines| async move {
        let run = opened
            .adapter
            .session(database.as_deref(), session.terminal);
        let terminal = session.terminal && opened.has_terminal();
        talk(&opened, run, terminal, body, &lines).await
    };
    Ok(respond(node, found, talking))
}

/// Runs the client until it ends or the user leaves. Whoever opened the database then removes its container.
async fn talk(
    opened: &Opened,
    run: dotmesh_rows::Run,
    terminal: bool,
    body: Body,
    lines: &Lines,
) -> Result<(), ErrorBody> {
    let (sender, typed) = mpsc::channel(16);
    let mut pieces = opened.session(run, typed, terminal);
    lines.tell(&SqlEvent::Begin { terminal }).await;
    let (leaves, left) = oneshot::channel();
    // The body is read to its end, also once the client has ended. Otherwise the answer could be lost.
    tokio::spawn(async move {
        let is_whole = pass_on(body, sender).await;
        // At a terminal nothing but leaving ends the input.
        if terminal || !is_whole {
            let _ = leaves.send(());
        }
    });
    let is_left = async {
        if left.await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let answering = async {
        let mut rest = Vec::new();
        loop {
            let piece = pieces.recv().await.unwrap_or_else(|| Ok(Bytes::new()));
            let piece = piece.map_err(|said| ErrorBody::new(ErrorCode::Invalid, said))?;
            rest.extend_from_slice(&piece);
            let text = take_text(&mut rest, piece.is_empty());
            if !text.is_empty() {
                lines.tell(&SqlEvent::Output(text)).await;
            }
            if piece.is_empty() {
                return Ok(());
            }
        }
    };
    let gone = || Err(ErrorBody::new(ErrorCode::Cancelled, "the user has left"));
    tokio::select! {
        ended = answering => ended,
        () = is_left => gone(),
        () = lines.sender.closed() => gone(),
    }
}

/// Passes the lines of a body on. Returns whether the body came to its end.
async fn pass_on(body: Body, sender: mpsc::Sender<Typed>) -> bool {
    let mut pieces = body.into_data_stream();
    let mut buffer: Vec<u8> = Vec::new();
    while let Some(piece) = pieces.next().await {
        let Ok(piece) = piece else {
            return false;
        };
        buffer.extend_from_slice(&piece);
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            if !pass_line_on(&line, &sender).await {
                return false;
            }
        }
        if buffer.len() > LONGEST_LINE {
            return false;
        }
    }
    buffer.is_empty() || pass_line_on(&buffer, &sender).await
}

/// Returns whether the line is one. A client that has ended reads nothing.
async fn pass_line_on(line: &[u8], sender: &mpsc::Sender<Typed>) -> bool {
    let typed = match serde_json::from_slice(line) {
        Ok(SqlInput::Input(text)) => Typed::Bytes(text.into()),
        Ok(SqlInput::Window { rows, columns }) => Typed::Window { rows, columns },
        Err(_) => return false,
    };
    let _ = sender.send(typed).await;
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn passed(pieces: &[&str]) -> (bool, String) {
        let (sender, mut typed) = mpsc::channel(16);
        let pieces: Vec<_> = pieces.iter().map(|piece| (*piece).to_owned()).collect();
        let pieces = pieces.into_iter().map(|piece| match piece.as_str() {
            "" => Err(std::io::Error::other("cut")),
            _ => Ok(piece),
        });
        let body = Body::from_stream(futures::stream::iter(pieces));
        let is_whole = pass_on(body, sender).await;
        let mut text = String::new();
        while let Some(one) = typed.recv().await {
            match one {
                Typed::Bytes(bytes) => text.push_str(&String::from_utf8_lossy(&bytes)),
                Typed::Window { rows, columns } => text.push_str(&format!("<{rows}x{columns}>")),
            }
        }
        (is_whole, text)
    }

    #[tokio::test]
    async fn lines_of_input_are_passed_on_until_the_user_leaves() {
        let whole = passed(&[
            "{\"inp",
            "ut\":\"select\"}\n{\"window\":{\"rows\":24,\"columns\":80}}\n",
            "{\"input\":\" 1;\"}",
        ]);
        assert_eq!(whole.await, (true, "select<24x80> 1;".to_owned()));
        let cut = passed(&["{\"input\":\"a\"}\n{\"in", ""]).await;
        assert_eq!(cut, (false, "a".to_owned()));
        let wrong = passed(&["{\"other\":1}\n{\"input\":\"b\"}\n"]).await;
        assert_eq!(wrong, (false, String::new()));
        let long = "x".repeat(LONGEST_LINE + 1);
        assert_eq!(passed(&[&long]).await, (false, String::new()));
    }
}
