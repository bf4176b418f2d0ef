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
    /// `vm` or `vm (Component)`.
    Vm {
        /// The VM's documented name.
        vm: String,
        /// The process on that VM.
        component: Option<String>,
    },
}

/// A port cell: any of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports(pub Vec<RangeInclusive<u16>>);

impl Ports {
    /// Whether the cell names this port.
    pub fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|range| range.contains(&port))
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
}

/// What a security cell asks of the transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Nothing: the row is documented in clear.
    No,
    /// The server authenticates itself.
    Server,
    /// Both ends do.
    Mutual,
}

/// What a security cell asks of the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// `OAuth`.
    OAuth,
    /// `Basic authentication`.
    Basic,
}

/// A security cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Security {
    /// Of the transport.
    pub tls: Tls,
    /// Of the application, if anything.
    pub authentication: Option<Authentication>,
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
        let Some((vm, rest)) = cell.split_once('(') else {
            return Ok(End::Vm { vm: cell.to_owned(), component: None });
        };
        let (vm, component) = (vm.trim(), rest.strip_suffix(')').map(str::trim));
        match component {
            Some(component) if !vm.is_empty() && !component.is_empty() => {
                Ok(End::Vm { vm: vm.to_owned(), component: Some(component.to_owned()) })
            }
            _ => Err(Expected("a component in parentheses at the end, as in `vm (Component)`")),
        }
    }
}

impl Ports {
    /// Reads a port cell: `8082`, `25555 and 8443`, `80, 443`, `8844/8845`, `4222-4225`, `80 or 443`.
    pub fn parse(cell: &str) -> Result<Ports, Expected> {
        const EXPECTED: Expected = Expected(
            "ports from 1 to 65535: one, a list (`80, 443`, `25555 and 8443`) or a range (`4222-4225`)",
        );
        let cell = capped(cell)?;
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
        Ok(Ports(ranges))
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
            "https" => Ok(App::Https),
            "http" => Ok(App::Http),
            "websocket" => Ok(App::WebSocket),
            "server sent events" | "server-sent events" => Ok(App::ServerSentEvents),
            "nats" => Ok(App::Nats),
            "dns" => Ok(App::Dns),
            _ => Err(Expected(
                "`gRPC over HTTP/2`, `HTTPS`, `HTTP`, `WebSocket`, `Server Sent Events`, `NATS`, `DNS`, \
                 or alternatives of these joined by `/`",
            )),
        })
        .collect()
}

impl Security {
    /// Reads a security cell.
    pub fn parse(cell: &str) -> Result<Security, Expected> {
        let (mut tls, mut authentication) = (Tls::No, None);
        let cell = capped(cell)?.to_ascii_lowercase();
        for word in cell.replace(" and ", ",").replace('+', ",").split(',') {
            match word.trim() {
                "mutual tls" => tls = Tls::Mutual,
                "tls" => tls = Tls::Server,
                "oauth" | "oauth 2.0" => authentication = Some(Authentication::OAuth),
                "basic authentication" => authentication = Some(Authentication::Basic),
                "none" => {}
                _ => {
                    return Err(Expected(
                        "`Mutual TLS`, `TLS`, `OAuth`, `Basic authentication`, `None`, or `TLS and` one of these",
                    ));
                }
            }
        }
        Ok(Security { tls, authentication })
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
    fn ports_are_lists_and_ranges() {
        let ports = Ports::parse("25555 and 8443").unwrap();
        assert!(ports.contains(25555) && ports.contains(8443) && !ports.contains(8444));
        assert!(Ports::parse("61001-65534").unwrap().contains(65000));
        assert!(Ports::parse("80, 443,8080").unwrap().contains(443));
        assert!(Ports::parse("8844/8845").unwrap().contains(8845));
        for bad in ["", "0", "65536", "9-8", "+5", "http", "80,", "5-"] {
            assert!(Ports::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn applications_may_be_alternatives() {
        assert_eq!(applications("gRPC over HTTP/2"), Ok(vec![App::Grpc]));
        assert_eq!(applications("HTTP/WebSocket"), Ok(vec![App::Http, App::WebSocket]));
        assert_eq!(applications("HTTP/Server Sent Events"), Ok(vec![App::Http, App::ServerSentEvents]));
        assert!(applications("HTPP").is_err());
    }

    #[test]
    fn security_is_of_the_transport_and_of_the_application() {
        let security = |tls, authentication| Ok(Security { tls, authentication });
        assert_eq!(Security::parse("Mutual TLS"), security(Tls::Mutual, None));
        assert_eq!(Security::parse("OAuth"), security(Tls::No, Some(Authentication::OAuth)));
        assert_eq!(Security::parse("TLS and OAuth 2.0"), security(Tls::Server, Some(Authentication::OAuth)));
        assert_eq!(Security::parse("Basic authentication"), security(Tls::No, Some(Authentication::Basic)));
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
