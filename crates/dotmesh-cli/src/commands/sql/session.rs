//! A session: the user, or a program, talks to the database's client until one of both ends.

use std::io::{ErrorKind, IsTerminal as _, Read};

use dotmesh_api::node::{SqlEvent, SqlInput, SqlSession, take_text};
use futures::{Stream, StreamExt as _};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use super::{Asked, cut};
use crate::context::Context;
use crate::error::{CliError, Result};
use crate::fetch::{self, Extent};

pub(super) async fn run(context: &Context, revision: &str, target: &str) -> Result<Asked> {
    let is_shown = std::io::stdout().is_terminal();
    let query = SqlSession {
        revision: revision.to_owned(),
        target: target.to_owned(),
        terminal: is_shown && std::io::stdin().is_terminal() && !context.ui.is_json(),
    };
    context
        .on_current_dot(async |node, dot| {
            let ask = async || {
                let (sender, receiver) = mpsc::channel(16);
                let events = node.sql_session(dot, &query, stream(receiver)).await?;
                let output = talk(context, events, sender, is_shown).await?;
                Ok(Asked {
                    dot: dot.clone(),
                    revision: revision.to_owned(),
                    target: target.to_owned(),
                    output,
                })
            };
            fetch::with_data(context, dot, &[revision], Extent::Commit, ask).await
        })
        .await
}

fn stream(receiver: mpsc::Receiver<SqlInput>) -> impl Stream<Item = SqlInput> + Send + 'static {
    futures::stream::unfold(receiver, async |mut receiver| {
        let one = receiver.recv().await?;
        Some((one, receiver))
    })
}

/// Passes stdin on and prints what comes, until the client ends. Returns the output, if it is to be a part of a document.
async fn talk(
    context: &Context,
    events: impl Stream<Item = std::result::Result<SqlEvent, dotmesh_api::ClientError>>,
    sender: mpsc::Sender<SqlInput>,
    is_shown: bool,
) -> Result<String> {
    let mut events = std::pin::pin!(events);
    let (mut sender, mut failing) = (Some(sender), None);
    let mut terminal: Option<Terminal> = None;
    let mut output = String::new();
    loop {
        tokio::select! {
            event = events.next() => match event.ok_or_else(cut)?? {
                SqlEvent::Begin { terminal: is_raw } => {
                    let Some(typing) = sender.take() else { continue };
                    if is_raw {
                        let taken = Terminal::take(typing.clone())?;
                        taken.tell_size();
                        terminal = Some(taken);
                    }
                    failing = Some(read_stdin(typing));
                }
                SqlEvent::Output(text) if context.ui.is_json() => output.push_str(&text),
                SqlEvent::Output(text) if terminal.is_some() => {
                    context.ui.bytes(harmless(&text).as_bytes())?;
                }
                // A terminal could execute what is in a database.
                SqlEvent::Output(text) if is_shown => context.ui.out(&text)?,
                SqlEvent::Output(text) => context.ui.bytes(text.as_bytes())?,
                SqlEvent::Done {} => return Ok(output),
                SqlEvent::Failed(error) => return Err(error.into()),
            },
            error = failure(&mut failing) => return Err(error),
            () = ending(&mut terminal) => return Err(CliError::interrupted(false)),
        }
    }
}

/// Why stdin cannot be read. Waits forever if it can.
async fn failure(failing: &mut Option<oneshot::Receiver<CliError>>) -> CliError {
    if let Some(receiver) = failing
        && let Ok(error) = receiver.await
    {
        return error;
    }
    *failing = None;
    std::future::pending().await
}

/// Passes stdin on in a thread, which is not waited for: nothing ends its last read.
fn read_stdin(sender: mpsc::Sender<SqlInput>) -> oneshot::Receiver<CliError> {
    let (fails, failing) = oneshot::channel();
    std::thread::spawn(move || {
        if let Err(error) = pass_on(std::io::stdin(), &sender) {
            let _ = fails.send(error);
        }
    });
    failing
}

/// Passes texts on as they come, until the end or until nobody takes them.
fn pass_on(mut input: impl Read, sender: &mpsc::Sender<SqlInput>) -> Result<()> {
    let mut rest = Vec::new();
    let mut buffer = vec![0; 32 << 10];
    loop {
        let count = match input.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read.map_err(|error| {
                CliError::io("cannot read from standard input").caused_by(error)
            })?,
        };
        rest.extend_from_slice(&buffer[..count]);
        if let Err(error) = std::str::from_utf8(&rest)
            && (error.error_len().is_some() || count == 0)
        {
            let wrong = CliError::usage("standard input is not UTF-8");
            return Err(wrong.hint("Convert it, for instance with 'iconv'."));
        }
        let text = take_text(&mut rest, count == 0);
        if !text.is_empty() && sender.blocking_send(SqlInput::Input(text)).is_err() || count == 0 {
            return Ok(());
        }
    }
}

/// Text of the client's terminal, without what this terminal could execute: it may be from the database.
fn harmless(text: &str) -> String {
    let is_plain = |letter: char| !letter.is_control() || "\n\r\t\u{8}\u{7}".contains(letter);
    text.chars()
        .map(|letter| if is_plain(letter) { letter } else { '\u{fffd}' })
        .collect()
}

/// The user's terminal, whose keys go to the client. It is given back in the end.
struct Terminal {
    before: Termios,
    sender: mpsc::Sender<SqlInput>,
    resized: Signal,
    terminated: Signal,
    hung_up: Signal,
}

impl Terminal {
    fn take(sender: mpsc::Sender<SqlInput>) -> Result<Self> {
        let failed =
            |error: std::io::Error| CliError::io("cannot use the terminal").caused_by(error);
        let listen = |kind| signal(kind).map_err(failed);
        let stdin = rustix::stdio::stdin();
        let before = tcgetattr(stdin).map_err(|error| failed(error.into()))?;
        let terminal = Self {
            before: before.clone(),
            sender,
            resized: listen(SignalKind::window_change())?,
            terminated: listen(SignalKind::terminate())?,
            hung_up: listen(SignalKind::hangup())?,
        };
        let mut raw = before;
        raw.make_raw();
        tcsetattr(stdin, OptionalActions::Now, &raw).map_err(|error| failed(error.into()))?;
        Ok(terminal)
    }

    fn tell_size(&self) {
        let size = tcgetwinsize(rustix::stdio::stdin());
        let (rows, columns) = size.map_or((24, 80), |size| (size.ws_row, size.ws_col));
        // The client does without it if it reads nothing.
        let _ = self.sender.try_send(SqlInput::Window { rows, columns });
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Waits until the terminal is gone, or this program is to end.
async fn ending(terminal: &mut Option<Terminal>) {
    let Some(terminal) = terminal else {
        return std::future::pending().await;
    };
    loop {
        tokio::select! {
            _ = terminal.resized.recv() => terminal.tell_size(),
            _ = terminal.terminated.recv() => return,
            _ = terminal.hung_up.recv() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_letters_and_moves_but_no_commands() {
        let text = "shop=# s\u{8}\u{7}\r\n\ta\u{1b}]52;c;eA\u{7}\u{9b}2J";
        assert_eq!(
            harmless(text),
            "shop=# s\u{8}\u{7}\r\n\ta\u{fffd}]52;c;eA\u{7}\u{fffd}2J"
        );
    }

    #[test]
    fn stdin_is_passed_on_in_whole_letters() {
        /// Yields a byte at a time.
        struct Slow<'a>(&'a [u8]);
        impl Read for Slow<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                let count = self.0.len().min(1);
                buffer[..count].copy_from_slice(&self.0[..count]);
                self.0 = &self.0[count..];
                Ok(count)
            }
        }
        let passed = |bytes| {
            let (sender, mut receiver) = mpsc::channel(16);
            let done = pass_on(Slow(bytes), &sender);
            drop(sender);
            let mut text = String::new();
            while let Some(SqlInput::Input(piece)) = receiver.blocking_recv() {
                text.push_str(&piece);
            }
            (text, done.is_ok())
        };
        assert_eq!(passed("a é;\n".as_bytes()), ("a é;\n".to_owned(), true));
        assert_eq!(passed(b"a\xffb"), ("a".to_owned(), false));
        assert_eq!(passed(b"a\xc3"), ("a".to_owned(), false));
    }
}
