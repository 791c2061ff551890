//! Syntax highlighting as HTML without inline styles. A line is a `span` of class `line`. A token in it has a class of
//! `hl-` and one letter.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use dotmesh_hub_service::gate::Watch;
use syntect::easy::ScopeRegionIterator;
use syntect::parsing::{ParseState, Scope, ScopeStack, SyntaxReference, SyntaxSet};

/// The time after which the rest is shown without highlighting.
const TIMEOUT: Duration = Duration::from_millis(250);

/// The longest line that is highlighted, in bytes. Patterns take long on longer lines, and people rarely read those.
const MAX_LINE_LENGTH: usize = 300;

/// The longest word in a highlighted line, in bytes. Patterns for names and numbers take quadratic time in its length,
/// or worse.
const MAX_WORD_LENGTH: usize = 150;

static SYNTAXES: LazyLock<SyntaxSet> = LazyLock::new(SyntaxSet::load_defaults_newlines);

/// The classes of tokens. The first match counts. A scope is a dotted name that begins with its general part.
static CLASSES: LazyLock<Vec<(Scope, &str)>> = LazyLock::new(|| {
    const NAMES: [(&str, &str); 15] = [
        ("comment", "c"),
        ("string", "s"),
        ("constant", "n"),
        ("keyword.operator", ""),
        ("keyword", "k"),
        ("storage", "k"),
        ("entity.name.function", "f"),
        ("support.function", "f"),
        ("variable.function", "f"),
        ("entity.other.attribute-name", "a"),
        ("entity.name", "t"),
        ("support.type", "t"),
        ("support.class", "t"),
        ("markup.heading", "k"),
        ("markup.raw", "s"),
    ];
    let scope = |(name, class)| Some((Scope::new(name).ok()?, class));
    NAMES.into_iter().filter_map(scope).collect()
});

/// Highlights a text. The file's name decides the language.
pub(crate) fn render(name: &str, text: &str, watch: &Watch) -> String {
    let mut state = syntax(name, text).map(|syntax| (ParseState::new(syntax), ScopeStack::new()));
    let until = watch.until().min(Instant::now() + TIMEOUT);
    let mut out = String::with_capacity(text.len() * 2);
    for line in text.split_inclusive('\n') {
        out.push_str("<span class=\"line\">");
        let is_plain = takes_long(line) || Instant::now() > until || watch.is_over();
        let coloured = state
            .as_mut()
            .filter(|_| !is_plain)
            .is_some_and(|(parser, stack)| colour(parser, stack, line, &mut out).is_some());
        if !coloured {
            escape(line, &mut out);
        }
        out.push_str("</span>");
    }
    out
}

/// Returns whether patterns may take long on a line.
fn takes_long(line: &str) -> bool {
    let mut words = line.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    line.len() > MAX_LINE_LENGTH || words.any(|word| word.len() > MAX_WORD_LENGTH)
}

fn syntax(name: &str, text: &str) -> Option<&'static SyntaxReference> {
    let name = name.to_ascii_lowercase();
    // Use the syntax of a similar language for extensions that have none of their own.
    let kind = match name.rsplit_once('.').map_or(&*name, |(_, kind)| kind) {
        "mjs" | "cjs" | "ts" | "tsx" | "jsx" => "js",
        "conf" | "cnf" | "ini" | "env" | "toml" => "properties",
        "yml" => "yaml",
        "htm" | "xhtml" => "html",
        "svg" | "plist" => "xml",
        kind => kind,
    };
    let first = text.lines().next().unwrap_or_default();
    SYNTAXES
        .find_syntax_by_extension(kind)
        .or_else(|| SYNTAXES.find_syntax_by_extension(&name))
        .or_else(|| {
            let is_short = first.len() <= MAX_LINE_LENGTH;
            is_short.then(|| SYNTAXES.find_syntax_by_first_line(first))?
        })
}

/// Appends a highlighted line. `None` if it cannot be parsed.
fn colour(
    parser: &mut ParseState,
    stack: &mut ScopeStack,
    line: &str,
    out: &mut String,
) -> Option<()> {
    let operations = parser.parse_line(line, &SYNTAXES).ok()?;
    let mut coloured = String::with_capacity(line.len() * 2);
    let mut open = "";
    for (text, operation) in ScopeRegionIterator::new(&operations, line) {
        stack.apply(operation).ok()?;
        if text.is_empty() {
            continue;
        }
        let class = class(stack);
        if class != open {
            if !open.is_empty() {
                coloured.push_str("</span>");
            }
            if !class.is_empty() {
                coloured.push_str("<span class=\"hl-");
                coloured.push_str(class);
                coloured.push_str("\">");
            }
            open = class;
        }
        escape(text, &mut coloured);
    }
    if !open.is_empty() {
        coloured.push_str("</span>");
    }
    out.push_str(&coloured);
    Some(())
}

fn class(stack: &ScopeStack) -> &'static str {
    let scopes = stack.scopes.iter().rev();
    scopes
        .filter_map(|scope| CLASSES.iter().find(|(known, _)| known.is_prefix_of(*scope)))
        .map(|(_, class)| *class)
        .next()
        .unwrap_or_default()
}

fn escape(text: &str, out: &mut String) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            character => out.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(name: &str, text: &str) -> String {
        super::render(name, text, &Watch::lasting(Duration::from_secs(60)))
    }

    #[test]
    fn lines_are_whole() {
        let html = render("a.js", "/* <b>\n*/ const a = '&';\nx");
        assert_eq!(html.matches("class=\"line\"").count(), 3, "{html}");
        assert!(html.contains("</span></span><span class=\"line\">"));
        assert!(html.starts_with("<span class=\"line\"><span class=\"hl-c\">/* &lt;b&gt;"));
        assert!(html.contains("<span class=\"hl-k\">const</span>"), "{html}");
        assert!(html.contains("<span class=\"hl-s\">&#39;&amp;&#39;</span>"));
        assert!(!html.contains("style="));
    }

    #[test]
    fn nothing_in_a_text_is_active() {
        for name in [
            "a", "a.html", "a.md", "a.svg", "a.php", "Makefile", "\u{202e}",
        ] {
            let html = render(
                name,
                "<script>alert(1)</script>\n<img src=x onerror='a'>\n\0\x1b[31m",
            );
            assert!(
                !html.contains("<script") && !html.contains("<img"),
                "{html}"
            );
            let opened = html.matches("<span").count();
            assert_eq!(opened, html.matches("</span>").count(), "{html}");
        }
    }

    #[test]
    fn lines_that_take_long_are_plain() {
        let is_coloured = |line: &str| render("a.cs", line).contains("hl-");
        let word = "_".repeat(MAX_WORD_LENGTH);
        assert!(is_coloured(&format!("class {word}\n")));
        assert!(!is_coloured(&format!("class {word}_\n")));
        let line = format!("class {}", "a ".repeat(MAX_LINE_LENGTH / 2 - 3));
        assert!(is_coloured(&line));
        assert!(!is_coloured(&format!("{line} ")));
    }

    #[test]
    fn long_texts_end_soon() {
        let text = "a = \"b\" + (c); // d\n".repeat(20_000);
        let started = Instant::now();
        let html = render("a.js", &text);
        assert_eq!(html.matches("class=\"line\"").count(), 20_000);
        assert!(started.elapsed() < Duration::from_secs(5));
    }
}
