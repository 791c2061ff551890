//! Draws the lines between commits, as `git log --graph` does.

use dotmesh_model::CommitId;

/// The open lines below the commits drawn so far, from left to right. Each holds the commit that it leads to.
#[derive(Debug, Default)]
pub struct Graph {
    lines: Vec<CommitId>,
}

impl Graph {
    /// Draws a commit and its text. `older` is its nearest ancestor that is shown, if any.
    pub fn draw(&mut self, commit: CommitId, older: Option<CommitId>, text: &str) -> String {
        let mut drawn = String::new();
        let place = self.place_of(commit, &mut drawn);
        let width = 2 * self.lines.len();
        let mut push = |row: &str, text: &str| {
            let line = format!("{row:width$}{text}");
            drawn.push_str(line.trim_end());
            drawn.push('\n');
        };
        let mut lines = text.lines();
        let mut row = self.row(self.lines.len(), &[]);
        row.replace_range(2 * place..=2 * place, "*");
        push(&row, lines.next().unwrap_or_default());
        match older {
            Some(older) => self.lines[place] = older,
            None => {
                self.lines.remove(place);
                // The lines to the right of the closed one move left.
                let slashes: Vec<usize> = (place..self.lines.len()).map(|at| 2 * at + 1).collect();
                if !slashes.is_empty() {
                    let row = self.row(place, &slashes);
                    push(&row, lines.next().unwrap_or_default());
                }
            }
        }
        let row = self.row(self.lines.len(), &[]);
        for line in lines {
            push(&row, line);
        }
        drawn
    }

    /// The column of a commit. All lines that lead to it are joined into the leftmost one.
    fn place_of(&mut self, commit: CommitId, drawn: &mut String) -> usize {
        let leads_there = |next: &CommitId| *next == commit;
        let Some(place) = self.lines.iter().position(leads_there) else {
            self.lines.push(commit);
            return self.lines.len() - 1;
        };
        while let Some(other) = self.lines.iter().rposition(leads_there)
            && other > place
        {
            let count = self.lines.len();
            self.lines.remove(other);
            // In the first row, the lines to the right of the joined one move left too.
            let slashes: Vec<usize> = (other..count).map(|at| 2 * at - 1).collect();
            let mut rows = vec![self.row(other, &slashes)];
            let further = (place + 1..other).rev();
            rows.extend(further.map(|at| self.row(self.lines.len(), &[2 * at - 1])));
            for row in rows {
                drawn.push_str(row.trim_end());
                drawn.push('\n');
            }
        }
        place
    }

    /// A row with `count` lines, and slashes in the given columns.
    fn row(&self, count: usize, slashes: &[usize]) -> String {
        let last = slashes.iter().max().map_or(0, |last| last + 1);
        let mut row = vec![' '; last.max(2 * count)];
        for at in 0..count {
            row[2 * at] = '|';
        }
        for at in slashes {
            row[*at] = '/';
        }
        row.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Draws commits, given as pairs of a commit and its older commit. 0 stands for none.
    fn drawn(commits: &[(u8, u8)], text: &str) -> String {
        let id = |byte| CommitId::from_bytes([byte; 16]);
        let mut graph = Graph::default();
        let drawn = commits.iter().map(|(commit, older)| {
            let older = (*older != 0).then(|| id(*older));
            graph.draw(id(*commit), older, &text.replace('N', &commit.to_string()))
        });
        drawn.collect()
    }

    #[test]
    fn lines_lead_from_commit_to_commit() {
        assert_eq!(drawn(&[(2, 1), (1, 0)], "N"), "* 2\n* 1\n");
        insta::assert_snapshot!(drawn(&[(5, 1), (4, 3), (3, 1), (2, 1), (1, 0)], "N"), @r"
        * 5
        | * 4
        | * 3
        | | * 2
        | |/
        |/|
        |/
        * 1
        ");
        // One line ends, and one crosses another.
        insta::assert_snapshot!(drawn(&[(9, 0), (8, 3), (7, 4), (6, 3), (3, 0), (4, 0)], "N\nmore"), @r"
        * 9
          more
        * 8
        | more
        | * 7
        | | more
        | | * 6
        | | | more
        | |/
        |/|
        * | 3
         /  more
        * 4
          more
        ");
    }
}
