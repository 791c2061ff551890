//! Detects a file's type from its name and its first bytes. The type decides how the file is shown, and as which media
//! type it may be sent.

use dotmesh_store::EntryName;

/// The number of first bytes that are examined.
pub const BEGINNING_LENGTH: usize = 8 << 10;

/// The largest text that a page shows, in bytes.
pub const MAX_SHOWN_TEXT: u64 = 512 << 10;

/// The largest picture that a page shows, in bytes.
pub const MAX_SHOWN_IMAGE: u64 = 32 << 20;

/// A picture format that browsers show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ImageType {
    Png,
    Jpeg,
    Gif,
    Webp,
    Avif,
    /// An SVG can also be a document with scripts. So the hub sends it only as a picture, or without any permissions.
    Svg,
}

impl ImageType {
    /// Returns the media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Gif => "image/gif",
            Self::Webp => "image/webp",
            Self::Avif => "image/avif",
            Self::Svg => "image/svg+xml",
        }
    }
}

/// The type of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileType {
    Image(ImageType),
    Markdown,
    Text,
    Binary,
}

impl FileType {
    /// Detects the type of a file. The bytes alone identify a picture, whatever the name is. Only SVG needs a matching
    /// name too.
    pub fn of(name: &EntryName, beginning: &[u8], size: u64) -> Self {
        let name = name.as_bytes().to_ascii_lowercase();
        let ends = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end.as_bytes()));
        if let Some(image) = picture(beginning) {
            return Self::Image(image);
        }
        if !is_text(beginning, beginning.len() as u64 == size) {
            return Self::Binary;
        }
        if ends(&[".svg"]) && contains(beginning, b"<svg") {
            Self::Image(ImageType::Svg)
        } else if ends(&[".md", ".markdown", ".mdown", ".mkd"]) {
            Self::Markdown
        } else {
            Self::Text
        }
    }
}

fn picture(beginning: &[u8]) -> Option<ImageType> {
    let is_webp = beginning.starts_with(b"RIFF") && beginning.get(8..12) == Some(b"WEBP");
    let brand = beginning.get(4..12);
    let is_avif = matches!(brand, Some(b"ftypavif" | b"ftypavis"));
    match beginning {
        [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, ..] => Some(ImageType::Png),
        [0xff, 0xd8, 0xff, ..] => Some(ImageType::Jpeg),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(ImageType::Gif),
        _ if is_webp => Some(ImageType::Webp),
        _ if is_avif => Some(ImageType::Avif),
        _ => None,
    }
}

/// Returns whether the bytes are UTF-8 without NUL. If they are only the beginning of a file, the last character may be
/// cut.
fn is_text(beginning: &[u8], is_all: bool) -> bool {
    if beginning.contains(&0) {
        return false;
    }
    match std::str::from_utf8(beginning) {
        Ok(_) => true,
        Err(error) => !is_all && error.error_len().is_none(),
    }
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// Returns the bytes in lines of sixteen, in the format of `hexdump -C`.
pub fn hex_lines(bytes: &[u8]) -> Vec<String> {
    let line = |(n, line): (usize, &[u8])| {
        let digits: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        let text = line.iter().map(|byte| match byte {
            b' '..=b'~' => char::from(*byte),
            _ => '.',
        });
        let text: String = text.collect();
        format!("{:08x}  {:<47}  {text}", n * 16, digits.join(" "))
    };
    bytes.chunks(16).enumerate().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_files_are() {
        use FileType::*;
        for (name, bytes, wanted) in [
            (
                "a.png",
                &b"\x89PNG\r\n\x1a\n\0\0"[..],
                Image(ImageType::Png),
            ),
            ("a.txt", b"\x89PNG\r\n\x1a\n\0\0", Image(ImageType::Png)),
            ("a.png", b"<script>alert(1)</script>", Text),
            ("a", b"\xff\xd8\xff\xe0\0", Image(ImageType::Jpeg)),
            ("a", b"GIF89a\0", Image(ImageType::Gif)),
            ("a", b"RIFF\0\0\0\0WEBPVP8 ", Image(ImageType::Webp)),
            ("a", b"\0\0\0\x20ftypavif", Image(ImageType::Avif)),
            ("a.SVG", b"<?xml?><svg/>", Image(ImageType::Svg)),
            ("a.svg", b"<html/>", Text),
            ("a.html", b"<svg/>", Text),
            ("README.md", b"# a", Markdown),
            ("a.md", b"\0", Binary),
            ("a", b"", Text),
            ("a", b"caf\xc3\xa9", Text),
            ("a", b"caf\xc3", Binary),
            ("a", b"\xe9", Binary),
        ] {
            let entry = EntryName::new(name.as_bytes()).expect("a name");
            let found = FileType::of(&entry, bytes, bytes.len() as u64);
            assert_eq!(found, wanted, "{name} {bytes:?}");
        }
        let entry = EntryName::new(b"a").expect("a name");
        assert_eq!(FileType::of(&entry, b"caf\xc3", 5), Text);
    }

    #[test]
    fn bytes_in_lines() {
        let lines = hex_lines(b"0123456789abcdef\x00x");
        assert_eq!(lines.len(), 2);
        assert!(
            lines[0].starts_with("00000000  30 31") && lines[0].ends_with("  0123456789abcdef")
        );
        assert!(lines[1].starts_with("00000010  00 78  ") && lines[1].ends_with("  .x"));
    }
}
