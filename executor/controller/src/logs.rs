//! Structured logs, on stderr: what is done and what fails, with the plan it is of.

pub use tracing::level_filters::LevelFilter;
use tracing::subscriber::set_global_default;

/// How logs look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// A line of text for people.
    #[default]
    Text,
    /// A JSON object a line, for machines.
    Json,
}

impl Format {
    /// Reads `text` or `json`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Format> {
        match name {
            "text" => Some(Format::Text),
            "json" => Some(Format::Json),
            _ => None,
        }
    }
}

/// Reads `error`, `warn`, `info` or `debug`.
#[must_use]
pub fn level(name: &str) -> Option<LevelFilter> {
    ["error", "warn", "info", "debug"].contains(&name).then(|| name.parse().ok()).flatten()
}

/// Begins to log. Only the first call in a process counts.
pub fn start(format: Format, level: LevelFilter) {
    let builder =
        tracing_subscriber::fmt().with_max_level(level).with_ansi(false).with_writer(std::io::stderr);
    // Where somebody else was first, theirs stays.
    let _ = match format {
        Format::Text => set_global_default(builder.with_target(false).compact().finish()),
        Format::Json => {
            let json = builder.json().flatten_event(true).with_current_span(false).with_span_list(false);
            set_global_default(json.finish())
        }
    };
}
