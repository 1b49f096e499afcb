//! [`StopStrings`]: cuts a streamed text where a stop string begins.
//!
//! The text may arrive in any pieces, and a stop string may lie across them, so the longest end of the text that could still
//! become a stop string is held back. The stop string that is complete first decides; of two that end together, the longer
//! one. How the text is cut into pieces makes no difference.

/// Watches text for strings that end it.
#[derive(Clone, Debug, Default)]
pub struct StopStrings {
    stops: Vec<String>,
    /// Text that is not released: it could be the start of a stop string.
    held: String,
    stopped: bool,
}

impl StopStrings {
    /// Watches for these strings. Empty ones are ignored.
    pub fn new(stops: impl IntoIterator<Item = String>) -> Self {
        let stops = stops.into_iter().filter(|stop| !stop.is_empty()).collect();
        Self { stops, held: String::new(), stopped: false }
    }

    /// Takes the next piece and returns the text that is certain to come before any stop string. Nothing comes after a stop.
    pub fn push(&mut self, piece: &str) -> String {
        if self.stopped {
            return String::new();
        }
        self.held.push_str(piece);
        let first = self
            .stops
            .iter()
            .filter_map(|stop| self.held.find(stop.as_str()).map(|start| (start + stop.len(), start)))
            .min();
        if let Some((_, start)) = first {
            self.stopped = true;
            self.held.truncate(start);
            return std::mem::take(&mut self.held);
        }
        let sure = self.held.len() - self.open_end();
        self.held.drain(..sure).collect()
    }

    /// The text that was held back, now that no more comes. Then it is ready for new text.
    pub fn finish(&mut self) -> String {
        self.stopped = false;
        std::mem::take(&mut self.held)
    }

    /// Whether a stop string has ended the text.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// Bytes at the end of the held text that begin a stop string.
    fn open_end(&self) -> usize {
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let ends = self.held.char_indices().map(|(start, _)| &self.held[start..]);
        ends.filter(|end| end.len() < longest)
            .find(|end| self.stops.iter().any(|stop| stop.starts_with(end)))
            .map_or(0, str::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (Vec<String>, bool) {
        let mut watch = StopStrings::new(stops.iter().map(ToString::to_string));
        let mut out: Vec<String> = pieces.iter().map(|piece| watch.push(piece)).collect();
        let stopped = watch.stopped();
        out.push(watch.finish());
        (out, stopped)
    }

    #[test]
    fn a_possible_start_is_held_back_and_released() {
        let (out, stopped) = run(&["END"], &["a E", "N", "x EN", "D b", "c"]);
        assert_eq!((out, stopped), (["a ", "", "ENx ", "", "", ""].map(String::from).to_vec(), true));
        let (out, stopped) = run(&["END"], &["the EN"]);
        assert_eq!((out, stopped), (["the ", "EN"].map(String::from).to_vec(), false));
    }

    #[test]
    fn no_stop_string_holds_nothing() {
        for stops in [&[][..], &[""][..]] {
            let (out, stopped) = run(stops, &["ab", "語"]);
            assert_eq!((out, stopped), (["ab", "語", ""].map(String::from).to_vec(), false));
        }
    }

    #[test]
    fn finish_makes_ready_for_another_text() {
        let mut watch = StopStrings::new(["\n".to_owned()]);
        for _ in 0..2 {
            assert_eq!((watch.push("a\nb"), watch.stopped()), ("a".to_owned(), true));
            assert_eq!((watch.finish(), watch.stopped()), (String::new(), false));
        }
    }

    proptest! {
        /// The rule of the header, said again over the whole text: the shortest prefix of the text that ends in a stop string,
        /// minus the longest stop string at its end.
        #[test]
        fn pieces_make_no_difference(
            text in "[ab語]{0,24}",
            stops in prop::collection::vec("[ab語]{1,4}", 1..4),
            cuts in prop::collection::vec(1usize..4, 24),
        ) {
            let ends = text.char_indices().map(|(i, _)| i).chain([text.len()]);
            let want = ends
                .map(|end| &text[..end])
                .find_map(|head| stops.iter().filter_map(|stop| head.strip_suffix(stop.as_str())).min_by_key(|s| s.len()))
                .unwrap_or(&text);
            let mut watch = StopStrings::new(stops.clone());
            let (mut got, mut rest) = (String::new(), text.as_str());
            for cut in cuts {
                let at = rest.char_indices().nth(cut).map_or(rest.len(), |(i, _)| i);
                got.push_str(&watch.push(&rest[..at]));
                prop_assert!(text.starts_with(&got), "{got:?} is not a prefix of {text:?}");
                rest = &rest[at..];
            }
            let stopped = watch.stopped();
            got.push_str(&watch.finish());
            prop_assert_eq!((got.as_str(), stopped), (want, want.len() < text.len()));
        }
    }
}
