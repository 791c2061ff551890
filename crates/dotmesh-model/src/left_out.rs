//! The items of a commit that a push leaves out.

use serde::{Deserialize, Serialize};

/// The most items in a list. Further items are only counted.
pub const MAX_LEFT_OUT: usize = 1000;

/// The most items that are sent with each commit of a history. The hub shows the rest.
pub const LEFT_OUT_IN_HISTORY: usize = 10;

/// The largest size of an item's path or reason, in bytes.
pub const MAX_LEFT_OUT_TEXT: usize = 4096;

/// Items that a commit's folder has on the node that made it, but that are not transferred.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LeftOut {
    /// How many items.
    pub count: u64,
    /// The first of them, by path.
    pub items: Vec<LeftOutItem>,
}

/// A file, folder or link, or a part of one, that is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LeftOutItem {
    /// The path from the dot's root. It is for people, and may be shortened.
    pub path: String,
    /// The reason, in words.
    pub reason: String,
}

impl LeftOut {
    /// Whether nothing is left out.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The number of items that are counted but not listed.
    pub fn hidden(&self) -> u64 {
        self.count.saturating_sub(self.items.len() as u64)
    }

    /// The same with at most `items` items.
    #[must_use]
    pub fn first(mut self, items: usize) -> Self {
        self.items.truncate(items);
        self
    }

    /// The same with only the first items, whose texts have at most `bytes` bytes together.
    #[must_use]
    pub fn within(self, bytes: usize) -> Self {
        let mut room = bytes;
        let fits = self.items.iter().take_while(|item| {
            let length = item.path.len() + item.reason.len();
            let is_room = length <= room;
            room = room.saturating_sub(length);
            is_room
        });
        let fits = fits.count();
        self.first(fits)
    }

    /// Whether it is within its limits.
    pub fn is_valid(&self) -> bool {
        let fits = |text: &str| !text.is_empty() && text.len() <= MAX_LEFT_OUT_TEXT;
        self.items.len() <= MAX_LEFT_OUT
            && self.items.len() as u64 <= self.count
            && i64::try_from(self.count).is_ok()
            && self
                .items
                .iter()
                .all(|item| fits(&item.path) && fits(&item.reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_cut_and_its_count_stays() {
        let item = LeftOutItem {
            path: "p".repeat(6),
            reason: "r".repeat(4),
        };
        let list = LeftOut {
            count: 9,
            items: vec![item; 5],
        };
        let cut = |bytes| list.clone().within(bytes);
        assert_eq!((cut(29).items.len(), cut(29).hidden()), (2, 7));
        assert_eq!(cut(50), list);
        assert_eq!(cut(9).items.len(), 0);
    }

    #[test]
    fn the_count_covers_the_items_and_texts_are_bounded() {
        let item = |length: usize| LeftOutItem {
            path: "p".repeat(length),
            reason: "a device node".to_owned(),
        };
        let list = |count, items: Vec<_>| LeftOut { count, items };
        assert!(list(0, vec![]).is_valid());
        assert!(list(5, vec![item(1), item(MAX_LEFT_OUT_TEXT)]).is_valid());
        assert!(!list(1, vec![item(1), item(1)]).is_valid());
        assert!(!list(1, vec![item(MAX_LEFT_OUT_TEXT + 1)]).is_valid());
        assert!(!list(1, vec![item(0)]).is_valid());
        assert!(!list(u64::MAX, vec![]).is_valid());
        assert!(!list(1 << 20, vec![item(1); MAX_LEFT_OUT + 1]).is_valid());
    }
}
