//! Text in columns that never get wider than a terminal.

use crate::style::Palette;

/// Widest line of any table. Fits two files side by side, an e-mail, and every terminal that is not split.
pub const WIDTH_MAX: usize = 100;

/// Narrowest a shrinkable column gets; names stay recognisable.
const SHRUNK_MIN: usize = 8;

/// Blanks between columns.
const GAP: usize = 2;

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Heading.
    pub heading: &'static str,
    /// Figures stand on the right.
    pub right: bool,
    /// May lose its middle when the line is too long.
    pub shrinks: bool,
}

impl Column {
    /// Text.
    #[must_use]
    pub const fn text(heading: &'static str) -> Column {
        Column { heading, right: false, shrinks: true }
    }

    /// Text that is never shortened.
    #[must_use]
    pub const fn fixed(heading: &'static str) -> Column {
        Column { heading, right: false, shrinks: false }
    }

    /// A figure.
    #[must_use]
    pub const fn figure(heading: &'static str) -> Column {
        Column { heading, right: true, shrinks: false }
    }
}

/// Lays rows out under headings, each line behind `margin` blanks.
#[must_use]
pub fn lay_out(columns: &[Column], rows: &[Vec<String>], margin: usize, palette: Palette) -> String {
    let widths = widths(columns, rows, margin);
    let mut text = String::new();
    let headings: Vec<String> = columns.iter().map(|column| column.heading.to_owned()).collect();
    if headings.iter().any(|heading| !heading.is_empty()) {
        text.push_str(&palette.faint(&line(columns, &widths, &headings, margin)));
        text.push('\n');
    }
    for row in rows {
        text.push_str(&line(columns, &widths, row, margin));
        text.push('\n');
    }
    text
}

fn widths(columns: &[Column], rows: &[Vec<String>], margin: usize) -> Vec<usize> {
    let mut widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(at, column)| {
            let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| length(cell));
            cells.chain([length(column.heading)]).max().unwrap_or(0)
        })
        .collect();
    loop {
        let total = margin + widths.iter().sum::<usize>() + GAP * columns.len().saturating_sub(1);
        let widest = (0..columns.len())
            .filter(|at| columns[*at].shrinks && widths[*at] > SHRUNK_MIN)
            .max_by_key(|at| widths[*at]);
        match widest {
            Some(at) if total > WIDTH_MAX => widths[at] -= 1,
            _ => return widths,
        }
    }
}

fn line(columns: &[Column], widths: &[usize], cells: &[String], margin: usize) -> String {
    let mut text = " ".repeat(margin);
    for (at, (column, width)) in columns.iter().zip(widths).enumerate() {
        if at > 0 {
            text.push_str(&" ".repeat(GAP));
        }
        let cell = shorten(cells.get(at).map_or("", String::as_str), *width);
        let blanks = " ".repeat(width.saturating_sub(length(&cell)));
        if column.right {
            text.push_str(&blanks);
            text.push_str(&cell);
        } else {
            text.push_str(&cell);
            text.push_str(&blanks);
        }
    }
    text.truncate(text.trim_end().len());
    text
}

/// Cuts the middle out: names differ most at their ends.
#[must_use]
pub fn shorten(text: &str, width: usize) -> String {
    let letters: Vec<char> = text.chars().collect();
    if letters.len() <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    let head: String = letters[..kept.div_ceil(2)].iter().collect();
    let tail: String = letters[letters.len() - kept / 2..].iter().collect();
    format!("{head}…{tail}")
}

/// Wraps words; the first line starts with `first`, the others with as many blanks. Words longer than a line are cut.
#[must_use]
pub fn wrap(first: &str, text: &str) -> String {
    let indent = length(first);
    let room = WIDTH_MAX.saturating_sub(indent).max(SHRUNK_MIN);
    let mut lines: Vec<String> = vec![String::new()];
    for word in words(text).iter().flat_map(|word| pieces(word, room)) {
        let last = lines.last_mut().expect("there is always a line");
        if last.is_empty() {
            last.push_str(&word);
        } else if length(last) + 1 + length(&word) <= room {
            last.push(' ');
            last.push_str(&word);
        } else {
            lines.push(word);
        }
    }
    let mut wrapped = String::new();
    for (at, line) in lines.iter().enumerate() {
        let start = if at == 0 { first.to_owned() } else { " ".repeat(indent) };
        wrapped.push_str(format!("{start}{line}").trim_end());
        wrapped.push('\n');
    }
    wrapped
}

/// Words, a per cent sign kept with its number.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match words.last_mut() {
            Some(number) if word.starts_with('%') => {
                number.push(' ');
                number.push_str(word);
            }
            _ => words.push(word.to_owned()),
        }
    }
    words
}

fn pieces(word: &str, room: usize) -> Vec<String> {
    let letters: Vec<char> = word.chars().collect();
    letters.chunks(room).map(|piece| piece.iter().collect()).collect()
}

/// Columns a text takes. Kubernetes names are ASCII; our own signs take one column each.
fn length(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_shrink_and_figures_stay() {
        let columns = [Column::text("name"), Column::figure("price")];
        let rows = vec![vec!["n".repeat(300), "$1.0000".to_owned()]];
        let text = lay_out(&columns, &rows, 2, Palette::PLAIN);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH_MAX), "{text}");
        assert!(text.contains("$1.0000"));
    }

    #[test]
    fn words_wrap_under_the_first() {
        let text = wrap("  ! ", &format!("{} {}", "a".repeat(60), "b".repeat(250)));
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH_MAX), "{text}");
        assert!(text.lines().nth(1).is_some_and(|line| line.starts_with("    b")));
    }

    #[test]
    fn names_keep_both_ends() {
        assert_eq!(shorten("general-purpose", 9), "gene…pose");
        assert_eq!(shorten("short", 9), "short");
    }
}
