//! Markdown of strangers as HTML that can do nothing: no raw HTML, no pictures from elsewhere, no addresses but plain ones.

use dotmesh_api::page::Reference;
use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html};

use super::visit::DotHeader;

/// The longest text that is rendered, in bytes; more is cut.
const MAX_LENGTH: usize = 256 << 10;

/// Where a text is: what its relative links and pictures start from.
#[derive(Debug, Clone)]
pub struct Place {
    /// The dot's address: `/OWNER/DOT`.
    pub dot: String,
    /// A branch, a tag or a commit.
    pub reference: Reference,
    /// The folder that the text is in, as it is in addresses.
    pub folder: String,
}

impl Place {
    /// In the root of a dot's branch.
    pub fn of(dot: &DotHeader) -> Self {
        Self {
            dot: dot.url(),
            reference: dot.default_branch.clone().into(),
            folder: String::new(),
        }
    }

    /// The address on this hub of what a relative one leads to; `None` where it leads out of the commit, or is not
    /// relative.
    fn inside(&self, kind: &str, address: &str) -> Option<String> {
        let end = address.find(['?', '#']).unwrap_or(address.len());
        let (path, rest) = address.split_at(end);
        // A colon before the first slash begins a scheme, a slash or backslash in front a place elsewhere.
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

/// Renders it.
pub fn render(text: &str, place: &Place) -> String {
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
            dest_url: harmless(dest_url, place),
            title,
            id,
        }),
        // A picture from elsewhere would tell its host who reads the page: its text is shown.
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
    let mut out = String::with_capacity(text.len() * 3 / 2);
    html::push_html(&mut out, events);
    out
}

/// An address that opens a page and nothing else.
fn harmless<'a>(address: CowStr<'a>, place: &Place) -> CowStr<'a> {
    if let Some(inside) = place.inside("tree", address.trim()) {
        return inside.into();
    }
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
    use super::Place;

    fn render(text: &str) -> String {
        let place = Place {
            dot: "/alice/app".to_owned(),
            reference: "master".parse().expect("a name"),
            folder: "uploads/a%20b".to_owned(),
        };
        super::render(text, &place)
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
