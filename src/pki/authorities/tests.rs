use super::*;
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

type Ca = CertifiedIssuer<'static, KeyPair>;

/// 2026-06-01, when everything made here is valid unless its test says otherwise.
const NOW: i64 = 1_780_272_000;
const YEAR: i64 = 365 * 86_400;

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    params
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = named(name);
    params.subject_alt_names.clear();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn ca(name: &str) -> Ca {
    Ca::self_signed(ca_params(name), KeyPair::generate().unwrap()).unwrap()
}

fn leaf(params: &CertificateParams, issuer: &Ca) -> Vec<u8> {
    params.signed_by(&KeyPair::generate().unwrap(), issuer).unwrap().der().to_vec()
}

fn trusting(pems: &[&str]) -> Authorities {
    let mut authorities = Authorities::default();
    for pem in pems {
        authorities.add("ca.pem", pem.as_bytes()).unwrap();
    }
    authorities
}

fn other(result: Result<(), ChainProblem>) -> String {
    match result {
        Err(ChainProblem::Other(why)) => why,
        judged => panic!("judged: {judged:?}"),
    }
}

#[test]
fn the_right_authority_is_accepted_and_another_is_not() {
    let (right, rogue) = (ca("loggregatorCA"), ca("rogueCA"));
    let authorities = trusting(&[&right.pem(), &right.pem(), &ca("another").pem()]);
    assert_eq!(authorities.len(), 2);
    for usage in [Usage::Client, Usage::Server] {
        assert_eq!(authorities.check(&[&leaf(&named("metron"), &right)], usage, NOW), Ok(()));
        let foreign = leaf(&named("metron"), &rogue);
        assert_eq!(authorities.check(&[&foreign], usage, NOW), Err(ChainProblem::UnknownIssuer));
        let with_its_ca: [&[u8]; 2] = [&foreign, rogue.der()];
        assert_eq!(authorities.check(&with_its_ca, usage, NOW), Err(ChainProblem::UnknownIssuer));
    }
    let nobody = Authorities::default();
    assert!(nobody.is_empty());
    let ours = leaf(&named("metron"), &right);
    assert_eq!(nobody.check(&[&ours], Usage::Client, NOW), Err(ChainProblem::UnknownIssuer));
}

#[test]
fn a_namesake_of_the_authority_is_found_out() {
    let (right, namesake) = (ca("loggregatorCA"), ca("loggregatorCA"));
    let forged = leaf(&named("metron"), &namesake);
    let problem = trusting(&[&right.pem()]).check(&[&forged], Usage::Client, NOW);
    assert_eq!(problem, Err(ChainProblem::UnknownIssuer));
    // Both are trusted while one replaces the other.
    assert_eq!(trusting(&[&right.pem(), &namesake.pem()]).check(&[&forged], Usage::Client, NOW), Ok(()));
}

#[test]
fn validity_is_judged_at_the_time_given() {
    let right = ca("ca");
    let authorities = trusting(&[&right.pem()]);
    let ours = leaf(&named("metron"), &right);
    let at = |at| authorities.check(&[&ours], Usage::Client, at);
    assert_eq!(at(NOW + YEAR), Err(ChainProblem::Expired));
    assert_eq!(at(i64::MAX), Err(ChainProblem::Expired));
    assert_eq!(at(NOW - YEAR), Err(ChainProblem::NotYetValid));
    assert_eq!(at(i64::MIN), Err(ChainProblem::NotYetValid));
}

#[test]
fn key_usage_is_held_against_the_role() {
    let right = ca("ca");
    let authorities = trusting(&[&right.pem()]);
    let with = |usage: Vec<ExtendedKeyUsagePurpose>| {
        let mut params = named("metron");
        params.extended_key_usages = usage;
        leaf(&params, &right)
    };
    let server = with(vec![ExtendedKeyUsagePurpose::ServerAuth]);
    assert_eq!(authorities.check(&[&server], Usage::Server, NOW), Ok(()));
    assert_eq!(authorities.check(&[&server], Usage::Client, NOW), Err(ChainProblem::WrongUsage));
    let client = with(vec![ExtendedKeyUsagePurpose::EmailProtection, ExtendedKeyUsagePurpose::ClientAuth]);
    assert_eq!(authorities.check(&[&client], Usage::Client, NOW), Ok(()));
    assert_eq!(authorities.check(&[&client], Usage::Server, NOW), Err(ChainProblem::WrongUsage));
    let any = with(vec![ExtendedKeyUsagePurpose::Any]);
    assert_eq!(authorities.check(&[&any], Usage::Client, NOW), Ok(()));
}

#[test]
fn an_intermediate_must_be_presented_and_be_an_issuer() {
    let root = ca("root");
    let authorities = trusting(&[&root.pem()]);
    let middle = Ca::signed_by(ca_params("middle"), KeyPair::generate().unwrap(), &root).unwrap();
    let end = leaf(&named("metron"), &middle);
    assert_eq!(authorities.check(&[&end, middle.der()], Usage::Client, NOW), Ok(()));
    assert_eq!(authorities.check(&[&end, b"junk", middle.der()], Usage::Client, NOW), Ok(()));
    assert_eq!(authorities.check(&[&end], Usage::Client, NOW), Err(ChainProblem::UnknownIssuer));

    let no_ca = Ca::signed_by(named("middle"), KeyPair::generate().unwrap(), &root).unwrap();
    let end = leaf(&named("metron"), &no_ca);
    let problem = authorities.check(&[&end, no_ca.der()], Usage::Client, NOW);
    assert_eq!(problem, Err(ChainProblem::UnknownIssuer), "a certificate that is no CA issued it");
}

#[test]
fn self_signed_certificates_are_trusted_only_by_name() {
    let authorities = trusting(&[&ca("ca").pem()]);
    for params in [named("metron"), ca_params("metron")] {
        let own = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert_eq!(authorities.check(&[own.der()], Usage::Client, NOW), Err(ChainProblem::UnknownIssuer));
        let trusted = trusting(&[&own.pem()]);
        assert_eq!(trusted.check(&[own.der()], Usage::Client, NOW), Ok(()));
        assert_eq!(trusted.check(&[own.der()], Usage::Client, NOW + YEAR), Err(ChainProblem::Expired));
        assert_eq!(trusted.check(&[own.der()], Usage::Client, NOW - YEAR), Err(ChainProblem::NotYetValid));
    }
    let mut params = ca_params("metron");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let own = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    let trusted = trusting(&[&own.pem()]);
    assert_eq!(trusted.check(&[own.der()], Usage::Server, NOW), Ok(()));
    assert_eq!(trusted.check(&[own.der()], Usage::Client, NOW), Err(ChainProblem::WrongUsage));
}

#[test]
fn old_cryptography_is_left_open_only_under_a_name_that_is_trusted() {
    let der = |pem: &str| pem::certificates("f", pem.as_bytes()).unwrap()[0].to_vec();
    let at = 1_800_000_000;
    let (old, weak) = (trusting(&[OLD_CA]), trusting(&[WEAK_CA]));
    other(old.check(&[&der(SHA1_LEAF)], Usage::Client, at));
    other(old.check(&[&der(V1_LEAF)], Usage::Client, at));
    assert_eq!(
        other(weak.check(&[&der(WEAK_LEAF)], Usage::Client, at)),
        "signed with an RSA key of 1024 bits"
    );
    for (authorities, leaf) in [(&weak, SHA1_LEAF), (&weak, V1_LEAF), (&old, WEAK_LEAF)] {
        let problem = authorities.check(&[&der(leaf)], Usage::Client, at);
        assert_eq!(problem, Err(ChainProblem::UnknownIssuer));
    }
}

#[test]
fn chains_of_no_sense_are_named() {
    let right = ca("ca");
    let authorities = trusting(&[&right.pem()]);
    let ours = leaf(&named("metron"), &right);
    assert!(matches!(authorities.check(&[], Usage::Client, NOW), Err(ChainProblem::Malformed(_))));
    assert!(matches!(authorities.check(&[b"\x30\x03"], Usage::Client, NOW), Err(ChainProblem::Malformed(_))));
    let long: Vec<&[u8]> = vec![&ours; MAX_CHAIN + 1];
    assert!(other(authorities.check(&long, Usage::Client, NOW)).contains("a chain of 11 certificates"));
}

#[test]
fn a_bundle_of_no_certificate_is_refused() {
    let pem = "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n";
    let error = Authorities::default().add("ca.pem", pem.as_bytes()).unwrap_err().to_string();
    assert!(error.starts_with("ca.pem: certificate 1: "), "{error}");
    assert!(Authorities::read(["/no/such/file"]).is_err());
}

/// Many issuers of one name: the search for a path grows fast and must end all the same.
#[test]
fn a_maze_of_issuers_ends_soon() {
    let root = ca("maze");
    let authorities = trusting(&[&root.pem()]);
    let mazes: Vec<Ca> = (0..MAX_CHAIN - 1).map(|_| ca("maze")).collect();
    let end = leaf(&named("metron"), &ca("maze"));
    let mut chain: Vec<&[u8]> = vec![&end];
    chain.extend(mazes.iter().map(|maze| &maze.der()[..]));
    let started = std::time::Instant::now();
    assert!(authorities.check(&chain, Usage::Client, NOW).is_err());
    assert!(started.elapsed() < std::time::Duration::from_secs(10));
}

#[test]
fn recorded_certificates_are_told_from_rogue_ones() {
    let folder = Path::new("../shared/captures/loggregator/certs");
    if !folder.exists() {
        println!("skipped: {} is not here", folder.display());
        return;
    }
    let authorities = Authorities::read([folder.join("loggregator_ca.crt")]).unwrap();
    let check = |name: &str, at| {
        let der = pem::certificates(name, &pem::open(&folder.join(name)).unwrap()).unwrap();
        authorities.check(&[&der[0]], Usage::Client, at)
    };
    for name in ["doppler.crt", "metron.crt", "trafficcontroller.crt", "reverselogproxy.crt"] {
        assert_eq!(check(name, RECORDED), Ok(()), "{name}");
    }
    for name in ["rogue_doppler.crt", "rogue_metron.crt", "cc.crt"] {
        assert_eq!(check(name, RECORDED), Err(ChainProblem::UnknownIssuer), "{name}");
    }
    assert_eq!(check("doppler.crt", RECORDED + 10 * YEAR), Err(ChainProblem::Expired));
}

/// 2026-11-22 12:00 UTC, when the recorded certificates were new.
const RECORDED: i64 = 1_795_348_800;

proptest! {
    #[test]
    fn any_chain_is_judged(
        chain in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..12),
        at in any::<i64>(),
        cut in 0usize..1000,
    ) {
        let chain: Vec<&[u8]> = chain.iter().map(Vec::as_slice).collect();
        let authorities = trusting(&[OLD_CA, WEAK_CA]);
        prop_assert!(authorities.check(&chain, Usage::Server, at).is_err());
        let mut der = pem::certificates("f", SHA1_LEAF.as_bytes()).unwrap()[0].to_vec();
        let length = der.len();
        der[cut % length] ^= 0x55;
        let _ = authorities.check(&[&der], Usage::Client, at);
        prop_assert!(authorities.check(&[&der[..cut % length]], Usage::Client, at).is_err());
    }
}

// Made with openssl 3, valid from 2026-11-22 for a hundred years.

/// An authority with a P-256 key.
const OLD_CA: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIBeDCCAR+gAwIBAgIUPC83AgQokbGXH8Zf74PhmnmAZQ8wCgYIKoZIzj0EAwIw\n\
ETEPMA0GA1UEAwwGb2xkIENBMCAXDTI2MTEyMjE1NDcwOVoYDzIxMjYxMDI5MTU0\n\
NzA5WjARMQ8wDQYDVQQDDAZvbGQgQ0EwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC\n\
AAQ7ZtsvzJsOGmvvZiOW/q/2fLOb5uaGpR4Qsxw727ufRWP1LgRiU70rgGGifTvQ\n\
6h9AKolFKkqPa7IEYsmfV9vyo1MwUTAdBgNVHQ4EFgQUMzaDhL1FYZitnZjOFY6G\n\
hiVM2P0wHwYDVR0jBBgwFoAUMzaDhL1FYZitnZjOFY6GhiVM2P0wDwYDVR0TAQH/\n\
BAUwAwEB/zAKBggqhkjOPQQDAgNHADBEAiAwKLa8Qol88wlb4Z/0VOvOvJ4rgpUq\n\
X02bbvs6VHfz5wIgLMIumqvSP51HhyytkPGry73yVaT7sxxwDqK3+4Wrwxo=\n\
-----END CERTIFICATE-----\n\
";
/// Signed by it with ECDSA and SHA-1.
const SHA1_LEAF: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIBdTCCARygAwIBAgIUAj8NRLbo5XkHlPuUrn1HLvWbWPEwCQYHKoZIzj0EATAR\n\
MQ8wDQYDVQQDDAZvbGQgQ0EwIBcNMjYxMTIyMTU0NzA5WhgPMjEyNjEwMjkxNTQ3\n\
MDlaMA8xDTALBgNVBAMMBGxlYWYwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQZ\n\
5bOEiu4YLW93wUQSOVp2oshQccDB8BT5QsTxFkFP2a8thl/IPn9Xw6bOjz+sRE3y\n\
wMAS63F4qynpcH/bVcACo1MwUTAPBgNVHREECDAGggRsZWFmMB0GA1UdDgQWBBTZ\n\
Otoa58bvDl35j3c85/ggMpdzUDAfBgNVHSMEGDAWgBQzNoOEvUVhmK2dmM4VjoaG\n\
JUzY/TAJBgcqhkjOPQQBA0gAMEUCIAVDyR8iMx7hy6RFeiKv/nD5yg3FciSBhAEm\n\
jurUsRvbAiEAiJvlgVA/UhXf120TAEzgV5e1N3qn7/q8ueP2FrER80U=\n\
-----END CERTIFICATE-----\n\
";
/// Signed by it, X.509 version 1.
const V1_LEAF: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIBHTCBwwIUAj8NRLbo5XkHlPuUrn1HLvWbWPIwCgYIKoZIzj0EAwIwETEPMA0G\n\
A1UEAwwGb2xkIENBMCAXDTI2MTEyMjE1NDcwOVoYDzIxMjYxMDI5MTU0NzA5WjAP\n\
MQ0wCwYDVQQDDARsZWFmMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEGeWzhIru\n\
GC1vd8FEEjladqLIUHHAwfAU+ULE8RZBT9mvLYZfyD5/V8Omzo8/rERN8sDAEutx\n\
eKsp6XB/21XAAjAKBggqhkjOPQQDAgNJADBGAiEA0qTny2f8wVAQEXlGUJZhp93M\n\
CpVKSWyVW++NGYxf+aQCIQDOV4IV5uaipRoDTaHs904svD4VALJ6v3y97gp/2PrY\n\
+g==\n\
-----END CERTIFICATE-----\n\
";
/// An authority with an RSA key of 1024 bits.
const WEAK_CA: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIICAjCCAWugAwIBAgIUYfh6A5uz/bsiZTEas/yBJdEnGb0wDQYJKoZIhvcNAQEL\n\
BQAwEjEQMA4GA1UEAwwHd2VhayBDQTAgFw0yNjExMjIxNTQ3MDlaGA8yMTI2MTAy\n\
OTE1NDcwOVowEjEQMA4GA1UEAwwHd2VhayBDQTCBnzANBgkqhkiG9w0BAQEFAAOB\n\
jQAwgYkCgYEA3Wi2IqBV1ec9RpZoZ87F91yfGNf7Yyy9MoUTLM7JzYW6DtRlVkBY\n\
if07nTUAYTlXGZik2b2QG8R3flj5qdmt6rXkNAG3b0pHvBf72wEe68JqPC3un5cc\n\
OzI15OplCMljksHEGnW2gN1U2KgHo3grMEQ/ipR9AW8HHIfQfb/qcTkCAwEAAaNT\n\
MFEwHQYDVR0OBBYEFPa5FQHpjBxuoSC+rkrJLQlRys34MB8GA1UdIwQYMBaAFPa5\n\
FQHpjBxuoSC+rkrJLQlRys34MA8GA1UdEwEB/wQFMAMBAf8wDQYJKoZIhvcNAQEL\n\
BQADgYEAd9rYASp/+zbRHgV1rk6tKmXgSENfvnrhoKUUGIptbuTlhRzya81PpsVI\n\
XR42dkT1+5SuSurX7ONgQYtCZEu8zUmWoK8ikgWiiP16gXxg5THTN/Y8bhJJzjrQ\n\
5hiiZhw9CfIuC8TURN+dsQIFvEGQaLiAoOMye3zaE5TIFZp3yls=\n\
-----END CERTIFICATE-----\n\
";
/// Signed by that one.
const WEAK_LEAF: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIBuDCCASGgAwIBAgIULQq4vIsNxrp9WRQEAZ0o3HtbAc0wDQYJKoZIhvcNAQEL\n\
BQAwEjEQMA4GA1UEAwwHd2VhayBDQTAgFw0yNjExMjIxNTQ3MDlaGA8yMTI2MTAy\n\
OTE1NDcwOVowDzENMAsGA1UEAwwEbGVhZjBZMBMGByqGSM49AgEGCCqGSM49AwEH\n\
A0IABBnls4SK7hgtb3fBRBI5WnaiyFBxwMHwFPlCxPEWQU/Zry2GX8g+f1fDps6P\n\
P6xETfLAwBLrcXirKelwf9tVwAKjUzBRMA8GA1UdEQQIMAaCBGxlYWYwHQYDVR0O\n\
BBYEFNk62hrnxu8OXfmPdzzn+CAyl3NQMB8GA1UdIwQYMBaAFPa5FQHpjBxuoSC+\n\
rkrJLQlRys34MA0GCSqGSIb3DQEBCwUAA4GBAKvrC90C8xdEqQ4AQ6deLIVs30lv\n\
VepkSyXKgPoTWF22wVNCtkDN4F4YNvm1ZX76nmQ3Pq5W7du0mJ+mDjdD720j9zdi\n\
5Q7uY3JpwolgnOY0XNJXoloLY7sNKVUxwK5ArCihgj0Iwd2AFNA+kvfYTlOHcLWT\n\
fV8XphWl1m3CLa/S\n\
-----END CERTIFICATE-----\n\
";
