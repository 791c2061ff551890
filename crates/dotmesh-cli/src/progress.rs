//! Progress bars on a terminal. A bar disappears from the screen when it is dropped.

use std::time::Duration;

use dotmesh_api::node::TransferProgress;
use dotmesh_model::size::format_size;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const MEASURED: &str =
    "{msg} [{wide_bar}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}{prefix}";
const UNMEASURED: &str = "{spinner} {msg}{prefix}";

/// The bar of a transfer. It draws nothing if stderr is not a terminal.
#[derive(Debug)]
pub struct TransferBar {
    bar: ProgressBar,
    measured: bool,
}

impl TransferBar {
    pub(crate) fn new(visible: bool) -> Self {
        let target = if visible {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        if visible {
            bar.set_style(style(UNMEASURED));
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        Self {
            bar,
            measured: false,
        }
    }

    /// Shows the current progress.
    pub fn show(&mut self, progress: &TransferProgress) {
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

/// A spinner that shows what `dm` waits for.
#[derive(Debug)]
pub struct WaitBar {
    bar: ProgressBar,
}

impl WaitBar {
    pub(crate) fn new(visible: bool) -> Self {
        let bar = if visible {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.set_style(style(UNMEASURED));
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        } else {
            ProgressBar::hidden()
        };
        Self { bar }
    }

    /// Whether it is drawn.
    pub fn is_visible(&self) -> bool {
        !self.bar.is_hidden()
    }

    /// Shows what `dm` waits for.
    pub fn show(&self, what: &str) {
        self.bar.set_message(what.to_owned());
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
