//! What a person reads on a page: its HTML as plain text, with times and ids masked.

use std::fmt::Write as _;

/// Elements whose content nobody reads.
const UNSEEN: [&str; 4] = ["head", "script", "style", "svg"];

/// Elements that don't begin a line of their own.
const INLINE: [&str; 18] = [
    "a", "abbr", "b", "code", "del", "em", "i", "ins", "kbd", "label", "mark", "option", "small",
    "span", "strong", "sub", "td", "th",
];

/// Returns a page's title and the visible text of its content, one block a line.
pub(crate) fn of_page(html: &str) -> String {
    let title = between(html, "<title>", "</title>");
    let content = between(html, "<main id=\"main\">", "</main>");
    let header = between(html, "<body>", "<main id=\"main\">");
    // The bar above is the same on each page.
    let header = header.split_once("</header>").map_or("", |(_, rest)| rest);
    let mut text = format!("# {}\n", decode(title.trim()));
    text.push_str(&of_part(header));
    text.push_str("---\n");
    text.push_str(&of_part(content));
    masked(&text)
}

/// Returns the bar above all pages, as text.
pub(crate) fn of_bar(html: &str) -> String {
    of_part(between(html, "<header class=\"bar\">", "</header>"))
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(start).unwrap_or(("", ""));
    rest.split_once(end).map_or(rest, |(part, _)| part)
}

fn of_part(html: &str) -> String {
    let mut lines = Lines::default();
    let mut rest = html;
    while let Some((text, tag)) = rest.split_once('<') {
        lines.text(text);
        let (tag, after) = tag.split_once('>').unwrap_or((tag, ""));
        rest = after;
        let name = tag.trim_start_matches('/');
        let name = name.split([' ', '/', '\n']).next().unwrap_or_default();
        let is_end = tag.starts_with('/');
        match name {
            _ if !is_end && (UNSEEN.contains(&name) || is_hidden(tag)) => {
                let end = format!("</{name}>");
                rest = rest.split_once(end.as_str()).map_or("", |(_, rest)| rest);
            }
            "time" if !is_end => {
                lines.text("[time]");
                rest = rest.split_once("</time>").map_or("", |(_, rest)| rest);
            }
            "input" if attribute(tag, "type") != Some("hidden") => lines.field(tag),
            "textarea" | "select" if !is_end => lines.field(tag),
            "img" => lines.text(&format!(
                " ({}) ",
                attribute(tag, "alt").unwrap_or_default()
            )),
            "button" => lines.text(if is_end { "] " } else { " [" }),
            "td" | "th" if is_end => lines.text("  "),
            "option" if !is_end => lines.text(" | "),
            "pre" => {
                lines.end();
                lines.is_code = !is_end;
            }
            _ if INLINE.contains(&name) => {}
            _ => lines.end(),
        }
    }
    lines.text(rest);
    lines.end();
    lines.done
}

#[derive(Default)]
struct Lines {
    done: String,
    line: String,
    /// Whether a line of the source is a line of the page.
    is_code: bool,
}

impl Lines {
    fn text(&mut self, text: &str) {
        let mut lines = text.split('\n');
        self.line.push_str(lines.next().unwrap_or_default());
        for line in lines {
            match self.is_code {
                true => self.end(),
                false => self.line.push(' '),
            }
            self.line.push_str(line);
        }
    }

    /// A field of a form, with what it has in it.
    fn field(&mut self, tag: &str) {
        let kind = attribute(tag, "type").unwrap_or("text");
        let mark = if tag.contains(" checked") { "x" } else { " " };
        match kind {
            "checkbox" => self.text(&format!(" [{mark}] ")),
            "radio" => self.text(&format!(" ({mark}) ")),
            _ => {
                let value = attribute(tag, "value").unwrap_or_default();
                self.text(&format!(" [{value}…] "));
            }
        }
    }

    fn end(&mut self) {
        let line = decode(&self.line);
        let line: Vec<&str> = line.split_whitespace().collect();
        if !line.is_empty() {
            let _ = writeln!(self.done, "{}", line.join(" "));
        }
        self.line.clear();
    }
}

/// Returns whether only a script makes the element visible.
fn is_hidden(tag: &str) -> bool {
    tag.split_whitespace().any(|word| word == "hidden")
}

fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    rest.split('"').next()
}

fn decode(text: &str) -> String {
    let pairs = [
        ("&#60;", "<"),
        ("&lt;", "<"),
        ("&#62;", ">"),
        ("&gt;", ">"),
        ("&#34;", "\""),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&nbsp;", " "),
        ("&#38;", "&"),
        ("&amp;", "&"),
    ];
    pairs
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// Replaces what differs from run to run: ids of commits, hashes, and the hub's own address.
fn masked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut word = String::new();
    for c in text.chars().chain(['\n']) {
        if c.is_ascii_alphanumeric() {
            word.push(c);
            continue;
        }
        let is_hex = word
            .chars()
            .all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c));
        let is_port = out.ends_with("127.0.0.1:");
        match word.len() {
            32 | 64 if is_hex => out.push_str("[id]"),
            8 | 12 if is_hex => out.push_str("[short id]"),
            4 | 5 if is_port => out.push_str("[port]"),
            _ => out.push_str(&word),
        }
        word.clear();
        out.push(c);
    }
    out.pop();
    out
}

#[test]
fn text_is_what_a_person_sees() {
    let html = "<title>A &#60;b&#62;</title><body><header>bar</header><main id=\"main\">\n\
        <h1>One</h1><script>no</script><p>two <b>three</b> <time datetime=\"x\">now</time></p>\
        <form><label>Name <input name=\"n\" value=\"v\"></label><button>Go</button></form>\
        <pre>a\nb</pre><p class=\"live\" hidden>later</p>
        <code>0123456789abcdef0123456789abcdef</code></main>";
    insta::assert_snapshot!(of_page(html), @"
    # A <b>
    ---
    One
    two three [time]
    Name [v…] [Go]
    a
    b
    [id]
    ");
}
