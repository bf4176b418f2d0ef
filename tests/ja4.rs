//! JA4 fingerprints of public captures, as the fingerprint's own project publishes them
//! (FoxIO-LLC/ja4: `rust/ja4/src/snapshots`, and `python/test/testdata` for the last two).

mod common;

use std::collections::BTreeMap;

use common::{Need, flowaudit, have, shared};

const CHROME: &str = "t13d1516h2_8daaf6152771_e5627efa2ab1";
const CHROME_RESUMING: &str = "t13d1516h2_8daaf6152771_9b887d9acb53";

/// Capture, and how many of its TCP connections have which fingerprint.
const PUBLISHED: &[(&str, &[(&str, usize)])] = &[
    (
        "tls-handshake.pcapng",
        &[
            (CHROME, 54),
            ("t13d1516h1_8daaf6152771_e5627efa2ab1", 3),
            ("t13d151400_8daaf6152771_de4a06bb82e3", 1),
            ("t13d1517h1_8daaf6152771_6cdcb247c39b", 1),
        ],
    ),
    ("tls3.pcapng", &[(CHROME, 4), (CHROME_RESUMING, 3)]),
    ("latest.pcapng", &[(CHROME, 3), (CHROME_RESUMING, 1), ("t12d190800_d83cc789557e_7af1ed941c26", 1)]),
    ("browsers-x509.pcapng", &[(CHROME, 3)]),
    ("http2-with-cookies.pcapng", &[(CHROME, 1)]),
    ("tls-alpn-h2.pcap", &[("t12d4605h2_85626a9a5f7f_aaf95bb78ec9", 1)]),
    ("badcurveball.pcap", &[("t13d1615h2_46e7e9700bed_45f260be83e2", 1)]),
    ("tls12.pcap", &[("t13d1715h2_5b57614c22b0_3d5424432f57", 1)]),
    ("macos_tcp_flags.pcap", &[("t13d2613h2_2802a3db6c62_845d286b0d67", 1)]),
];

#[test]
fn public_captures_have_their_published_fingerprints() {
    if !have(&[Need::Shared("corpus/ja4/pcap")]) {
        return;
    }
    for (file, published) in PUBLISHED {
        let run = flowaudit([
            "check".as_ref(),
            "-q".as_ref(),
            "-o".as_ref(),
            "-".as_ref(),
            shared("corpus/ja4/pcap").join(file).as_os_str(),
        ]);
        assert!(run.status.is_some_and(|status| status < 2), "{file}: {}", run.stderr);
        let mut found: BTreeMap<String, usize> = BTreeMap::new();
        for row in csv::Reader::from_reader(run.stdout.as_bytes()).deserialize() {
            let row: BTreeMap<String, String> = row.expect("a row of the report");
            if !row["ja4"].is_empty() {
                *found.entry(row["ja4"].clone()).or_default() += 1;
            }
        }
        let published = published.iter().map(|(ja4, count)| ((*ja4).to_owned(), *count)).collect();
        assert_eq!(found, published, "{file}");
    }
}
