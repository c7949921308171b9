//! Cheap seeded mutations: what a run of the tests looks at beside the corpus itself.

use std::ops::Range;

/// Bytes that mean something in one of the formats.
const MARKS: &[u8] = b"[]{}()\",:'\\-+.eE0189#%/=\n \0\x01\x7f\x80\xc0\xc4\xdc\xdd\xdf\xff";
/// Changes to one input.
const CHANGES_MAX: u64 = 6;
/// The longest piece that is moved or taken out.
const PIECE_BYTES_MAX: u64 = 40;

/// Endless inputs near those of a corpus; the same ones for the same seed.
#[derive(Debug)]
pub struct Mutations<'c> {
    corpus: &'c [Vec<u8>],
    state: u64,
}

impl<'c> Mutations<'c> {
    /// Mutations of these inputs.
    #[must_use]
    pub const fn of(corpus: &'c [Vec<u8>], seed: u64) -> Self {
        Self { corpus, state: seed }
    }

    /// An input near that one.
    pub fn of_one(&mut self, input: &[u8]) -> Vec<u8> {
        let mut bytes = input.to_vec();
        for _ in 0..=self.below(CHANGES_MAX) {
            self.change(&mut bytes);
        }
        bytes
    }

    /// A text near that one whose parentheses still match, as far as they did: for what is nested so
    /// deeply that other changes only break it.
    pub fn of_nested(&mut self, text: &[u8]) -> Vec<u8> {
        let mut bytes = text.to_vec();
        for _ in 0..=self.below(CHANGES_MAX / 2) {
            let (one, other) = (self.piece(&bytes), self.piece(&bytes));
            let copy = bytes[other.clone()].to_vec();
            match self.below(4) {
                0 => drop(bytes.splice(one, [])),
                1 => drop(bytes.splice(one.start..one.start, [copy, b" ".to_vec()].concat())),
                2 => {
                    let theirs = &self.corpus[self.index(self.corpus.len())];
                    let piece = theirs[self.piece(theirs)].to_vec();
                    drop(bytes.splice(one, piece));
                }
                _ => drop(bytes.splice(one, copy)),
            }
        }
        bytes
    }

    /// A word, or what stands between parentheses that match, with them.
    fn piece(&mut self, text: &[u8]) -> Range<usize> {
        let from = self.place(text);
        let start = (from..text.len()).find(|at| !text[*at].is_ascii_whitespace() && text[*at] != b')');
        let Some(start) = start else { return from..from };
        let mut depth = 0_usize;
        for (at, byte) in text.iter().enumerate().skip(start) {
            match byte {
                b'(' => depth += 1,
                b')' if depth <= 1 => return start..at + depth,
                b')' => depth -= 1,
                other if depth == 0 && other.is_ascii_whitespace() => return start..at,
                _ => {}
            }
        }
        start..start
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        let at = self.place(bytes);
        match self.below(8) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, MARKS[self.index(MARKS.len())]),
            2 if at < bytes.len() => bytes[at] = MARKS[self.index(MARKS.len())],
            3 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            4 if at < bytes.len() => {
                let end = self.piece_end(at, bytes.len());
                bytes.drain(at..end);
            }
            5 => {
                let end = self.piece_end(at, bytes.len());
                let piece = bytes[at..end].to_vec();
                let to = self.place(bytes);
                bytes.splice(to..to, piece);
            }
            6 => {
                let other = &self.corpus[self.index(self.corpus.len())];
                let from = self.place(other);
                let piece = &other[from..self.piece_end(from, other.len())];
                bytes.splice(at..at, piece.iter().copied());
            }
            _ if at < bytes.len() => bytes[at] = bytes[at].wrapping_add(1),
            _ => bytes.push(0),
        }
    }

    fn place(&mut self, bytes: &[u8]) -> usize {
        self.index(bytes.len() + 1)
    }

    fn piece_end(&mut self, from: usize, end: usize) -> usize {
        from.saturating_add(self.index(PIECE_BYTES_MAX as usize)).min(end)
    }

    fn index(&mut self, end: usize) -> usize {
        self.below(end as u64) as usize
    }

    /// SplitMix64.
    fn below(&mut self, end: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % end.max(1)
    }
}
