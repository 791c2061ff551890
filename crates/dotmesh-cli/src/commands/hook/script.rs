//! The lines that `dm` adds to a hook of git, which may have lines of the user's. Pure.

use std::collections::BTreeSet;

/// The begin of the first line. The rest may change.
const MARK: &str = "# >>> dotmesh >>>";
const BEGIN: &str =
    "# >>> dotmesh >>> The dot follows git's branch. 'dm hook uninstall' removes these lines.";
const END: &str = "# <<< dotmesh <<<";

/// What begins the line of a folder.
const CALL: &str = "    dm hook post-checkout ";

/// What a hook begins with if the user has none.
const SHEBANG: &str = "#!/bin/sh\n";

/// Why a text cannot be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Problem {
    /// Another program than a shell runs it.
    NotShell,
    /// It has only a part of the lines.
    Torn,
}

/// A hook's text, apart from the lines of `dm`.
struct Parts<'a> {
    before: &'a str,
    /// The folders. `None` without lines of `dm`.
    folders: Option<BTreeSet<String>>,
    after: &'a str,
}

/// The text with the lines for a folder of the work tree. They come first, since the user's lines may end the script.
pub(super) fn with(text: Option<&str>, folder: &str) -> Result<String, Problem> {
    let text = text.unwrap_or(SHEBANG);
    let parts = split(text)?;
    let (before, after) = match &parts.folders {
        Some(_) => (parts.before, parts.after),
        None => {
            let first = text.split_inclusive('\n').next().unwrap_or_default();
            if !is_shell(first) {
                return Err(Problem::NotShell);
            }
            text.split_at(first.len())
        }
    };
    let mut folders = parts.folders.unwrap_or_default();
    folders.insert(folder.to_owned());
    let end = if before.ends_with('\n') { "" } else { "\n" };
    Ok(format!("{before}{end}{}{after}", block(&folders)))
}

/// The text without the lines, or an empty one if nothing else is left. `None` if it has none of them.
pub(super) fn without(text: &str) -> Result<Option<String>, Problem> {
    let parts = split(text)?;
    Ok(parts.folders.map(|_| {
        let left = format!("{}{}", parts.before, parts.after);
        match left == SHEBANG {
            true => String::new(),
            false => left,
        }
    }))
}

/// Whatever happens here, git's own command does not fail, and the user's lines run.
fn block(folders: &BTreeSet<String>) -> String {
    let calls = folders
        .iter()
        .map(|folder| format!("{CALL}{}\n", quoted(folder)));
    format!(
        "{BEGIN}\n\
         if [ \"$3\" = 1 ] && command -v dm >/dev/null 2>&1; then (\n    \
         # With git's variables, all of dm's questions would be about this repository.\n    \
         unset $(git rev-parse --local-env-vars)\n{}\
         ) || :; fi\n\
         {END}\n",
        calls.collect::<String>()
    )
}

fn split(text: &str) -> Result<Parts<'_>, Problem> {
    let (mut at, mut begin, mut end) = (0, None, None);
    let mut folders = BTreeSet::new();
    for line in text.split_inclusive('\n') {
        if line.starts_with(MARK) {
            if begin.is_some() {
                return Err(Problem::Torn);
            }
            begin = Some(at);
        } else if line.trim_end() == END {
            if begin.is_none() || end.is_some() {
                return Err(Problem::Torn);
            }
            end = Some(at + line.len());
        } else if begin.is_some() && end.is_none() {
            folders.extend(line.trim_end().strip_prefix(CALL).map(unquoted));
        }
        at += line.len();
    }
    match (begin, end) {
        (Some(begin), Some(end)) => Ok(Parts {
            before: &text[..begin],
            folders: Some(folders),
            after: &text[end..],
        }),
        (None, None) => Ok(Parts {
            before: text,
            folders: None,
            after: "",
        }),
        _ => Err(Problem::Torn),
    }
}

/// Whether a script's first line makes a shell run it.
fn is_shell(line: &str) -> bool {
    let mut words = line
        .strip_prefix("#!")
        .unwrap_or_default()
        .split_whitespace();
    let name = |word: &str| word.rsplit('/').next().unwrap_or_default().to_owned();
    let mut program = words.next().map(name).unwrap_or_default();
    if program == "env" {
        let is_name = |word: &&str| !word.starts_with('-') && !word.contains('=');
        program = words.find(is_name).map(name).unwrap_or_default();
    }
    ["sh", "bash", "dash", "ash", "ksh", "mksh", "zsh"].contains(&program.as_str())
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn unquoted(text: &str) -> String {
    let inside = text
        .strip_prefix('\'')
        .and_then(|text| text.strip_suffix('\''));
    inside.unwrap_or(text).replace(r"'\''", "'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_can_be_removed() {
        for hook in [
            "#!/bin/sh\nexit 3\n",
            "#!/usr/bin/env -S bash -eu\n\nnpm ci\n",
            "#!/bin/zsh\r\nls\r\n",
        ] {
            let one = with(Some(hook), ".").expect("a shell script");
            assert!(
                one.ends_with(hook.split_once('\n').expect("lines").1),
                "{one}"
            );
            assert_eq!(with(Some(&one), ".").as_ref(), Ok(&one));
            let two = with(Some(&one), "it's here").expect("a shell script");
            assert!(two.contains(r"post-checkout 'it'\''s here'"), "{two}");
            assert_eq!(with(Some(&two), ".").as_ref(), Ok(&two));
            assert_eq!(without(&two), Ok(Some(hook.to_owned())));
        }
        let own = with(None, ".").expect("a new one");
        assert!(own.starts_with("#!/bin/sh\n# >>> dotmesh"), "{own}");
        assert_eq!(without(&own), Ok(Some(String::new())));
    }

    #[test]
    fn what_is_not_understood_is_left_alone() {
        for hook in ["#!/usr/bin/env python3\n", "\u{7f}ELF", "", "#!/bin/shoe\n"] {
            assert_eq!(with(Some(hook), "."), Err(Problem::NotShell), "{hook}");
            assert_eq!(without(hook), Ok(None));
        }
        let whole = with(Some("#!/bin/sh\nls\n"), ".").expect("a shell script");
        let torn = whole.replace(END, "");
        assert_eq!(with(Some(&torn), "."), Err(Problem::Torn));
        assert_eq!(without(&torn), Err(Problem::Torn));
        let twice = format!("{whole}{whole}");
        assert_eq!(without(&twice), Err(Problem::Torn));
    }
}
