//! Colours of the terminal. Meaning is never in the colour alone: signs and words carry it too.

use crate::args::Color;

/// Paints text, or does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Palette {
    enabled: bool,
}

impl Palette {
    /// Leaves text as it is.
    pub const PLAIN: Palette = Palette { enabled: false };

    /// Decides by the flag, then by NO_COLOR, TERM and whether the stream is a terminal.
    #[must_use]
    pub fn new(color: Color, is_terminal: bool) -> Palette {
        let enabled = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
                is_terminal && !no_color && !is_dumb
            }
        };
        Palette { enabled }
    }

    /// Headings and key figures.
    #[must_use]
    pub fn strong(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// What matters less.
    #[must_use]
    pub fn faint(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// Added, or cheaper.
    #[must_use]
    pub fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// Changed, or to be looked at.
    #[must_use]
    pub fn notable(self, text: &str) -> String {
        self.paint("33", text)
    }

    /// Removed, dearer, or wrong.
    #[must_use]
    pub fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.enabled { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}
