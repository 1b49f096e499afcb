//! Text as terminal cells: what a character may do to the cursor, and how many columns it takes.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns between tab stops.
const TAB: usize = 8;
/// Selects the coloured, wide form of the character before it.
const EMOJI_FORM: char = '\u{fe0f}';

/// The characters of a string that share a cell (a base and the marks on it), with the columns they take. A newline and a tab are
/// cells of their own, without a width.
pub(crate) fn cells(text: &str) -> impl Iterator<Item = (&str, usize)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let base = rest.chars().next()?;
        let own_cell = matches!(base, '\n' | '\t');
        let mark = |c: char| !own_cell && c.width() == Some(0);
        let len = rest.char_indices().skip(1).find(|&(_, c)| !mark(c)).map_or(rest.len(), |(at, _)| at);
        let (cell, after) = rest.split_at(len);
        rest = after;
        // Terminals draw the parts of a joined emoji side by side unless they know it: the sum is what all of them have room for.
        let width = match base {
            // What it makes wider is in the text before this one.
            EMOJI_FORM => 1,
            _ if cell.contains(EMOJI_FORM) => cell.width(),
            _ => base.width().unwrap_or(0),
        };
        Some((cell, width))
    })
}

/// The cell to print at `column`: a tab that follows a filled row is a space, since terminals disagree on where it would go.
pub(crate) fn printed_as(cell: (&str, usize), column: usize, width: usize) -> (&str, usize) {
    if cell.0 == "\t" && column >= width { (" ", 1) } else { cell }
}

/// The column after a cell that is printed at `column` of a terminal that wraps lines. `width` itself means that the last
/// column is taken and the next character wraps.
pub(crate) fn column_after(column: usize, cell: &str, cell_width: usize, width: usize) -> usize {
    match cell {
        "\n" => 0,
        "\t" => tab_stop(column).min(width.saturating_sub(1)),
        _ if column + cell_width > width => cell_width,
        _ => column + cell_width,
    }
}

/// The first tab stop after `column`.
pub(crate) fn tab_stop(column: usize) -> usize {
    (column / TAB + 1) * TAB
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_have_the_columns_that_terminals_give_them() {
        let of = |text| cells(text).collect::<Vec<_>>();
        assert_eq!(of("aé\u{301}語\n\t"), [("a", 1), ("é\u{301}", 1), ("語", 2), ("\n", 0), ("\t", 0)]);
        assert_eq!(of("🙂❤\u{fe0f}❤"), [("🙂", 2), ("❤\u{fe0f}", 2), ("❤", 1)]);
        assert_eq!(of("\u{fe0f}\u{301}a"), [("\u{fe0f}\u{301}", 1), ("a", 1)]);
        assert_eq!(of("👩\u{200d}🚀"), [("👩\u{200d}", 2), ("🚀", 2)]);
    }

    #[test]
    fn columns_wrap_at_the_edge() {
        let end = |text: &str, width| {
            cells(text).fold(0, |column, cell| {
                let (cell, cells) = printed_as(cell, column, width);
                column_after(column, cell, cells, width)
            })
        };
        assert_eq!([end("abcde", 5), end("abcdef", 5), end("abcd語", 5), end("ab\nc", 5)], [5, 1, 2, 1]);
        assert_eq!([end("abcde\t", 5), end("abcde\tb", 5)], [1, 2]);
        assert_eq!([end("a\tb", 20), end("a\t", 5), end("\t\t", 20)], [9, 4, 16]);
    }
}
