//! What the cells of a documented table ask for, parsed from their own words.
//!
//! The value shapes are those of the platform's published tables: `25555 and 8443`, lists and ranges of
//! ports, `A/B` and `A or B` alternatives, `Any*`, `Any VM running X`, `vm (Component)`.

use std::fmt;
use std::ops::RangeInclusive;

use crate::packet::Transport;

/// A source or destination cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// `Any*`: any VM in the destination's subnet.
    AnyInSubnet,
    /// `Any VM running X`: chosen by job, not by instance group.
    AnyVmRunning(String),
    /// `vm` or `vm (Component)`; names that are no instance group (`Load balancer`) are such names too.
    Vm {
        /// The VM's documented name.
        vm: String,
        /// The process on that VM.
        component: Option<String>,
    },
    /// `A or B`: either.
    Either(Vec<End>),
}

/// A port cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    /// Any of these.
    Named(Vec<RangeInclusive<u16>>),
    /// The document leaves the port open: `Varies`, or words instead of a number.
    Open,
}

impl Ports {
    /// Whether the cell names this port; `None` when it leaves the port open.
    pub fn contains(&self, port: u16) -> Option<bool> {
        match self {
            Ports::Named(ranges) => Some(ranges.iter().any(|range| range.contains(&port))),
            Ports::Open => None,
        }
    }
}

/// One of the alternatives of an application cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum App {
    /// `gRPC over HTTP/2`.
    Grpc,
    /// `HTTPS`: HTTP of any version inside TLS.
    Https,
    /// `HTTP`.
    Http,
    /// `WebSocket`.
    WebSocket,
    /// `Server Sent Events`.
    ServerSentEvents,
    /// `NATS`.
    Nats,
    /// `DNS`.
    Dns,
    /// `MySQL`.
    Mysql,
    /// `SSH`.
    Ssh,
    /// `LDAP`.
    Ldap,
    /// `LDAPS`: LDAP inside TLS.
    Ldaps,
    /// `Syslog`.
    Syslog,
    /// `TCP`: any bytes.
    Bytes,
    /// `Varies`: the document leaves it open.
    Open,
}

impl App {
    /// The name itself says that TLS is around it.
    pub fn implies_tls(self) -> bool {
        matches!(self, App::Https | App::Ldaps)
    }
}

/// What a security cell asks of the transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// The cell says nothing of it either way, as `MySQL authentication`.
    Unstated,
    /// Documented in clear.
    No,
    /// The server authenticates itself.
    Server,
    /// Both ends do.
    Mutual,
}

/// What a security cell asks of the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// `OAuth`, `OAuth 2.0`.
    OAuth,
    /// `UAA Token`: a bearer token, or one sent as it is, which looks like any other credential.
    UaaToken,
    /// `Basic authentication`.
    Basic,
    /// `LDAP bind`.
    LdapBind,
    /// `MySQL authentication`.
    Mysql,
    /// `SSH`: SSH's own.
    Ssh,
    /// `Signed URLs`.
    SignedUrl,
    /// `Key`, `Shared secret`: nothing that could be told from other traffic.
    Untold,
}

/// One way in which a security cell is satisfied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Of the transport.
    pub tls: Tls,
    /// Of the application, if anything.
    pub authentication: Option<Authentication>,
}

/// A security cell: any of its alternatives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Security {
    /// The alternatives, in the cell's order; at least one.
    pub alternatives: Vec<Asked>,
    /// `Unencrypted. This communication happens inside the VM.`
    pub inside_vm: bool,
}

/// A cell that cannot be read: what was expected in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected(pub &'static str);

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// The longest cell that is read, in bytes.
const CELL_CAP: usize = 4096;
/// The most ports or ranges one cell may list.
const PORTS_CAP: usize = 1024;

impl End {
    /// Reads a source or destination cell.
    pub fn parse(cell: &str) -> Result<End, Expected> {
        let cell = capped(cell)?;
        if cell.is_empty() {
            return Err(Expected("`Any*`, `Any VM running X`, `vm` or `vm (Component)`"));
        }
        if cell == "Any*" {
            return Ok(End::AnyInSubnet);
        }
        if cell.eq_ignore_ascii_case("any") || cell.trim_end_matches('*').eq_ignore_ascii_case("any") {
            return Err(Expected(
                "`Any*` (any VM in the destination's subnet); other forms of `Any` have no documented meaning",
            ));
        }
        if let Some(job) = strip_prefix_ignoring_case(cell, "any vm running") {
            let job = job.trim();
            let job = strip_prefix_ignoring_case(job, "a ").unwrap_or(job);
            return match job {
                "" => Err(Expected("the name of a job after `Any VM running`")),
                job => Ok(End::AnyVmRunning(job.to_owned())),
            };
        }
        // `N/A (admin)`: the words in parentheses are the name.
        if cell.to_ascii_uppercase().starts_with("N/A") {
            return Ok(End::Vm { vm: cell.to_owned(), component: None });
        }
        if cell.contains(" or ") {
            return cell.split(" or ").map(vm).collect::<Result<_, _>>().map(End::Either);
        }
        vm(cell)
    }
}

fn vm(cell: &str) -> Result<End, Expected> {
    let cell = cell.trim();
    let Some((vm, rest)) = cell.split_once('(') else {
        return match cell {
            "" => Err(Expected("a VM on both sides of `or`")),
            vm => Ok(End::Vm { vm: vm.to_owned(), component: None }),
        };
    };
    let (vm, component) = (vm.trim(), rest.strip_suffix(')').map(str::trim));
    match component {
        Some(component) if !vm.is_empty() && !component.is_empty() => {
            Ok(End::Vm { vm: vm.to_owned(), component: Some(component.to_owned()) })
        }
        _ => Err(Expected("a component in parentheses at the end, as in `vm (Component)`")),
    }
}

impl Ports {
    /// Reads a port cell: `8082`, `25555 and 8443`, `80, 443`, `8844/8845`, `4222-4225`,
    /// `80 or 443 (HTTP port)`, `Varies`, `LDAP server communication port`.
    pub fn parse(cell: &str) -> Result<Ports, Expected> {
        const EXPECTED: Expected = Expected(
            "ports from 1 to 65535: one, a list (`80, 443`, `25555 and 8443`) or a range (`4222-4225`), `Varies`, \
             or words that end in `port`",
        );
        let cell = without_remark(capped(cell)?);
        let named = cell.bytes().any(|b| b.is_ascii_digit());
        let open = cell.eq_ignore_ascii_case("varies") || cell.to_ascii_lowercase().ends_with(" port");
        if !named && open {
            return Ok(Ports::Open);
        }
        let mut ranges = Vec::new();
        for word in cell.replace(" and ", ",").replace(" or ", ",").split([',', '/']) {
            let word = word.trim();
            let (low, high) = match word.split_once(['-', '–']) {
                Some((low, high)) => (low.trim(), high.trim()),
                None => (word, word),
            };
            let (low, high) = (port(low).ok_or(EXPECTED)?, port(high).ok_or(EXPECTED)?);
            if low > high || ranges.len() == PORTS_CAP {
                return Err(EXPECTED);
            }
            ranges.push(low..=high);
        }
        Ok(Ports::Named(ranges))
    }
}

/// Reads a transport cell: `TCP`, `UDP`, or both as `TCP and UDP`, `TCP/UDP`.
pub fn transports(cell: &str) -> Result<Vec<Transport>, Expected> {
    let cell = capped(cell)?.to_ascii_lowercase();
    let words = cell.replace(" and ", ",").replace(" or ", ",");
    words
        .split([',', '/'])
        .map(|word| match word.trim() {
            "tcp" => Ok(Transport::TCP),
            "udp" => Ok(Transport::UDP),
            _ => Err(Expected("`TCP`, `UDP`, or `TCP and UDP`")),
        })
        .collect()
}

/// Reads an application cell: one name, or alternatives joined by `/` or `or`.
pub fn applications(cell: &str) -> Result<Vec<App>, Expected> {
    let cell = capped(cell)?.to_ascii_lowercase();
    // The one name that holds a slash itself.
    let cell = cell.replace("grpc over http/2", "grpc");
    cell.replace(" or ", "/")
        .split('/')
        .map(|name| match name.trim() {
            "grpc" => Ok(App::Grpc),
            "mysql" => Ok(App::Mysql),
            "ssh" => Ok(App::Ssh),
            "ldap" => Ok(App::Ldap),
            "ldaps" => Ok(App::Ldaps),
            "syslog" => Ok(App::Syslog),
            "tcp" => Ok(App::Bytes),
            "varies" => Ok(App::Open),
            "https" => Ok(App::Https),
            "http" => Ok(App::Http),
            "websocket" => Ok(App::WebSocket),
            "server sent events" | "server-sent events" => Ok(App::ServerSentEvents),
            "nats" => Ok(App::Nats),
            "dns" => Ok(App::Dns),
            _ => Err(Expected(
                "`gRPC over HTTP/2`, `HTTPS`, `HTTP`, `WebSocket`, `Server Sent Events`, `NATS`, `DNS`, `MySQL`, \
                 `SSH`, `LDAP`, `LDAPS`, `Syslog`, `TCP`, `Varies`, or alternatives of these joined by `/`",
            )),
        })
        .collect()
}

impl Security {
    /// Reads a security cell: `Mutual TLS`, `TLS and OAuth 2.0`, `OAuth 2.0 or none`, `None/TLS`, `Optional TLS`, ….
    pub fn parse(cell: &str) -> Result<Security, Expected> {
        let cell = capped(cell)?.to_ascii_lowercase();
        let inside_vm = cell.trim_end_matches('.') == "unencrypted. this communication happens inside the vm";
        let alternatives = match cell.trim_end_matches(['†', '‡', '*']) {
            _ if inside_vm => vec![Asked { tls: Tls::No, authentication: None }],
            // The one name that holds a slash itself.
            "n/a" => vec![Asked { tls: Tls::Unstated, authentication: None }],
            "optional tls" => vec![
                Asked { tls: Tls::No, authentication: None },
                Asked { tls: Tls::Server, authentication: None },
            ],
            cell => cell.replace(" or ", "/").split('/').map(Asked::parse).collect::<Result<_, _>>()?,
        };
        Ok(Security { alternatives, inside_vm })
    }
}

impl Asked {
    fn parse(cell: &str) -> Result<Asked, Expected> {
        let mut asked = Asked { tls: Tls::No, authentication: None };
        for word in cell.replace(" and ", ",").replace('+', ",").split(',') {
            // Here the remark says what the words do not.
            if word.trim() == "basic authentication (ldap bind)" {
                asked.authentication = Some(Authentication::LdapBind);
                continue;
            }
            match without_remark(word.trim()) {
                "mutual tls" | "mutual tls from the same ca" => asked.tls = Tls::Mutual,
                "tls" => asked.tls = Tls::Server,
                "oauth" | "oauth 2.0" => asked.authentication = Some(Authentication::OAuth),
                "uaa token" => asked.authentication = Some(Authentication::UaaToken),
                "basic authentication" => asked.authentication = Some(Authentication::Basic),
                "ldap bind" => asked.authentication = Some(Authentication::LdapBind),
                "signed urls" => asked.authentication = Some(Authentication::SignedUrl),
                "shared secret" => asked.authentication = Some(Authentication::Untold),
                "mysql authentication" => {
                    asked = Asked { tls: Tls::Unstated, authentication: Some(Authentication::Mysql) };
                }
                "ssh" => asked.authentication = Some(Authentication::Ssh),
                "key" => asked = Asked { tls: Tls::Unstated, authentication: Some(Authentication::Untold) },
                "none" => {}
                _ => {
                    return Err(Expected(
                        "`Mutual TLS`, `TLS`, `Optional TLS`, `OAuth`, `Basic authentication`, `LDAP bind`, \
                         `MySQL authentication`, `SSH`, `Signed URLs`, `Key`, `None`, `N/A`, these joined by `and`, \
                         or alternatives joined by `or` or `/`",
                    ));
                }
            }
        }
        Ok(asked)
    }
}

/// The cell without a remark in parentheses at its end: `TLS or Mutual TLS (configurable)`.
fn without_remark(cell: &str) -> &str {
    match cell.split_once('(') {
        Some((words, remark)) if remark.ends_with(')') && !words.trim().is_empty() => words.trim(),
        _ => cell,
    }
}

fn capped(cell: &str) -> Result<&str, Expected> {
    let cell = cell.trim();
    if cell.len() > CELL_CAP { Err(Expected("a cell of at most 4096 bytes")) } else { Ok(cell) }
}

fn port(word: &str) -> Option<u16> {
    word.bytes().all(|b| b.is_ascii_digit()).then(|| word.parse().ok()).flatten().filter(|port| *port > 0)
}

fn strip_prefix_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ends_are_read_in_the_pages_own_words() {
        assert_eq!(End::parse(" Any* "), Ok(End::AnyInSubnet));
        assert_eq!(
            End::parse("Any VM running Loggregator Agent"),
            Ok(End::AnyVmRunning("Loggregator Agent".to_owned()))
        );
        let vm = |vm: &str, component: Option<&str>| {
            Ok(End::Vm { vm: vm.to_owned(), component: component.map(str::to_owned) })
        };
        assert_eq!(End::parse("doppler"), vm("doppler", None));
        assert_eq!(End::parse("BOSH Director (Metrics Server)"), vm("BOSH Director", Some("Metrics Server")));
        for bad in ["", "Any", "Any**", "Any VM running ", "(x)", "doppler (", "doppler ()", "doppler (x) y"]
        {
            assert!(End::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ends_that_are_no_instance_groups_are_names_all_the_same() {
        let vm = |vm: &str| End::Vm { vm: vm.to_owned(), component: None };
        assert_eq!(End::parse("N/A (admin)"), Ok(vm("N/A (admin)")));
        assert_eq!(End::parse("Load balancer"), Ok(vm("Load balancer")));
        let either = End::Either(vec![vm("nfs_server"), vm("other blobstore")]);
        assert_eq!(End::parse("nfs_server or other blobstore"), Ok(either));
        assert!(End::parse("nfs_server or ").is_ok_and(|end| matches!(end, End::Vm { .. })), "trimmed");
    }

    #[test]
    fn ports_are_lists_and_ranges() {
        let contains = |cell: &str, port| Ports::parse(cell).unwrap().contains(port);
        assert_eq!(contains("25555 and 8443", 25555), Some(true));
        assert_eq!(contains("25555 and 8443", 8444), Some(false));
        assert_eq!(contains("61001-65534", 65000), Some(true));
        assert_eq!(contains("80, 443,8080", 443), Some(true));
        assert_eq!(contains("443/8080", 8080), Some(true));
        assert_eq!(contains("80 or 443 (HTTP port)", 443), Some(true));
        assert_eq!(contains("Varies", 1), None);
        assert_eq!(contains("LDAP server communication port", 636), None);
        for bad in ["", "0", "65536", "9-8", "+5", "http", "eight", "80,", "5-"] {
            assert!(Ports::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn applications_may_be_alternatives() {
        assert_eq!(applications("gRPC over HTTP/2"), Ok(vec![App::Grpc]));
        assert_eq!(applications("GRPC"), Ok(vec![App::Grpc]));
        assert_eq!(applications("HTTP/WebSocket"), Ok(vec![App::Http, App::WebSocket]));
        assert_eq!(applications("HTTP/Server Sent Events"), Ok(vec![App::Http, App::ServerSentEvents]));
        assert_eq!(applications("LDAP/LDAPS"), Ok(vec![App::Ldap, App::Ldaps]));
        assert!(applications("HTPP").is_err());
    }

    #[test]
    fn security_is_of_the_transport_and_of_the_application() {
        use Authentication::{Basic, LdapBind, Mysql, OAuth, SignedUrl, UaaToken};
        let read = |cell: &str| {
            let security = Security::parse(cell).unwrap();
            security.alternatives.iter().map(|asked| (asked.tls, asked.authentication)).collect::<Vec<_>>()
        };
        assert_eq!(read("Mutual TLS"), [(Tls::Mutual, None)]);
        assert_eq!(read("OAuth"), [(Tls::No, Some(OAuth))]);
        assert_eq!(read("TLS and OAuth 2.0"), [(Tls::Server, Some(OAuth))]);
        assert_eq!(read("TLS and basic authentication"), [(Tls::Server, Some(Basic))]);
        assert_eq!(read("TLS and UAA Token"), [(Tls::Server, Some(UaaToken))]);
        assert_eq!(read("OAuth 2.0 or none"), [(Tls::No, Some(OAuth)), (Tls::No, None)]);
        assert_eq!(read("None/TLS"), [(Tls::No, None), (Tls::Server, None)]);
        assert_eq!(read("Optional TLS"), [(Tls::No, None), (Tls::Server, None)]);
        assert_eq!(read("TLS or Mutual TLS (configurable)"), [(Tls::Server, None), (Tls::Mutual, None)]);
        assert_eq!(read("Signed URLs/TLS"), [(Tls::No, Some(SignedUrl)), (Tls::Server, None)]);
        assert_eq!(read("MySQL authentication"), [(Tls::Unstated, Some(Mysql))]);
        assert_eq!(read("LDAP bind"), [(Tls::No, Some(LdapBind))]);
        assert_eq!(read("Basic authentication (LDAP bind)"), [(Tls::No, Some(LdapBind))]);
        assert_eq!(read("N/A"), [(Tls::Unstated, None)]);
        let inside = Security::parse("Unencrypted. This communication happens inside the VM.").unwrap();
        assert!(inside.inside_vm);
        assert!(Security::parse("mTLS").is_err());
        assert!(Security::parse("").is_err());
    }

    proptest! {
        #[test]
        fn no_cell_panics(cell in "\\PC{0,80}") {
            let _ = (End::parse(&cell), Ports::parse(&cell), transports(&cell), applications(&cell), Security::parse(&cell));
        }
    }
}
