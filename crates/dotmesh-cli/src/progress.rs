//! Progress bars on a terminal. A bar disappears from the screen when it is dropped.

use std::time::Duration;

use dotmesh_api::node::{SwitchProgress, TransferProgress};
use dotmesh_model::size::format_size;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use utoipa::ToSchema;

use crate::ui::Ui;

const MEASURED: &str =
    "{msg} [{wide_bar}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}{prefix}";
const UNMEASURED: &str = "{spinner} {msg}{prefix}";

/// Where progress goes.
#[derive(Debug)]
pub(crate) enum Sink {
    /// A bar, which is gone from the screen when it is dropped.
    Terminal,
    /// Nobody looks at it now. What takes long is told in a line.
    Lines,
    /// JSON on stderr, a line for each event.
    Events(Ui),
    /// Nowhere.
    Nothing,
}

/// A line on stderr, for programs: with `--progress=json`, and always for a login.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The progress of a transfer.
    Transfer(TransferProgress),
    /// What a switch of containers waits for.
    Switch(SwitchProgress),
    /// A login that waits for its user.
    Login(LoginPage),
}

/// The page on which a user approves a login.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct LoginPage {
    /// The address of the page.
    pub page: String,
    /// The code to type there.
    pub user_code: String,
}

impl Sink {
    fn bar(&self, length: Option<u64>) -> ProgressBar {
        if !matches!(self, Self::Terminal) {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
        bar.set_style(style(UNMEASURED));
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    }
}

/// The progress of a transfer.
#[derive(Debug)]
pub struct TransferBar {
    sink: Sink,
    bar: ProgressBar,
    measured: bool,
}

impl TransferBar {
    pub(crate) fn new(sink: Sink) -> Self {
        Self {
            bar: sink.bar(Some(0)),
            sink,
            measured: false,
        }
    }

    /// Shows how far it is now.
    pub fn show(&mut self, progress: &TransferProgress) {
        if let Sink::Events(ui) = &self.sink {
            return ui.event(&Event::Transfer(progress.clone()));
        }
        let measured = progress.total > 0;
        if measured != self.measured {
            self.bar
                .set_style(style(if measured { MEASURED } else { UNMEASURED }));
            self.measured = measured;
        }
        self.bar.set_message(progress.phase.clone());
        if progress.wire > 0 {
            let mut prefix = format!(", wire {}", format_size(progress.wire));
            let saved = progress.deduplicated + progress.compressed;
            if saved > 0 {
                prefix.push_str(&format!(", saved {}", format_size(saved)));
            }
            self.bar.set_prefix(prefix);
        }
        self.bar.set_length(progress.total);
        self.bar.set_position(progress.done.min(progress.total));
    }
}

impl Drop for TransferBar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// What a switch waits for.
#[derive(Debug)]
pub struct WaitBar {
    sink: Sink,
    bar: ProgressBar,
}

impl WaitBar {
    pub(crate) fn new(sink: Sink) -> Self {
        Self {
            bar: sink.bar(None),
            sink,
        }
    }

    /// Whether a long wait has to be told in a line.
    pub fn needs_lines(&self) -> bool {
        matches!(self.sink, Sink::Lines)
    }

    /// Shows it. `text` is for people.
    pub fn show(&self, progress: &SwitchProgress, text: &str) {
        match &self.sink {
            Sink::Events(ui) => ui.event(&Event::Switch(progress.clone())),
            _ => self.bar.set_message(text.to_owned()),
        }
    }
}

impl Drop for WaitBar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}
