//! Bytes to JSON documents: decompression, text encoding, JSON or YAML.

use crate::error::EXPORT_HINT;
use crate::{ImportError, Source, yaml};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::io::Read as _;

/// Largest decompressed input: 150,000 pods (the most Kubernetes supports) at 13 kB of JSON each come to 2 GB; twice
/// that still stops a decompression bomb before it fills the machine.
const DECOMPRESSED_BYTES_MAX: u64 = 4 << 30;

const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];

/// Calls `visit` with each document of the source as JSON text, in order.
pub(crate) fn each_document(
    source: Source<'_>,
    mut visit: impl FnMut(&RawValue) -> Result<(), ImportError>,
) -> Result<(), ImportError> {
    let bytes = decompress(source)?;
    let text = text(source.name, &bytes)?;
    match text.trim_start().as_bytes().first() {
        None => Err(ImportError::new(
            source.name,
            "the input is empty",
            "if it came from kubectl, see what kubectl wrote to stderr: one unknown resource type stops the whole command",
        )),
        Some(b'{' | b'[') => each_json(source.name, text, &mut visit),
        Some(_) if text.trim_start().starts_with("name,") || text.trim_start().starts_with("sn,") => {
            Err(ImportError::new(
                source.name,
                "this is a CSV file, not JSON or YAML",
                "trace files of openb have their own converter; `kubectl get ... -o json` is what belongs here",
            ))
        }
        Some(_) => {
            for json in yaml::documents(source.name, text)? {
                each_json(source.name, &json, &mut visit)?;
            }
            Ok(())
        }
    }
}

fn each_json(
    name: &str,
    text: &str,
    visit: &mut impl FnMut(&RawValue) -> Result<(), ImportError>,
) -> Result<(), ImportError> {
    for document in serde_json::Deserializer::from_str(text).into_iter::<&RawValue>() {
        visit(document.map_err(|error| syntax_error(name, &error))?)?;
    }
    Ok(())
}

fn syntax_error(name: &str, error: &serde_json::Error) -> ImportError {
    let place = format!("{name}: line {}, column {}", error.line(), error.column());
    if error.is_eof() {
        let hint = format!("the file looks truncated (command interrupted, disk full?); {EXPORT_HINT}");
        return ImportError::new(&place, "the JSON ends too early", hint);
    }
    ImportError::new(&place, format!("not valid JSON: {error}"), EXPORT_HINT)
}

fn decompress(source: Source<'_>) -> Result<Cow<'_, [u8]>, ImportError> {
    if source.bytes.starts_with(GZIP_MAGIC) {
        return Err(ImportError::new(
            source.name,
            "the input is compressed with gzip",
            "unpack it first: gunzip",
        ));
    }
    if !source.bytes.starts_with(ZSTD_MAGIC) {
        return Ok(Cow::Borrowed(source.bytes));
    }
    let broken = |error: std::io::Error| {
        let hint = "the file may be truncated; copy or compress it again (zstd -t tests a file)";
        ImportError::new(source.name, format!("not valid zstd: {error}"), hint)
    };
    let decoder = zstd::stream::read::Decoder::with_buffer(source.bytes).map_err(broken)?;
    let mut bytes = Vec::new();
    decoder.take(DECOMPRESSED_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(broken)?;
    if bytes.len() as u64 > DECOMPRESSED_BYTES_MAX {
        return Err(ImportError::new(
            source.name,
            format!("decompresses to more than {} GiB", DECOMPRESSED_BYTES_MAX >> 30),
            "no cluster is that large; check the file, or split the export by namespace",
        ));
    }
    Ok(Cow::Owned(bytes))
}

fn text<'a>(name: &str, bytes: &'a [u8]) -> Result<&'a str, ImportError> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(ImportError::new(
            name,
            "the text is UTF-16, not UTF-8",
            "PowerShell's `>` writes UTF-16; use: kubectl get ... -o json | Out-File -Encoding utf8 file.json",
        ));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        ImportError::new(
            &format!("{name}: byte {}", error.valid_up_to()),
            "the input is not UTF-8 text",
            "give JSON or YAML as kubectl prints it (plain, or compressed with zstd)",
        )
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}
