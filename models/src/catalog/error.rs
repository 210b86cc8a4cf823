//! Why a catalogue was refused.

/// Why a catalogue was refused. Every text names the place and ends in what to do.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The first line is not ours. Point to a catalogue file, or start from the embedded one.
    #[error(
        "catalogue line 1: found `{found}`, which starts no Stowage catalogue; hint: the first line must read \
         `stowage-catalog 1.0`"
    )]
    NotACatalog {
        /// The start of the line found.
        found: String,
    },
    /// A format this build cannot read. Use a newer build, or rewrite the file in format 1.
    #[error(
        "catalogue line 1: format version `{found}` is not supported; hint: this build reads every 1.x, so use a newer \
         Stowage or write the file as `stowage-catalog 1.0`"
    )]
    Version {
        /// The version found.
        found: String,
    },
    /// A header line is wrong or missing.
    #[error("catalogue line {line}, header `{key}`: {problem}; hint: {hint}")]
    Header {
        /// Line, from 1; for a missing header the last line looked at.
        line: usize,
        /// The header's key.
        key: String,
        /// What is wrong.
        problem: String,
        /// What to write instead.
        hint: String,
    },
    /// A type's line has more or fewer fields than the `columns` line names.
    #[error(
        "catalogue line {line}, type `{name}`: {found} fields where the `columns` line names {expected}; hint: fields are \
         separated by one tab each (not spaces), and an absent value is written `-`"
    )]
    Columns {
        /// Line, from 1.
        line: usize,
        /// The type.
        name: String,
        /// Fields found.
        found: usize,
        /// Columns named.
        expected: usize,
    },
    /// A field cannot be read.
    #[error("catalogue line {line}, type `{name}`, field `{field}`: {problem}; hint: {hint}")]
    Field {
        /// Line, from 1.
        line: usize,
        /// The type.
        name: String,
        /// The column.
        field: String,
        /// What is wrong.
        problem: String,
        /// What to write instead.
        hint: String,
    },
    /// A type appears twice. Keep one of the lines.
    #[error(
        "catalogue line {line}: type `{name}` was already given on line {first}; hint: remove one of the two lines"
    )]
    Duplicate {
        /// The second line, from 1.
        line: usize,
        /// The type.
        name: String,
        /// The first line, from 1.
        first: usize,
    },
    /// There is not a single type.
    #[error("the catalogue has no instance types; hint: add one line per type below the `columns` line")]
    NoTypes,
    /// Recorded EC2 data is not JSON of the expected shape. The source says where.
    #[error(
        "the EC2 data cannot be read; hint: it must have `region`, `as_of`, `source` and `instance_types`"
    )]
    Json(#[source] serde_json::Error),
    /// Recorded EC2 data states something that cannot be right or is not understood.
    #[error(
        "EC2 data, type `{name}`, field `{field}`: {problem}; hint: correct the recorded value or leave the type out"
    )]
    Data {
        /// The type.
        name: String,
        /// The JSON field.
        field: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The zone id of a zone name does not follow from the data.
    #[error(
        "EC2 data: zone `{zone}` matches {candidates} zone ids by the types offered there; hint: add the pair to a \
         top-level object `zone_names`, as in {{\"us-east-1a\": \"use1-az2\"}}"
    )]
    ZoneId {
        /// The zone name.
        zone: String,
        /// Zone ids with the same set of types.
        candidates: usize,
    },
}
