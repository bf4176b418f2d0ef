//! TLS below the accepted version, however that is learnt, and what a higher line would break.

mod common;
#[path = "common/frames.rs"]
mod frames;

use common::{capture, flowaudit};
use frames::{Frame, audit, plan};

#[test]
fn a_version_negotiated_or_offered_at_most_is_weak() {
    let plan = plan();
    let frames = frames::read(&capture("violation_tls10.pcap"));
    let rows = audit(&plan, &frames);
    assert_eq!(rows[0]["reason"], "weak_tls");
    assert!(rows[0]["evidence"].contains("TLS 1.0 is below"), "{}", rows[0]["evidence"]);
    assert!(rows[0]["evidence"].contains("key exchange X25519"), "{}", rows[0]["evidence"]);
    // Only what the client sent: no ServerHello tells the version, but it can be no higher.
    let client = frames[0].ports().expect("TCP");
    let sent: Vec<Frame> = frames.into_iter().filter(|frame| frame.ports() == Some(client)).collect();
    let rows = audit(&plan, &sent);
    assert_eq!((rows.len(), rows[0]["tls_version"].as_str()), (1, ""));
    assert_eq!(rows[0]["reason"], "weak_tls");
    assert!(rows[0]["evidence"].contains("offers at most TLS 1.0"), "{}", rows[0]["evidence"]);
}

#[test]
fn a_refused_offer_is_refused_first() {
    let rows = audit(&plan(), &frames::read(&capture("violation_tls10_refused.pcap")));
    for row in rows {
        assert_eq!(row["reason"], "handshake_failed");
        assert!(row["evidence"].contains("offers at most TLS 1.0"), "{}", row["evidence"]);
    }
}

/// What the summary foretells is what happens.
#[test]
fn the_summary_counts_what_a_higher_line_would_break() {
    let run = |options: &[&str]| {
        let mut arguments = vec!["check".into(), "--inventory".into(), capture("bosh-instances-ps.json")];
        arguments.extend(["--inventory".into(), capture("bosh-cloud-config.yml")]);
        arguments.extend(
            ["match_C4_tls12.pcap", "violation_weak_cipher_8443.pcap", "match_L5_L10_tls13.pcap"]
                .map(capture),
        );
        arguments.extend(options.iter().map(Into::into));
        flowaudit(arguments)
    };
    let plain = run(&[]);
    let foretold = "3 of 6 TLS flows would break with --min-tls 1.3; 2 with --weak-cipher deny";
    assert!(plain.stdout.contains(foretold), "{}", plain.stdout);
    assert_eq!(plain.status, Some(0));
    for (options, violations) in [(&["--min-tls", "1.3"], "3 flows"), (&["--weak-cipher", "deny"], "2 flows")]
    {
        let raised = run(options);
        let line = raised.stdout.lines().find(|line| line.trim_start().starts_with("violation"));
        assert!(line.is_some_and(|line| line.contains(violations)), "{}", raised.stdout);
        assert_eq!(raised.status, Some(1));
    }
}
