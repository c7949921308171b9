//! Tables and lists for people.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets::NOTHING};

use crate::output::plain;

/// A column: its heading, and whether it holds numbers.
pub(crate) type Column = (&'static str, bool);

/// Rows under headings.
pub(crate) fn table(columns: &[Column], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = bare();
    table.set_header(columns.iter().map(|(name, _)| *name));
    for row in rows {
        table.add_row(row.iter().map(|cell| plain(cell)));
    }
    for (at, (_, number)) in columns.iter().enumerate() {
        if let (true, Some(column)) = (*number, table.column_mut(at)) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    shown(&table)
}

/// Names and what they are.
pub(crate) fn list(rows: impl IntoIterator<Item = (&'static str, String)>) -> String {
    let mut table = bare();
    for (name, value) in rows {
        table.add_row([name.to_owned(), plain(&value)]);
    }
    shown(&table)
}

fn bare() -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table
}

/// Without the spaces around the columns at either end.
fn shown(table: &Table) -> String {
    let text = table.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.iter().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_line_up() {
        let rows = [["a", "1"], ["long\tname", "12345"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(
            table(&[("NAME", false), ("LIVE", true)], rows),
            "NAME         LIVE\na               1\nlong\\tname  12345"
        );
        assert_eq!(list([("kind", "k".to_owned()), ("bytes", "1".to_owned())]), "kind   k\nbytes  1");
    }
}
