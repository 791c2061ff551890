//! Cleans up commit messages before they are stored.

/// Joins the texts of several `-m` options. Each becomes a paragraph.
pub fn join(texts: &[String]) -> String {
    let paragraphs = texts
        .iter()
        .map(|text| tidy(text))
        .filter(|text| !text.is_empty());
    paragraphs.collect::<Vec<_>>().join("\n\n")
}

/// Removes what a message typed over several lines of a shell contains by accident: empty lines around it, spaces at the
/// ends of lines, and the common indentation.
pub fn tidy(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let filled = |line: &&str| !line.is_empty();
    let Some(first) = lines.iter().position(&filled) else {
        return String::new();
    };
    let last = lines.iter().rposition(&filled).unwrap_or(first);
    let lines = &lines[first..=last];
    let indentation = |line: &&str| line.len() - line.trim_start_matches([' ', '\t']).len();
    let shared = lines
        .iter()
        .filter(|line| filled(line))
        .map(indentation)
        .min()
        .unwrap_or(0);
    // Spaces and tabs are one byte each, so the cut is between characters.
    let cut = lines.iter().map(|line| line.get(shared..).unwrap_or(""));
    cut.collect::<Vec<_>>().join("\n")
}
