//! The examples of `docs/api.md`, run in a shell against a hub.

use tokio::process::Command;

use crate::support::{TestHub, dot, push_first};

const GUIDE: &str = include_str!("../../../../docs/api.md");

/// An example: a script and its expected output.
struct Example {
    script: String,
    output: String,
}

/// The contents of the fenced code blocks of a language, in order.
fn fenced(language: &str) -> Vec<String> {
    let start = format!("```{language}\n");
    let after = GUIDE.split(start.as_str()).skip(1);
    after
        .map(|text| text.split("```").next().unwrap().to_owned())
        .collect()
}

fn examples() -> Vec<Example> {
    let (scripts, outputs) = (fenced("sh"), fenced("text"));
    assert_eq!(scripts.len(), outputs.len(), "each has its output");
    let pairs = scripts.into_iter().zip(outputs);
    pairs
        .map(|(script, output)| Example { script, output })
        .collect()
}

/// Whether a text matches an expected one, in which `…` stands for anything.
fn fits(expected: &str, text: &str) -> bool {
    let mut parts = expected.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<_> = parts.collect();
    let Some((last, between)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in between {
        let Some((_, after)) = rest.split_once(part) else {
            return false;
        };
        rest = after;
    }
    rest.ends_with(last)
}

#[tokio::test]
async fn the_guides_examples_do_what_it_says() {
    let hub = TestHub::start().await;
    let (alice, key) = hub.user_with_secret("alice").await;
    push_first(&alice, &dot("alice/app"), b"one").await;
    let examples = examples();
    assert!(!examples.is_empty());
    for Example { script, output } in examples {
        let ran = Command::new("sh")
            .args(["-euc", &script])
            .env("HUB", &hub.url)
            .env("KEY", &key)
            .output()
            .await
            .unwrap();
        let printed = String::from_utf8(ran.stdout).unwrap();
        let errors = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{script}{errors}");
        assert!(
            fits(output.trim_end(), printed.trim_end()),
            "{script}printed\n{printed}\nnot\n{output}"
        );
    }
}

#[test]
fn what_does_not_fit_is_told() {
    assert!(fits("a…c…e", "abcde") && fits("ab", "ab") && fits("a…", "a"));
    assert!(!fits("a…c", "abcd") && !fits("ab", "abc") && !fits("a…x…c", "abc"));
}
