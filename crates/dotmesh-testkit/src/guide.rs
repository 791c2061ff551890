//! The examples of a guide: shell scripts in its text, each followed by what it prints.

use tokio::process::Command;

/// An example: a script and its expected output, in which `…` stands for anything.
#[derive(Debug)]
pub struct Example {
    pub script: String,
    output: String,
}

impl Example {
    /// Returns the examples of a Markdown text: each block `sh`, with the block `text` of the same place in their order.
    ///
    /// # Panics
    ///
    /// If the text has no examples, or some without output.
    pub fn all_of(guide: &str) -> Vec<Self> {
        let (scripts, outputs) = (fenced(guide, "sh"), fenced(guide, "text"));
        assert_eq!(scripts.len(), outputs.len(), "each has its output");
        assert!(!scripts.is_empty(), "the guide has examples");
        let pairs = scripts.into_iter().zip(outputs);
        pairs
            .map(|(script, output)| Self { script, output })
            .collect()
    }

    /// Runs the script with these variables.
    ///
    /// # Panics
    ///
    /// If it fails, or prints something else.
    pub async fn check(&self, variables: &[(&str, &str)]) {
        let Self { script, output } = self;
        let ran = Command::new("sh")
            .args(["-euc", script])
            .envs(variables.iter().copied())
            .output()
            .await
            .expect("a shell");
        let printed = String::from_utf8_lossy(&ran.stdout);
        let errors = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{script}{errors}");
        assert!(
            fits(output.trim_end(), printed.trim_end()),
            "{script}printed\n{printed}\nnot\n{output}"
        );
    }
}

/// Returns the contents of the fenced code blocks of a language, in order.
fn fenced(guide: &str, language: &str) -> Vec<String> {
    let start = format!("```{language}\n");
    let after = guide.split(start.as_str()).skip(1);
    after
        .filter_map(|text| Some(text.split("```").next()?.to_owned()))
        .collect()
}

/// Returns whether a text matches an expected one, in which `…` stands for anything.
fn fits(expected: &str, text: &str) -> bool {
    let Some((first, rest)) = expected.split_once('…') else {
        return expected == text;
    };
    let Some(text) = text.strip_prefix(first) else {
        return false;
    };
    let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    ends.into_iter().any(|end| fits(rest, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn what_does_not_fit_is_told() {
        assert!(fits("a…c…e", "abcde") && fits("ab", "ab") && fits("a…", "a"));
        assert!(!fits("a…c", "abcd") && !fits("ab", "abc") && !fits("a…x…c", "abc"));
    }
}
