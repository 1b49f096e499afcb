//! [`Screen`]: what to send to a terminal so that settled text scrolls by as ordinary text while a live region after it is
//! redrawn in place.
//!
//! Between frames the cursor rests at the anchor, the end of the settled text. A frame clears from there to the end of the
//! screen, prints what became settled (the terminal wraps it, so it can be copied and reflows), makes room below by line feeds
//! that keep the column, and draws the live region in rows that never wrap. So no frame needs to know where on the screen it
//! is, and after a resize or an abrupt end nothing but the live region is in the wrong place.

use super::cells::{cells, column_after, printed_as, tab_stop};
use crate::cli::safe;

/// Terminals that know it show a frame as a whole; the others ignore it.
const BEGIN: &str = "\x1b[?2026h";
const END: &str = "\x1b[?2026l";
const CLEAR_BELOW: &str = "\x1b[J";
/// Between frames the cursor is where the live part begins: clears that part, and ends what an unfinished frame may have begun.
pub(super) const PARTING: &str = "\x1b[0m\x1b[?7h\x1b[?2026l\x1b[J\r\n";
/// A vertical tab is a line feed that the tty driver leaves alone: the column stays, and the last line scrolls.
const DOWN: &str = "\x0b";
const SAVE: &str = "\x1b7";
const RESTORE: &str = "\x1b8";
/// If the terminal finds a character wider than we do, its row is cut instead of wrapped.
const NO_WRAP: &str = "\x1b[?7l";
const WRAP: &str = "\x1b[?7h";
const RESET: &str = "\x1b[0m";
/// Narrower terminals get no live region.
const MIN_WIDTH: usize = 8;

/// Columns and rows of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) width: usize,
    pub(crate) height: usize,
}

/// How a piece of the live region looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Style {
    /// As settled text.
    Plain,
    /// A mask, a part of a character, a remark.
    Dim,
    /// A revealed token by how sure the model was of it, from 0 to 1.
    Sure(f64),
}

impl Style {
    /// The sixteen colours are those of the user's theme, so they are readable on light and on dark.
    fn sequence(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Dim => "\x1b[2m",
            Self::Sure(p) if p < 0.5 => "\x1b[31m",
            Self::Sure(p) if p < 0.8 => "\x1b[33m",
            Self::Sure(p) if p < 0.95 => "\x1b[36m",
            Self::Sure(_) => "\x1b[32m",
        }
    }
}

/// A part of the live region.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Piece {
    pub(crate) text: String,
    pub(crate) style: Style,
    /// Positions of the sequence that it represents: as many as it has cells (masks), or one, or none.
    pub(crate) positions: usize,
}

/// The state of the terminal that frames are drawn on.
pub(crate) struct Screen {
    colours: bool,
    size: Option<Size>,
    /// Settled text on the line of the anchor.
    line: String,
    /// Bytes of it that are printed. A last cell that would fill its row is not: terminals disagree on where the cursor is then,
    /// so it waits in the live region.
    printed: usize,
    /// Whether there is a live region after the anchor, whose place the terminal has saved.
    drawn: bool,
}

impl Screen {
    /// A screen whose cursor is at the start of a line.
    pub(crate) fn new(colours: bool) -> Self {
        Self { colours, size: None, line: String::new(), printed: 0, drawn: false }
    }

    /// What to send to a terminal of this size to print `settled` and to show `live` after it. `positions` is the number of them that
    /// the whole live region represents, even where `live` does not extend to its end.
    pub(crate) fn frame(&mut self, settled: &str, live: &[Piece], positions: usize, size: Size) -> String {
        let mut out = String::from(BEGIN);
        self.clear(size, &mut out);
        self.line.push_str(&safe(settled));
        let (until, column) = self.printable(size.width);
        self.print(until, size.width, &mut out);
        if size.width >= MIN_WIDTH && size.height > 1 {
            let held =
                Piece { text: self.line[self.printed..].to_string(), style: Style::Plain, positions: 0 };
            let mut rows = Rows::new(column, size, self.colours);
            let fits = std::iter::once(&held).chain(live).all(|piece| rows.push(piece));
            if !fits {
                rows.cut(positions);
            }
            rows.write("", 0, Style::Plain);
            self.draw(&rows.rows, &mut out);
        }
        out + END
    }

    /// Removes the live region and prints `rest` and a line end: nothing but text is left.
    pub(crate) fn finish(&mut self, rest: &str, size: Size) -> String {
        let mut out = String::from(BEGIN);
        self.clear(size, &mut out);
        self.line.push_str(&safe(rest));
        self.line.push('\n');
        self.print(self.line.len(), size.width, &mut out);
        out + END
    }

    /// Whether a live region would be left behind now.
    pub(crate) fn is_drawn(&self) -> bool {
        self.drawn
    }

    /// Brings the terminal back to the anchor with nothing after it.
    fn clear(&mut self, size: Size, out: &mut String) {
        let same = self.size.replace(size) == Some(size);
        if !std::mem::take(&mut self.drawn) {
            return;
        }
        if same {
            // What was typed meanwhile, such as ^C, was echoed at the anchor. After a resize the saved place means nothing, but
            // then terminals keep the cursor in the text.
            *out += RESTORE;
        } else if let Some((at, column)) = self.filled_row(size.width) {
            // The anchor came to the end of a row: clearing would take the last cell with it, so that cell is printed again.
            self.printed = at;
            *out += &format!("\x1b[{}G", column + 1);
        }
        *out += CLEAR_BELOW;
    }

    /// The cells of the line as they are printed on a terminal of this width.
    fn line_cells(&self, width: usize) -> impl Iterator<Item = LineCell<'_>> {
        let (mut at, mut column) = (0, 0);
        cells(&self.line).map(move |cell| {
            let len = cell.0.len();
            let (text, columns) = printed_as(cell, column, width);
            let cell = LineCell { at, end: at + len, column, text, columns };
            at += len;
            column = column_after(column, text, columns, width);
            cell
        })
    }

    /// The last printed cell, if it ends at the edge: where it begins and its column.
    fn filled_row(&self, width: usize) -> Option<(usize, usize)> {
        let last = self.line_cells(width).take_while(|cell| cell.end <= self.printed).last()?;
        let filled = last.columns > 0 && column_after(last.column, last.text, last.columns, width) == width;
        filled.then(|| (last.at, width.saturating_sub(last.columns)))
    }

    /// How many bytes of the line may be printed, and the column after them.
    fn printable(&self, width: usize) -> (usize, usize) {
        let (mut end, mut best) = ((0, 0), (self.printed, 0));
        for cell in self.line_cells(width) {
            if cell.at <= self.printed || cell.column < width {
                best = (cell.at.max(self.printed), cell.column);
            }
            end = (cell.end, column_after(cell.column, cell.text, cell.columns, width));
        }
        if end.1 < width || width < MIN_WIDTH { end } else { best }
    }

    fn print(&mut self, until: usize, width: usize, out: &mut String) {
        let new = self.line_cells(width).filter(|cell| cell.end > self.printed && cell.at < until);
        for cell in new {
            // A mark may have joined a cell that is printed.
            let joined = self.printed.saturating_sub(cell.at);
            *out += if cell.text == "\n" { "\r\n" } else { &cell.text[joined..] };
        }
        let start = self.line[..until].rfind('\n').map_or(0, |newline| newline + 1);
        self.line.drain(..start);
        self.printed = until - start;
    }

    fn draw(&mut self, rows: &[String], out: &mut String) {
        if rows.iter().all(String::is_empty) {
            return;
        }
        let below = rows.len() - 1;
        if below > 0 {
            *out += &DOWN.repeat(below);
            *out += &format!("\x1b[{below}A");
        }
        *out += SAVE;
        *out += NO_WRAP;
        *out += &rows.join("\r\n");
        *out += RESTORE;
        *out += WRAP;
        self.drawn = true;
    }
}

/// A cell of the anchor's line.
struct LineCell<'a> {
    /// Where it begins and ends, in bytes.
    at: usize,
    end: usize,
    /// Where it is printed, if it does not wrap.
    column: usize,
    text: &'a str,
    columns: usize,
}

/// The rows of a live region: its first one begins at the anchor.
struct Rows {
    size: Size,
    colours: bool,
    rows: Vec<String>,
    /// Columns taken in the last row.
    column: usize,
    /// Column of the anchor.
    first_column: usize,
    /// Positions that are shown.
    shown: usize,
    /// Positions that were shown before each row.
    before: Vec<usize>,
    style: &'static str,
}

impl Rows {
    fn new(column: usize, size: Size, colours: bool) -> Self {
        let (rows, before) = (vec![String::new()], vec![0]);
        Self { size, colours, rows, column, first_column: column, shown: 0, before, style: "" }
    }

    /// Rows that may be used. One is left, so that the text before stays in sight.
    fn limit(&self) -> usize {
        self.size.height - 1
    }

    /// Adds a piece, unless the screen is full.
    fn push(&mut self, piece: &Piece) -> bool {
        let text = safe(&piece.text);
        if text.is_empty() {
            self.shown += piece.positions;
        }
        for (i, cell) in cells(&text).enumerate() {
            let (cell, width) = printed_as(cell, self.column, self.size.width);
            if cell == "\n" || self.column + width > self.size.width {
                self.end_row();
                if self.rows.len() > self.limit() {
                    return false;
                }
            }
            match cell {
                "\n" => {}
                "\t" => {
                    // As a terminal does it: the last column is the last stop.
                    let room = (self.size.width - 1).saturating_sub(self.column);
                    let spaces = (tab_stop(self.column) - self.column).min(room);
                    self.write(&" ".repeat(spaces), spaces, Style::Plain);
                }
                _ => self.write(cell, width, piece.style),
            }
            self.shown += usize::from(i < piece.positions);
        }
        true
    }

    fn write(&mut self, text: &str, width: usize, style: Style) {
        let sequence = if self.colours { style.sequence() } else { "" };
        let row = self.rows.last_mut().expect("there is a row from the start");
        if sequence != self.style {
            *row += if self.style.is_empty() { "" } else { RESET };
            *row += sequence;
            self.style = sequence;
        }
        *row += text;
        self.column += width;
    }

    fn end_row(&mut self) {
        self.write("", 0, Style::Plain);
        self.rows.push(String::new());
        self.before.push(self.shown);
        self.column = 0;
    }

    /// The last row says how many of all positions do not fit.
    fn cut(&mut self, positions: usize) {
        self.rows.truncate(self.limit());
        let last = self.rows.len() - 1;
        self.rows[last].clear();
        self.column = if last == 0 { self.first_column } else { 0 };
        self.style = "";
        let note = format!("… {} more", positions.saturating_sub(self.before[last]));
        let room = self.size.width - self.column;
        self.write(&note.chars().take(room).collect::<String>(), 0, Style::Dim);
    }
}
