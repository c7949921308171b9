//! Supervision trees as lines of text, with columns behind the names.

use quark_silo::api::{KindReport, TreeNode, TreeReport};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::look::short;
use crate::output::plain;
use crate::units::shown_ms;

/// Columns of names that are kept free in every line; a longer name moves what is behind it.
const NAMES_MAX: usize = 60;
/// Columns of a reason at the least, and at the most where no terminal says how many fit.
const REASON: (usize, usize) = (20, 100);
const HEADINGS: [&str; 5] = ["ACTOR", "STATE", "LIFETIME", "RESTARTS", "LAST FAILURE"];
const GAP: &str = "  ";
const OFF: &str = "\x1b[0m";

/// How it shall look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// With lines of boxes, else with what ASCII has.
    pub(crate) unicode: bool,
    pub(crate) colour: bool,
    /// Columns of the terminal, if it is one.
    pub(crate) width: Option<usize>,
    /// Whether no line may be longer than that.
    pub(crate) cut: bool,
}

impl Look {
    /// A line beside the trees.
    pub(crate) fn note(self, text: &str) -> String {
        cut(text, self.width.filter(|_| self.cut).unwrap_or(usize::MAX), self.unicode)
    }
}

/// What leads to a name: an actor that others follow, the last one, and the same for those below them.
struct Branches {
    next: &'static str,
    last: &'static str,
    below_next: &'static str,
    below_last: &'static str,
}

const BOXES: Branches = Branches { next: "├─ ", last: "└─ ", below_next: "│  ", below_last: "   " };
const ASCII: Branches = Branches { next: "|- ", last: "`- ", below_next: "|  ", below_last: "   " };

/// An actor's line.
struct Row {
    /// Name, state, lifetime, restarts, reason: plain text.
    cells: [String; 5],
    /// Of its state; empty for none.
    colour: &'static str,
}

/// Trees, one line for each actor, under headings.
pub(crate) fn drawn(report: &TreeReport, kinds: &[KindReport], look: Look) -> Vec<String> {
    let mut rows = vec![Row { cells: HEADINGS.map(str::to_owned), colour: "" }];
    let branches = if look.unicode { &BOXES } else { &ASCII };
    for root in &report.roots {
        rows.push(row(root, "", kinds));
        add_children(root, &mut String::new(), branches, kinds, &mut rows);
    }
    let widest = |at: usize| rows.iter().map(|row| row.cells[at].width()).max().unwrap_or_default();
    let widths = [widest(0).min(NAMES_MAX), widest(1), widest(2), widest(3)];
    let before = widths.iter().sum::<usize>() + widths.len() * GAP.len();
    let reason = look.width.map_or(REASON.1, |width| width.saturating_sub(before).max(REASON.0));
    rows.iter().map(|row| line(row, widths, reason, look)).collect()
}

fn add_children(node: &TreeNode, lead: &mut String, branches: &Branches, kinds: &[KindReport], rows: &mut Vec<Row>) {
    let length = lead.len();
    for (at, child) in node.children.iter().enumerate() {
        let is_last = at + 1 == node.children.len();
        let (to_name, below) =
            if is_last { (branches.last, branches.below_last) } else { (branches.next, branches.below_next) };
        lead.push_str(to_name);
        rows.push(row(child, lead, kinds));
        lead.truncate(length);
        lead.push_str(below);
        add_children(child, lead, branches, kinds, rows);
        lead.truncate(length);
    }
}

fn row(node: &TreeNode, lead: &str, kinds: &[KindReport]) -> Row {
    let name = plain(&format!("{}/{}", short(kinds, &node.kind), node.key));
    let left = node.left_ms.map(|ms| format!(" {}", shown_ms(ms))).unwrap_or_default();
    let reason = node.last_failure.as_ref().map(|failure| plain(&failure.reason)).unwrap_or_default();
    let cells = [
        format!("{lead}{name}"),
        format!("{}{left}", plain(&node.state)),
        plain(&node.lifetime),
        node.restarts.to_string(),
        reason,
    ];
    let colour = match node.state.as_str() {
        "down" | "cool-down" => "\x1b[1;31m",
        "held" | "stopped" => "\x1b[33m",
        _ => "",
    };
    Row { cells, colour }
}

fn line(row: &Row, widths: [usize; 4], reason: usize, look: Look) -> String {
    let [name, state, lifetime, restarts, why] = &row.cells;
    let fill = |text: &str, width: usize| " ".repeat(width.saturating_sub(text.width()));
    let name = format!("{name}{}{GAP}", fill(name, widths[0]));
    let behind = format!(
        "{}{GAP}{lifetime}{}{GAP}{}{restarts}{GAP}{}",
        fill(state, widths[1]),
        fill(lifetime, widths[2]),
        fill(restarts, widths[3]),
        cut(said(why, reason), reason, look.unicode)
    );
    let mut left = look.width.filter(|_| look.cut).unwrap_or(usize::MAX);
    let mut line = String::new();
    for (text, colour) in [(&*name, ""), (state, row.colour), (behind.trim_end(), "")] {
        let text = cut(text, left, look.unicode);
        left -= text.width().min(left);
        if look.colour && !colour.is_empty() {
            line.extend([colour, &text, OFF]);
        } else {
            line.push_str(&text);
        }
    }
    line
}

/// What a reason says; where it does not fit whole, without the place of a panic in the source.
fn said(reason: &str, columns: usize) -> &str {
    let message = reason.strip_prefix("panicked at ").and_then(|panic| panic.split_once(": "));
    message.filter(|_| reason.width() > columns).map_or(reason, |(_, message)| message)
}

/// As much of a text as fits, with a sign where it goes on.
fn cut(text: &str, columns: usize, unicode: bool) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let more = if unicode { "…" } else { "..." };
    let more = if more.width() <= columns { more } else { "" };
    let mut left = columns - more.width();
    let fits = |c: &char| {
        let width = c.width().unwrap_or_default();
        let fits = width <= left;
        left = left.saturating_sub(width);
        fits
    };
    let mut cut: String = text.chars().take_while(fits).collect();
    cut.push_str(more);
    cut
}

#[cfg(test)]
mod tests {
    use quark_silo::api::FailureReport;

    use super::*;

    const PAPER: Look = Look { unicode: true, colour: false, width: None, cut: false };

    fn node(key: &str, lifetime: &str, children: Vec<TreeNode>) -> TreeNode {
        TreeNode {
            kind: "a:b/c#worker".into(),
            key: key.into(),
            lifetime: lifetime.into(),
            state: "awake".into(),
            children,
            ..TreeNode::default()
        }
    }

    fn failed(node: TreeNode, state: &str, left_ms: Option<u64>, reason: &str) -> TreeNode {
        let last_failure = Some(FailureReport { reason: reason.into(), at_ms: 0, count: 3 });
        TreeNode { state: state.into(), left_ms, restarts: 12, last_failure, ..node }
    }

    fn crew() -> TreeReport {
        let tool = TreeNode { state: "held".into(), ..node("tool", "transient", Vec::new()) };
        let ann = failed(node("ann", "permanent", vec![tool]), "down", Some(1200), "boom");
        let bob = node("bob", "temporary", Vec::new());
        TreeReport { roots: vec![node("night", "", vec![ann, bob]), node("day", "", Vec::new())], truncated: false }
    }

    #[test]
    fn a_tree_has_lines_and_columns() {
        let expect = "\
ACTOR              STATE       LIFETIME   RESTARTS  LAST FAILURE
worker/night       awake                         0
├─ worker/ann      down 1.2 s  permanent        12  boom
│  └─ worker/tool  held        transient         0
└─ worker/bob      awake       temporary         0
worker/day         awake                         0";
        let lines = drawn(&crew(), &[], PAPER);
        assert_eq!(lines.join("\n"), expect);
        let ascii = drawn(&crew(), &[], Look { unicode: false, ..PAPER });
        assert!(ascii.iter().all(|line| line.is_ascii()), "{ascii:?}");
        assert!(ascii[2].starts_with("|- worker/ann ") && ascii[4].starts_with("`- worker/bob "), "{ascii:?}");
        assert!(ascii[3].starts_with("|  `- worker/tool "), "{ascii:?}");
    }

    #[test]
    fn only_states_have_colours() {
        let lines = drawn(&crew(), &[], Look { colour: true, ..PAPER });
        assert!(lines[2].contains("\x1b[1;31mdown 1.2 s\x1b[0m  permanent"), "{lines:?}");
        assert!(lines[3].contains("\x1b[33mheld\x1b[0m        transient"), "{lines:?}");
        assert!(!lines[1].contains('\x1b'), "{lines:?}");
        let cut = drawn(&crew(), &[], Look { colour: true, cut: true, width: Some(20), ..PAPER });
        assert!(cut[2].ends_with('…') || cut[2].ends_with("…\x1b[0m"), "{cut:?}");
    }

    #[test]
    fn kinds_are_named_in_full_where_two_have_the_name() {
        let kind = |full: &str| KindReport { kind: full.into(), name: "worker".into(), ..KindReport::default() };
        let lines = drawn(&crew(), &[kind("a:b/c#worker"), kind("x:y/z#worker")], PAPER);
        assert!(lines[1].starts_with("a:b/c#worker/night "), "{lines:?}");
    }

    #[test]
    fn deep_trees_and_many_children_are_drawn_whole() {
        let deep = (0..32).rev().fold(Vec::new(), |below, n| vec![node(&n.to_string(), "transient", below)]);
        let lines = drawn(&TreeReport { roots: deep, truncated: false }, &[], PAPER);
        assert_eq!(lines.len(), 33);
        assert!(lines[32].starts_with(&format!("{}└─ worker/31  awake", " ".repeat(90))), "{}", lines[32]);

        let children = (0..1000).map(|n| node(&n.to_string(), "permanent", vec![node("x", "temporary", Vec::new())]));
        let many = node("all", "", children.collect());
        let lines = drawn(&TreeReport { roots: vec![many], truncated: false }, &[], PAPER);
        assert_eq!(lines.len(), 2002);
        assert!(lines[2].starts_with("├─ worker/0 ") && lines[3].starts_with("│  └─ worker/x "), "{}", lines[3]);
        assert!(lines[2000].starts_with("└─ worker/999 ") && lines[2001].starts_with("   └─ worker/x "));
        let column = |line: &String| line.find("awake").map(|at| line[..at].width());
        assert!(lines[1..].iter().all(|line| column(line) == Some(16)), "they line up");
    }

    #[test]
    fn wide_keys_line_up_and_long_ones_move_their_own_line_only() {
        let long = "k".repeat(512);
        let children = ["日本語", "é", "🦀", "e\u{301}", &long].map(|key| node(key, "permanent", Vec::new())).to_vec();
        let report = TreeReport { roots: vec![node("a", "", children)], truncated: false };
        let lines = drawn(&report, &[], PAPER);
        for line in &lines[1..6] {
            let at = line.find("awake").unwrap();
            assert_eq!(line[..at].width(), NAMES_MAX + GAP.len(), "{line}");
        }
        assert!(lines[6].contains(&format!("{long}  awake  permanent")), "{}", lines[6]);
    }

    #[test]
    fn nothing_foreign_steers_the_terminal() {
        let evil = "\x1b[2J\r\n\u{9b}31m\u{7}\u{202e}x";
        let mut child = failed(node(evil, evil, Vec::new()), evil, None, evil);
        child.kind = format!("a:b/c#{evil}");
        let report = TreeReport { roots: vec![node("a", "", vec![child])], truncated: false };
        let lines = drawn(&report, &[], PAPER);
        assert_eq!(lines.len(), 3);
        let text = lines.concat();
        assert!(!text.contains(|c: char| c.is_control() || c == '\u{202e}'), "{text:?}");
        assert!(text.contains("\\u{1b}[2J\\r\\n\\u{9b}31m\\u{7}\\u{202e}x"), "{text:?}");
    }

    #[test]
    fn reasons_fit_and_lines_are_cut_on_a_terminal() {
        let reason = "wasm trap: 日本語 out of bounds memory access in a very long story without an end";
        let child = failed(node("c", "permanent", Vec::new()), "down", Some(59_000), &reason.repeat(5));
        let report = TreeReport { roots: vec![node("a", "", vec![child])], truncated: false };
        let paper = drawn(&report, &[], PAPER);
        assert!(paper[2].ends_with('…') && paper[2].width() <= 147, "{}", paper[2]);
        for width in [80, 79, 78, 77] {
            let lines = drawn(&report, &[], Look { width: Some(width), ..PAPER });
            assert!((width - 1..=width).contains(&lines[2].width()), "{}", lines[2]);
        }
        for width in 0..60 {
            for unicode in [false, true] {
                let look = Look { width: Some(width), cut: true, unicode, ..PAPER };
                let lines = drawn(&report, &[], look);
                assert!(lines.iter().all(|line| line.width() <= width), "{width}: {lines:?}");
            }
        }
    }

    #[test]
    fn a_panic_says_what_before_where() {
        let panic = "panicked at crew/src/lib.rs:146:9: the worker fell: twice";
        assert_eq!(said(panic, 100), panic);
        assert_eq!(said(panic, 30), "the worker fell: twice");
        assert_eq!(said("ValueError: a: b", 5), "ValueError: a: b");
        assert_eq!(said("panicked at nothing", 5), "panicked at nothing");
    }

    #[test]
    fn texts_are_cut_at_whole_characters() {
        assert_eq!(cut("abcdef", 6, true), "abcdef");
        assert_eq!(cut("abcdefg", 6, true), "abcde…");
        assert_eq!(cut("abcdefg", 6, false), "abc...");
        assert_eq!(cut("日本語", 5, true), "日本…");
        assert_eq!(cut("日本語", 4, true), "日…");
        assert_eq!((cut("ab", 1, false).as_str(), cut("ab", 0, true).as_str()), ("a", ""));
    }
}
