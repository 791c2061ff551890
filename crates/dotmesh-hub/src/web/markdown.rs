//! Renders untrusted Markdown as safe HTML: no raw HTML, no pictures from other sites, and only plain link addresses.

use std::cell::Cell;
use std::fmt;

use dotmesh_api::page::Reference;
use dotmesh_hub_service::gate::Watch;
use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html};

use super::visit::DotHeader;

/// The longest text that is rendered, in bytes. The rest is cut.
const MAX_LENGTH: usize = 256 << 10;

/// The size at which the HTML of a text is cut, in bytes. A few characters of Markdown can produce a lot of HTML.
const MAX_HTML: usize = 1 << 20;

/// The maximum nesting of quotes and lists. Deeper ones are shown at this depth.
const MAX_DEPTH: usize = 40;

/// The location of a text. Its relative links and pictures start here.
#[derive(Debug, Clone)]
pub(crate) struct TextPlace {
    /// The dot's address: `/OWNER/DOT`.
    pub(crate) dot: String,
    /// A branch, a tag or a commit.
    pub(crate) reference: Reference,
    /// The text's folder, encoded for addresses.
    pub(crate) folder: String,
}

impl TextPlace {
    /// Returns the root folder of the dot's default branch.
    pub(crate) fn of(dot: &DotHeader) -> Self {
        Self {
            dot: dot.url(),
            reference: dot.default_branch.clone().into(),
            folder: String::new(),
        }
    }

    /// Resolves a relative address to an address on this hub. `None` if it leaves the commit or is not relative.
    fn inside(&self, kind: &str, address: &str) -> Option<String> {
        let end = address.find(['?', '#']).unwrap_or(address.len());
        let (path, rest) = address.split_at(end);
        // A colon before the first slash marks a scheme. A leading slash, or any backslash, could lead to another
        // place.
        let is_relative = !path.is_empty()
            && !path.starts_with('/')
            && !path.contains('\\')
            && !path.split('/').next().unwrap_or_default().contains(':');
        if !is_relative {
            return None;
        }
        let mut names: Vec<&str> = self
            .folder
            .split('/')
            .filter(|name| !name.is_empty())
            .collect();
        for name in path.split('/') {
            match name {
                "" | "." => {}
                ".." => drop(names.pop()?),
                name => names.push(name),
            }
        }
        let (dot, reference) = (&self.dot, self.reference.spelling());
        let anchor = rest.find('#').map_or("", |at| &rest[at..]);
        let slash = if names.is_empty() { "" } else { "/" };
        Some(format!(
            "{dot}/{kind}/{reference}{slash}{}{anchor}",
            names.join("/")
        ))
    }
}

/// Renders a text. If rendering takes too long or produces too much HTML, it stops early. A cut because of a size limit
/// is marked with `…`.
pub(crate) fn render(text: &str, place: &TextPlace, watch: &Watch) -> String {
    let end = text.floor_char_boundary(MAX_LENGTH.min(text.len()));
    let options =
        Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut picture = false;
    let events = Parser::new_ext(&text[..end], options).map(|event| match event {
        // Raw HTML is shown as text.
        Event::Html(html) | Event::InlineHtml(html) => Event::Text(html),
        Event::Start(Tag::Link {
            link_type,
            dest_url,
            title,
            id,
        }) => Event::Start(Tag::Link {
            link_type,
            dest_url: harmless(dest_url, place),
            title,
            id,
        }),
        // A picture from another site would tell that site who reads the page, so its alternative text is shown.
        Event::Start(Tag::Image {
            link_type,
            dest_url,
            title,
            id,
        }) => match place.inside("raw", dest_url.trim()) {
            Some(address) => Event::Start(Tag::Image {
                link_type,
                dest_url: address.into(),
                title,
                id,
            }),
            None => {
                picture = true;
                Event::Text("[picture: ".into())
            }
        },
        Event::End(TagEnd::Image) if picture => {
            picture = false;
            Event::Text("]".into())
        }
        event => event,
    });
    let written = Cell::new(0);
    let events = Bounded {
        events,
        written: &written,
        watch,
        open: Vec::new(),
        is_cut: false,
    };
    let mut out = Counted {
        html: String::with_capacity(text.len().min(MAX_LENGTH) * 3 / 2),
        written: &written,
    };
    // Writing to a string does not fail.
    let _ = html::write_html_fmt(&mut out, events);
    if end < text.len() || written.get() > MAX_HTML {
        out.html.push_str("<p>…</p>\n");
    }
    out.html
}

/// A buffer for HTML that publishes its length.
struct Counted<'a> {
    html: String,
    written: &'a Cell<usize>,
}

impl fmt::Write for Counted<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.html.push_str(text);
        self.written.set(self.html.len());
        Ok(())
    }
}

/// Passes events on until a limit is reached. Then closes all open elements.
struct Bounded<'a, I> {
    events: I,
    written: &'a Cell<usize>,
    watch: &'a Watch,
    /// The open elements, and whether each is shown.
    open: Vec<(TagEnd, bool)>,
    is_cut: bool,
}

impl<'t, I: Iterator<Item = Event<'t>>> Iterator for Bounded<'_, I> {
    type Item = Event<'t>;

    fn next(&mut self) -> Option<Event<'t>> {
        loop {
            if !self.is_cut {
                self.is_cut = self.written.get() > MAX_HTML || self.watch.is_over();
            }
            if self.is_cut {
                let (end, is_shown) = self.open.pop()?;
                if is_shown {
                    return Some(Event::End(end));
                }
                continue;
            }
            match self.events.next()? {
                Event::Start(tag) => {
                    let is_box = matches!(tag, Tag::BlockQuote(_) | Tag::List(_) | Tag::Item);
                    let is_shown = self.open.len() < MAX_DEPTH || !is_box;
                    self.open.push((tag.to_end(), is_shown));
                    if is_shown {
                        return Some(Event::Start(tag));
                    }
                }
                Event::End(end) => {
                    if self.open.pop().is_none_or(|(_, is_shown)| is_shown) {
                        return Some(Event::End(end));
                    }
                }
                event => return Some(event),
            }
        }
    }
}

/// Returns an address that only opens a page. Any other address becomes `#`.
fn harmless<'a>(address: CowStr<'a>, place: &TextPlace) -> CowStr<'a> {
    if let Some(inside) = place.inside("tree", address.trim()) {
        return inside.into();
    }
    let lower = address.trim_start().to_ascii_lowercase();
    let plain = ["https://", "http://", "mailto:", "#"]
        .iter()
        .any(|start| lower.starts_with(start));
    // `//host` and `/\host` lead to other hosts.
    let path = lower.starts_with('/') && !lower[1..].starts_with(['/', '\\']);
    if plain || path { address } else { "#".into() }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use dotmesh_hub_service::gate::Watch;

    use super::{MAX_HTML, MAX_LENGTH, TextPlace};

    fn render(text: &str) -> String {
        let place = TextPlace {
            dot: "/alice/app".to_owned(),
            reference: "master".parse().expect("a name"),
            folder: "uploads/a%20b".to_owned(),
        };
        super::render(text, &place, &Watch::lasting(Duration::from_secs(60)))
    }

    #[test]
    fn markdown_is_rendered() {
        assert_eq!(
            render("# A\n\n*b* [c](https://d)"),
            "<h1>A</h1>\n<p><em>b</em> <a href=\"https://d\">c</a></p>\n"
        );
    }

    #[test]
    fn relative_addresses_lead_into_the_commit() {
        for (text, address) in [
            (
                "[a](x.md)",
                "href=\"/alice/app/tree/master/uploads/a%20b/x.md\"",
            ),
            (
                "[a](./x/../y.md#z)",
                "href=\"/alice/app/tree/master/uploads/a%20b/y.md#z\"",
            ),
            ("[a](../../)", "href=\"/alice/app/tree/master\""),
            ("[a](../../../bob)", "href=\"#\""),
            (
                "![a](../x.png)",
                "<img src=\"/alice/app/raw/master/uploads/x.png\" alt=\"a\"",
            ),
            ("[a](x:y)", "href=\"#\""),
            (
                "[a](\"><script>)",
                "/alice/app/tree/master/uploads/a%20b/%22%3E%3Cscript%3E\"",
            ),
        ] {
            assert!(render(text).contains(address), "{text}: {}", render(text));
        }
    }

    #[test]
    fn a_few_signs_never_become_much_html() {
        for sign in [
            ">",
            "> ",
            "- ",
            "1. ",
            "&",
            "<",
            "[",
            "![",
            "[a](",
            "*",
            "**",
            "`",
            "~~",
            "|a\n|-\n",
            "<b>",
            "\n- ",
            "[a]\n\n[a]: b\n",
            "*a_",
            "- [ ] ",
            "\\",
            "&amp;",
            "<a>",
            "|",
            "> - ",
        ] {
            let text = sign.repeat(MAX_LENGTH / sign.len());
            let started = Instant::now();
            let html = render(&text);
            let took = started.elapsed();
            assert!(html.len() < 2 * MAX_HTML, "{sign:?}: {}", html.len());
            assert!(took < Duration::from_secs(5), "{sign:?}: {took:?}");
            for tag in ["blockquote", "ul", "ol", "li", "p", "em", "strong"] {
                let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
                let opened = html.matches(&open).count();
                assert_eq!(opened, html.matches(&close).count(), "{sign:?}: {tag}");
            }
        }
    }

    #[test]
    fn what_takes_too_long_ends_with_what_there_is() {
        let place = TextPlace {
            dot: "/alice/app".to_owned(),
            reference: "master".parse().expect("a name"),
            folder: String::new(),
        };
        let html = super::render("> *a*", &place, &Watch::lasting(Duration::ZERO));
        assert_eq!(html, "");
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
