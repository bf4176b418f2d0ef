//! One file of an inventory: read under a cap, and recognised by what is in it.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use ipnet::IpNet;

use super::error::{InventoryError, Place};
use super::instances::Claim;
use super::names::{self, Names};
use super::subnets::Subnets;
use super::{bosh, cells, cloud_config, hosts};

/// The largest inventory file read, in bytes.
pub const MAX_FILE_BYTES: u64 = 256 * 1024 * 1024;

const ADVICE: &str = "give `bosh instances --ps --json`, `bosh vms --json`, a cloud config as YAML or JSON, \
    BOSH DNS's records.json, or CSV with the columns ip,vm,jobs,subnet or kind,documented,deployed,certificates,note";

/// What the files read so far say.
#[derive(Default)]
pub(super) struct Said {
    pub(super) claims: Vec<Claim>,
    pub(super) subnets: Subnets,
    /// Ranges of which no file has named the network yet.
    pub(super) unnamed: Vec<IpNet>,
}

/// Opens and reads a file, which may be a pipe.
pub(super) fn open(path: &Path) -> Result<Vec<u8>, InventoryError> {
    let fail = |what: String, advice: &str| InventoryError {
        file: path.display().to_string(),
        place: Place::default(),
        what,
        advice: advice.to_owned(),
    };
    let unreadable = |error: std::io::Error| fail(error.to_string(), "give a file that can be read");
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    // The length is not asked for beforehand: a pipe has none, and a file may grow.
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let what = format!("larger than {MAX_FILE_BYTES} bytes");
        return Err(fail(what, "give an inventory file"));
    }
    Ok(bytes)
}

/// Recognises a file by its content and reads it.
pub(super) fn read(
    file: &str,
    bytes: &[u8],
    said: &mut Said,
    names: &mut Names,
) -> Result<(), InventoryError> {
    let text = text(file, bytes)?;
    let file: Arc<str> = file.into();
    match shape(text) {
        Shape::Json => bosh::read(&file, text, &mut said.claims, &mut said.subnets, names),
        Shape::Names => names.merge(&file, text),
        Shape::Hosts => hosts::read(&file, text, &mut said.claims, &mut said.unnamed),
        Shape::Yaml if cloud_config::read_yaml(&file, text, &mut said.subnets)? => Ok(()),
        Shape::Yaml | Shape::Unknown => Err(InventoryError {
            file: file.to_string(),
            place: Place::default(),
            what: "not an inventory file: neither JSON, nor a header known, nor networks in YAML".to_owned(),
            advice: ADVICE.to_owned(),
        }),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Shape {
    Json,
    Hosts,
    Names,
    Yaml,
    Unknown,
}

fn shape(text: &str) -> Shape {
    if text.trim_start().starts_with(['{', '[']) {
        return Shape::Json;
    }
    let mut lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let header: Vec<String> = cells::header(lines.next().unwrap_or_default());
    if header.iter().any(|cell| cell == names::COLUMNS[1]) {
        Shape::Names
    } else if header.iter().any(|cell| hosts::COLUMNS.contains(&cell.as_str())) {
        Shape::Hosts
    } else if text
        .lines()
        .any(|line| line.trim_start().trim_start_matches(['"', '\'']).starts_with("networks"))
    {
        Shape::Yaml
    } else {
        Shape::Unknown
    }
}

fn text<'a>(file: &str, bytes: &'a [u8]) -> Result<&'a str, InventoryError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let utf16 = bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff");
    std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let line = memchr::memchr_iter(b'\n', before).count() as u64 + 1;
        InventoryError {
            file: file.to_owned(),
            place: Place::line(line),
            what: if utf16 { "text in UTF-16" } else { "not text in UTF-8" }.to_owned(),
            advice: "save it as UTF-8".to_owned(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refused(bytes: &[u8]) -> String {
        read("f", bytes, &mut Said::default(), &mut Names::default()).unwrap_err().to_string()
    }

    #[test]
    fn content_tells_the_shape() {
        assert_eq!(shape(" \n{\"Tables\":[]}"), Shape::Json);
        assert_eq!(shape("# ours\n\nVM, \"IP\"\n"), Shape::Hosts);
        assert_eq!(shape("Kind,Documented,deployed\n"), Shape::Names);
        assert_eq!(shape("---\nazs: []\nnetworks:\n"), Shape::Yaml);
        assert_eq!(shape("  \"networks\": []\n"), Shape::Yaml);
        assert_eq!(shape("doppler/0  running  z1  10.0.0.1\n"), Shape::Unknown);
        assert_eq!(shape(""), Shape::Unknown);
    }

    #[test]
    fn a_file_of_no_known_shape_is_refused_with_advice() {
        let error = refused(b"doppler/0\trunning\tz1\t10.0.0.1\n");
        assert!(error.starts_with("f: not an inventory file") && error.contains("--json"), "{error}");
        assert!(
            refused(b"instance_groups:\n- networks: [{name: default}]\n").starts_with("f: not an inventory")
        );
        assert!(refused(b"\xff\xfei\0p\0").contains("text in UTF-16; save it as UTF-8"));
        assert_eq!(refused(b"ip,vm\n10.0.0.1,\xff"), "f: line 2: not text in UTF-8; save it as UTF-8");
        assert!(open(Path::new("/no/such/file")).unwrap_err().to_string().starts_with("/no/such/file: "));
    }

    #[test]
    fn a_byte_order_mark_is_passed_over() {
        let mut said = Said::default();
        read("f", b"\xef\xbb\xbfip,vm\n10.0.0.1,a\n", &mut said, &mut Names::default()).unwrap();
        assert_eq!(said.claims.len(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read("f", &bytes, &mut Said::default(), &mut Names::default());
        }
    }
}
