//! Markdown of strangers as HTML that can do nothing: no raw HTML, no pictures from elsewhere, no addresses but plain ones.

use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html};

/// The longest text that is rendered, in bytes; more is cut.
const MAX_LENGTH: usize = 256 << 10;

/// Renders it.
pub fn render(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_LENGTH.min(text.len()));
    let options =
        Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut picture = false;
    let events = Parser::new_ext(&text[..end], options).map(|event| match event {
        // Shown as what it is.
        Event::Html(html) | Event::InlineHtml(html) => Event::Text(html),
        Event::Start(Tag::Link {
            link_type,
            dest_url,
            title,
            id,
        }) => Event::Start(Tag::Link {
            link_type,
            dest_url: harmless(dest_url),
            title,
            id,
        }),
        // A picture from elsewhere would tell its host who reads the page: its text is shown.
        Event::Start(Tag::Image { .. }) => {
            picture = true;
            Event::Text("[picture: ".into())
        }
        Event::End(TagEnd::Image) if picture => {
            picture = false;
            Event::Text("]".into())
        }
        event => event,
    });
    let mut out = String::with_capacity(text.len() * 3 / 2);
    html::push_html(&mut out, events);
    out
}

/// An address that opens a page and nothing else.
fn harmless(address: CowStr<'_>) -> CowStr<'_> {
    let lower = address.trim_start().to_ascii_lowercase();
    let plain = ["https://", "http://", "mailto:", "#"]
        .iter()
        .any(|start| lower.starts_with(start));
    // `//host` and `/\host` are other hosts, not paths.
    let path = lower.starts_with('/') && !lower[1..].starts_with(['/', '\\']);
    if plain || path { address } else { "#".into() }
}

#[cfg(test)]
mod tests {
    use super::render;

    #[test]
    fn markdown_is_rendered() {
        assert_eq!(
            render("# A\n\n*b* [c](https://d)"),
            "<h1>A</h1>\n<p><em>b</em> <a href=\"https://d\">c</a></p>\n"
        );
    }

    #[test]
    fn nothing_in_it_is_active() {
        for (text, bad) in [
            ("<script>alert(1)</script>", "<script"),
            ("a <img src=x onerror=alert(1)>", "<img"),
            ("[a](javascript:alert(1))", "javascript:"),
            ("[a]( JaVaScRiPt:alert(1))", "aScRiPt:"),
            ("[a](data:text/html,x)", "data:"),
            ("[a](//evil)", "//evil"),
            ("[a](/\\evil)", "evil"),
            ("![a](https://evil/x.png)", "evil"),
            ("<https://evil\"onclick=1>", "evil\"onclick=1\""),
        ] {
            assert!(!render(text).contains(bad), "{text}: {}", render(text));
        }
    }
}
