//! Finds the existing name that the user probably meant.

/// The most similar name, if one is similar enough. `-`, `_`, `.` and case are ignored, because versions of Compose differ
/// in them.
pub fn nearest<'a>(word: &str, names: &'a [String]) -> Option<&'a str> {
    let plain = |name: &str| -> String {
        let kept = name.chars().filter(|c| !"-_.".contains(*c));
        kept.flat_map(char::to_lowercase).collect()
    };
    let distance = |name: &String| strsim::damerau_levenshtein(&plain(word), &plain(name));
    let near = names.iter().min_by_key(|name| distance(name))?;
    // One typo for every four characters, at least one and at most three.
    let allowed = (word.chars().count() / 4).clamp(1, 3);
    (distance(near) <= allowed).then_some(near)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_name_is_near_by_its_spelling_or_with_a_typo() {
        let names = ["mobycounter_app", "shop", "wiki"].map(str::to_owned);
        let nearest = |word| nearest(word, &names);
        assert_eq!(nearest("moby-counter_app"), Some("mobycounter_app"));
        assert_eq!(nearest("mobycounter-ap"), Some("mobycounter_app"));
        assert_eq!(nearest("Shpo"), Some("shop"));
        assert_eq!(nearest("blog"), None);
        assert_eq!(super::nearest("shop", &[]), None);
    }
}
