//! `/-/search`: searches dots, branches, tags and commit messages that the viewer may see.

use askama::Template;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use dotmesh_api::dots::Found;
use dotmesh_hub_model::search::{Place, Words};
use dotmesh_hub_model::show;
use dotmesh_hub_service::Hub;
use dotmesh_hub_service::operations::search;

use crate::error::HttpError;
use crate::routes::search::SearchQuery;
use crate::web::{Page, Visit, render};

/// The longest excerpt of a text, in characters.
const MAX_EXCERPT_LENGTH: usize = 240;

/// The most tables of a dot that a result names.
const MAX_TABLES: usize = 12;

#[derive(Template)]
#[template(path = "search.html")]
struct SearchPage {
    visit: Visit,
    query: SearchQuery,
    place: Place,
    places: Vec<(Place, String)>,
    hits: Vec<Hit>,
    next: Option<String>,
}

/// A search result. Each text is in parts, with a flag for the parts that match.
struct Hit {
    url: String,
    title: Vec<(bool, String)>,
    dot: String,
    excerpt: Vec<(bool, String)>,
}

impl Hit {
    fn new(found: Found, place: Place, words: &Words) -> Self {
        let full = found.dot.full();
        let mark = |text: &str| {
            let parts = words.mark(text).into_iter();
            parts
                .map(|(is_word, part)| (is_word, part.to_owned()))
                .collect()
        };
        let excerpt = |text: &str| mark(&excerpt(text, words));
        let (title, rest) = show::split_message(&found.text);
        let title = show::cut(&title, show::MAX_TITLE);
        let commit = found.commit.map(|commit| commit.to_string());
        let commit = commit.unwrap_or_default();
        let spelling = found.name.as_ref().map(|name| name.spelling());
        let spelling = spelling.unwrap_or_default().into_owned();
        let name = found.name.map(String::from).unwrap_or_default();
        let (url, title, excerpt) = match place {
            Place::Dots => (format!("/{full}"), mark(&full), excerpt(&found.text)),
            Place::Branches => (
                format!("/{full}/commits/{spelling}"),
                mark(&name),
                Vec::new(),
            ),
            Place::Tags => (
                format!("/{full}/commit/{commit}"),
                mark(&name),
                excerpt(&found.text),
            ),
            Place::Tables => {
                let names: Vec<&str> = found.text.lines().collect();
                let shown = names[..names.len().min(MAX_TABLES)].join(", ");
                let more = match names.len().saturating_sub(MAX_TABLES) {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                (
                    format!("/{full}/commit/{commit}"),
                    mark(&show::cut(&shown, show::MAX_TITLE)),
                    excerpt(&format!("in the databases of {full}{more}")),
                )
            }
            Place::Commits => (
                format!("/{full}/commit/{commit}"),
                mark(&title),
                excerpt(rest),
            ),
        };
        Self {
            url,
            title,
            dot: full,
            excerpt,
        }
    }
}

/// Returns the part of a text around the first match.
fn excerpt(text: &str, words: &Words) -> String {
    let start = words.first_in(text).unwrap_or_else(|| text.chars().count());
    let length = text.chars().count();
    let start = start.saturating_sub(MAX_EXCERPT_LENGTH / 4);
    let start = if length <= MAX_EXCERPT_LENGTH {
        0
    } else {
        start.min(length - MAX_EXCERPT_LENGTH)
    };
    let part: String = text.chars().skip(start).take(MAX_EXCERPT_LENGTH).collect();
    let before = if start > 0 { "… " } else { "" };
    let after = if start + MAX_EXCERPT_LENGTH < length {
        " …"
    } else {
        ""
    };
    format!("{before}{}{after}", part.trim())
}

pub(crate) async fn get(
    State(hub): State<Hub>,
    visit: Visit,
    query: Result<Query<SearchQuery>, QueryRejection>,
) -> Page {
    let Query(query) =
        query.map_err(|_| HttpError::malformed("the search address is malformed"))?;
    let viewer = visit.viewer.id();
    let words = Words::new(&query.q);
    // Who did not choose where to search sees the first place with results.
    let mut tried = match query.place {
        Some(place) => vec![place],
        None => Place::ALL.to_vec(),
    }
    .into_iter();
    let mut place = tried.next().unwrap_or_default();
    let mut results = search::search(&hub, viewer, &words, place, query.page).await?;
    let first = place;
    while results.found.is_empty() {
        let Some(next) = tried.next() else {
            place = first;
            break;
        };
        place = next;
        results = search::search(&hub, viewer, &words, place, query.page).await?;
    }
    let url = |place: Place, page: u32| {
        let page = page.to_string();
        let fields = [
            ("q", query.q.as_str()),
            ("in", place.as_str()),
            ("page", &page),
        ];
        let fields = serde_urlencoded::to_string(fields).unwrap_or_default();
        format!("/-/search?{fields}")
    };
    let page = query.page.unwrap_or(1).max(1);
    let next = results.more.then(|| url(place, page + 1));
    let places = Place::ALL.map(|place| (place, url(place, 1))).to_vec();
    let share = visit.viewer.share(&hub);
    let hits = share.run(move |_| {
        let hits = results.found.into_iter();
        hits.map(|found| Hit::new(found, place, &words)).collect()
    });
    let hits = hits.await?;
    render(&SearchPage {
        visit,
        place,
        query,
        places,
        hits,
        next,
    })
}
