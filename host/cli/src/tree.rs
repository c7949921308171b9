//! `tree`: who is whose child, and how they are.

use std::io;
use std::time::Duration;

use quark_silo::api::{Failure, KindReport, TreeNode, TreeReport};

use crate::address::Address;
use crate::client::{Client, Remote};
use crate::deployed::KindList;
use crate::draw::{Look, drawn};
use crate::exit::{Done, Exit};
use crate::output::{Output, may_colour};

/// How often the silo is asked anew.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Columns and lines of a terminal that does not say.
const SIZE: (usize, usize) = (80, 24);

const EXAMPLES: &str = "\
Examples:
  quark tree
  quark tree crew/night
  quark tree crew/night --follow
  quark tree --json --limit 10000";

/// Show supervision trees: which actors are whose children, and how each is.
///
/// The states: `awake`, `asleep` (it wakes at its next message), `loading`, `leaving`, `draining`, `down` (it
/// failed, and starts again after the time shown), `held` (its parent is down), `cool-down` (it failed too often;
/// messages are refused for the time shown), `stopped`. Children stand in the order in which they were started.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Tree {
    /// Only this actor and what is below it, for example crew/night; else all actors with children.
    #[arg(value_name = "KIND/KEY", value_parser = Address::parse)]
    actor: Option<Address>,
    /// At most this many actors.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// Go on until interrupted or until the silo ends (exit code 3): on a terminal in place each second, elsewhere
    /// whenever it changed.
    #[arg(long)]
    follow: bool,
    /// Print JSON; with --follow one line whenever it changed.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

/// Where it is shown, and how.
#[derive(Clone, Copy)]
struct Screen {
    look: Look,
    /// Lines of the terminal; none where it is none.
    height: Option<usize>,
}

impl Tree {
    pub(crate) fn run(self, out: &mut Output<'_>) -> Done {
        let client = Client::new(&self.remote, None)?;
        let ask = || client.get::<TreeReport>(&self.path());
        if self.json && !self.follow {
            out.json(&ask()?);
            return Ok(Exit::Done);
        }
        let kinds = if self.json { Vec::new() } else { client.get::<KindList>("/v1/kinds")?.kinds };
        let terminal = out.is_terminal();
        let screen = || Screen::of(terminal, self.follow);
        if self.follow {
            return self.go_on(&kinds, ask, screen, LOOK_EVERY, out);
        }
        self.lines(&ask()?, &kinds, screen().look).iter().for_each(|line| out.line(line));
        Ok(Exit::Done)
    }

    fn path(&self) -> String {
        let list = self.actor.as_ref().map_or_else(|| "/v1/tree".to_owned(), |actor| actor.path_below("/v1/tree", &[]));
        format!("{list}?limit={}", self.limit)
    }

    fn lines(&self, report: &TreeReport, kinds: &[KindReport], look: Look) -> Vec<String> {
        if report.roots.is_empty() {
            let none = if report.truncated {
                "none of the actors that were looked at has children, and there are more: KIND/KEY shows one's tree"
            } else {
                "no actor has children"
            };
            return vec![look.note(none)];
        }
        let mut lines = drawn(report, kinds, look);
        if report.truncated {
            let limit = self.limit;
            let left_out = format!("more than {limit} actors: the rest is left out; --limit or KIND/KEY shows it");
            lines.push(look.note(&left_out));
        }
        lines
    }

    /// Shows what becomes of it until the reader goes away.
    fn go_on(
        &self,
        kinds: &[KindReport],
        ask: impl Fn() -> Result<TreeReport, Failure>,
        screen: impl Fn() -> Screen,
        wait: Duration,
        out: &mut Output<'_>,
    ) -> Done {
        let (mut before, mut drawn) = (None, 0);
        loop {
            let report = ask()?;
            let Screen { look, height } = screen();
            if let (Some(height), false) = (height, self.json) {
                let lines = fit(self.lines(&report, kinds, look), height, look);
                out.said(redrawn(&lines, drawn));
                drawn = lines.len();
            } else {
                let now = timeless(&report);
                if before.as_ref() != Some(&now) {
                    let space = if before.is_some() { "\n" } else { "" };
                    match (self.json, serde_json::to_string(&report)) {
                        (true, Ok(json)) => out.said(json),
                        (true, Err(_)) | (false, _) => {
                            out.said(format_args!("{space}{}", self.lines(&report, kinds, look).join("\n")));
                        }
                    }
                    before = Some(now);
                }
            }
            if out.is_closed_after(wait) {
                return Ok(Exit::Done);
            }
        }
    }
}

impl Screen {
    /// Standard output. On a terminal that is drawn on again and again no line may be too long.
    fn of(terminal: bool, again: bool) -> Self {
        let unicode = knows_unicode(|name| std::env::var(name).ok());
        if !terminal {
            return Self { look: Look { unicode, colour: false, width: None, cut: false }, height: None };
        }
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
        let size = size.filter(|size| size.ws_col > 0 && size.ws_row > 0);
        let (width, height) = size.map_or(SIZE, |size| (size.ws_col.into(), size.ws_row.into()));
        let look = Look { unicode, colour: may_colour(&io::stdout()), width: Some(width), cut: again };
        Self { look, height: Some(height) }
    }
}

/// Whether the environment's locale has more than ASCII; where none is named, it has.
fn knows_unicode(variable: impl Fn(&str) -> Option<String>) -> bool {
    let named = |name: &&str| variable(name).filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(named);
    locale.is_none_or(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

/// As many lines as a terminal holds beside the one for the cursor.
fn fit(mut lines: Vec<String>, height: usize, look: Look) -> Vec<String> {
    let most = height.saturating_sub(1).max(1);
    if lines.len() > most {
        let more = lines.len() - (most - 1);
        lines.truncate(most - 1);
        lines.push(look.note(&format!("and {more} more lines")));
    }
    lines
}

/// Lines in the place of so many that were there before; the cursor is behind those.
fn redrawn(lines: &[String], before: usize) -> String {
    let up = if before > 0 { format!("\r\x1b[{before}A\x1b[J") } else { String::new() };
    up + &lines.join("\n")
}

/// The same without what changes by itself.
fn timeless(report: &TreeReport) -> TreeReport {
    fn stop(node: &mut TreeNode) {
        node.left_ms = None;
        node.children.iter_mut().for_each(stop);
    }
    let mut report = report.clone();
    report.roots.iter_mut().for_each(stop);
    report
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const PAPER: Screen = Screen { look: Look { unicode: true, colour: false, width: None, cut: false }, height: None };

    fn tree(json: bool) -> Tree {
        let remote = Remote { url: String::new(), token: None };
        Tree { actor: None, limit: 7, follow: true, json, remote }
    }

    fn report(states: &[(&str, Option<u64>)]) -> TreeReport {
        let node = |(at, (state, left_ms)): (usize, &(&str, Option<u64>))| TreeNode {
            kind: "a:b/c#crew".into(),
            key: at.to_string(),
            state: (*state).into(),
            left_ms: *left_ms,
            ..TreeNode::default()
        };
        let mut nodes = states.iter().enumerate().map(node);
        let root = nodes.next().map(|root| TreeNode { children: nodes.collect(), ..root });
        TreeReport { roots: root.into_iter().collect(), truncated: false }
    }

    /// What is shown of these reports, one after the other, until the silo is gone.
    fn followed(tree: &Tree, screen: Screen, reports: &[TreeReport]) -> String {
        let asked = Cell::new(0);
        let ask = || {
            let report = reports.get(asked.replace(asked.get() + 1));
            report.cloned().ok_or_else(|| Failure::new("unreachable", "gone"))
        };
        let mut bytes = Vec::new();
        let mut out = Output::new(&mut bytes, screen.height.is_some());
        let done = tree.go_on(&[], ask, || screen, Duration::ZERO, &mut out);
        assert_eq!(done.unwrap_err().code, "unreachable");
        drop(out);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn paths_name_all_trees_or_one() {
        assert_eq!(tree(false).path(), "/v1/tree?limit=7");
        let actor = Address::parse("crew/a b/c").ok();
        assert_eq!(Tree { actor, ..tree(false) }.path(), "/v1/tree/crew/a%20b%2Fc?limit=7");
    }

    #[test]
    fn a_file_gets_what_changed_and_no_countdown() {
        let (fine, none) = (report(&[("awake", None), ("awake", None)]), TreeReport::default());
        let [soon, sooner] = [1200, 200].map(|ms| report(&[("awake", None), ("down", Some(ms))]));
        let reports = [none, fine.clone(), fine.clone(), soon, sooner, fine];
        let text = followed(&tree(false), PAPER, &reports);
        let shown: Vec<&str> = text.trim_end().split("\n\n").collect();
        assert_eq!(shown.len(), 4, "{text}");
        assert_eq!(shown[0], "no actor has children");
        assert!(shown[2].contains("└─ crew/1  down 1.2 s"), "{text}");
        assert!(!text.contains('\x1b'), "{text}");

        let text = followed(&tree(true), PAPER, &reports);
        let documents: Vec<TreeReport> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(documents, [0, 1, 3, 5].map(|at| reports[at].clone()));
        // On a terminal too, one line for each.
        let terminal = Screen { height: Some(24), ..PAPER };
        assert_eq!(followed(&tree(true), terminal, &reports), text);
    }

    #[test]
    fn a_terminal_is_drawn_on_in_place() {
        let look = Look { width: Some(40), cut: true, ..PAPER.look };
        let screen = Screen { look, height: Some(5) };
        let few = report(&[("awake", None), ("down", Some(500))]);
        let many = report(&[("awake", None); 9]);
        let text = followed(&tree(false), screen, &[few.clone(), many, few]);
        let pictures: Vec<&str> = text.split("\x1b[J").collect();
        assert_eq!(pictures.len(), 3, "{text:?}");
        assert!(pictures[0].ends_with("\n\r\x1b[3A"), "{text:?}");
        assert!(pictures[1].ends_with("\nand 7 more lines\n\r\x1b[4A"), "{text:?}");
        assert_eq!(pictures[1].lines().count(), 5, "four, and the way up");
        assert!(pictures[2].contains("down 500 ms"), "{text:?}");
    }

    #[test]
    fn what_is_left_out_is_said() {
        let mut report = report(&[("awake", None)]);
        report.truncated = true;
        let lines = tree(false).lines(&report, &[], PAPER.look);
        assert_eq!(lines[2], "more than 7 actors: the rest is left out; --limit or KIND/KEY shows it");
        report.roots.clear();
        let lines = tree(false).lines(&report, &[], PAPER.look);
        assert!(lines.len() == 1 && lines[0].contains("KIND/KEY shows one's tree"), "{lines:?}");
    }

    #[test]
    fn boxes_are_drawn_where_the_locale_has_them() {
        let with = |set: &[(&str, &str)]| {
            let variable = |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into());
            knows_unicode(variable)
        };
        assert!(with(&[]) && with(&[("LANG", "C.UTF-8")]) && with(&[("LC_ALL", ""), ("LANG", "de_DE.utf8")]));
        assert!(!with(&[("LANG", "C")]) && !with(&[("LC_ALL", "POSIX"), ("LANG", "C.UTF-8")]));
    }
}
