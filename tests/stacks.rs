//! Real handshakes of four TLS stacks with each other, recorded on a loopback: what the audit says of who
//! authenticated is what happened, or that it cannot be told.

mod common;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use common::{
    Background, Folder, Namespace, Need, PATIENCE, certificates, flowaudit, have, mutual_grpc, root, run,
    run_fed, table,
};

const NEEDS: [Need; 6] = [
    Need::Namespaces,
    Need::Program("tcpdump"),
    Need::Program("openssl"),
    Need::Program("gnutls-serv"),
    Need::Program("gnutls-cli"),
    Need::Program("go"),
];
const REQUEST: &[u8] = b"GET / HTTP/1.0\r\nHost: server\r\n\r\n";
/// The first word of every server's answer, in lower case.
const ANSWER: &str = "http/1.0 200";
/// Clients that run at a time.
const AT_A_TIME: usize = 4;
/// The last acknowledgements are still on their way when a client has ended.
const SETTLED: Duration = Duration::from_millis(700);
/// Of a hundred connections, this many must have a definite answer.
const DEFINITE: usize = 90;

#[test]
fn what_stacks_did_with_each_other_is_what_the_audit_says() {
    if !have(&NEEDS) {
        return;
    }
    let site = Site::new();
    let servers: Vec<(Server, Background)> =
        Server::all().map(|server| (server, Background::start(site.server(server)))).collect();
    site.wait_until_all_listen();
    let capture = site.folder.join("stacks.pcap");
    let mut tcpdump = site.namespace.command("tcpdump");
    tcpdump.args(["--immediate-mode", "-i", "lo", "-s", "0", "-B", "16384", "-U", "-Z", "root", "-w"]);
    tcpdump.arg(&capture);
    let mut tcpdump = Background::start(tcpdump);
    tcpdump.wait_for("listening on");
    let connections = Connection::all();
    site.connect(&connections);
    thread::sleep(SETTLED);
    assert_eq!(tcpdump.interrupt(), Some(0));
    drop(servers);

    let report = site.folder.join("report.csv");
    let checked = flowaudit(["check".as_ref(), "-o".as_ref(), report.as_os_str(), capture.as_os_str()]);
    assert_eq!(checked.status, Some(1), "no port here is documented: {}", checked.stderr);
    let rows = table(&fs::read_to_string(&report).expect("it was written"));
    assert_eq!(rows.len(), connections.len());
    let rows: BTreeMap<[&str; 2], &BTreeMap<String, String>> = rows
        .iter()
        .map(|row| (["destination_ip", "destination_port"].map(|column| &*row[column]), row))
        .collect();

    let (mut definite, mut wrong) = (0, Vec::new());
    let mut matrix: BTreeMap<(String, Stack), Vec<&str>> = BTreeMap::new();
    for connection in &connections {
        let (address, port) = (connection.address(), connection.server.port().to_string());
        let row = rows.get(&[address.as_str(), &port]).unwrap_or_else(|| panic!("{connection}: no row"));
        let [answer, basis, version] =
            ["security", "security_basis", "tls_version"].map(|column| &*row[column]);
        matrix.entry((connection.case(), connection.client)).or_default().push(answer);
        let unseen = answer.contains("unseen");
        definite += usize::from(!unseen);
        if !unseen && answer != connection.truth() {
            wrong.push(format!("{connection}: {answer} ({basis}), but it was {}", connection.truth()));
        }
        assert_eq!(version, connection.server.version.report_text(), "{connection}");
    }
    println!("answers by case and client (down) and server ({:?})", Stack::ALL);
    for ((case, client), answers) in &matrix {
        println!("{case:54} {:8} {}", format!("{client:?}"), answers.join(" | "));
    }
    println!("{definite} of {} are definite", connections.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(definite * 100 >= connections.len() * DEFINITE, "{definite} of {}", connections.len());
}

/// A TLS implementation, with a server and a client of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stack {
    OpenSsl,
    GnuTls,
    Go,
    Rustls,
}

impl Stack {
    const ALL: [Stack; 4] = [Stack::OpenSsl, Stack::GnuTls, Stack::Go, Stack::Rustls];
}

/// The one version that a server accepts, and that its clients offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Tls12,
    Tls13,
}

impl Version {
    const ALL: [Version; 2] = [Version::Tls12, Version::Tls13];

    fn number(self) -> &'static str {
        match self {
            Version::Tls12 => "1.2",
            Version::Tls13 => "1.3",
        }
    }

    fn openssl(self) -> &'static str {
        match self {
            Version::Tls12 => "-tls1_2",
            Version::Tls13 => "-tls1_3",
        }
    }

    fn gnutls(self) -> String {
        format!("NORMAL:-VERS-ALL:+VERS-TLS{}", self.number())
    }

    fn report_text(self) -> String {
        format!("TLS {}", self.number())
    }
}

/// Whether a server asks for a client's certificate, and what if none is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    None,
    Optional,
    Required,
}

impl Ask {
    const ALL: [Ask; 3] = [Ask::None, Ask::Optional, Ask::Required];

    fn name(self) -> &'static str {
        match self {
            Ask::None => "none",
            Ask::Optional => "optional",
            Ask::Required => "required",
        }
    }
}

#[derive(Clone, Copy)]
struct Server {
    stack: Stack,
    version: Version,
    ask: Ask,
}

impl Server {
    fn all() -> impl Iterator<Item = Server> {
        Stack::ALL.into_iter().flat_map(|stack| {
            Version::ALL
                .into_iter()
                .flat_map(move |version| Ask::ALL.into_iter().map(move |ask| Server { stack, version, ask }))
        })
    }

    fn port(self) -> u16 {
        20_000 + self.stack as u16 * 100 + self.version as u16 * 10 + self.ask as u16
    }
}

#[derive(Clone, Copy)]
struct Connection {
    client: Stack,
    has_certificate: bool,
    server: Server,
}

impl Connection {
    fn all() -> Vec<Connection> {
        let mut all = Vec::new();
        for client in Stack::ALL {
            for has_certificate in [false, true] {
                all.extend(Server::all().map(|server| Connection { client, has_certificate, server }));
            }
        }
        all
    }

    /// Where the client connects to: every address of 127/8 is the servers', so it can name the client.
    fn address(&self) -> String {
        format!("127.0.{}.{}", self.client as u8 + 1, u8::from(self.has_certificate) + 1)
    }

    /// What happens, whoever the ends are.
    fn case(&self) -> String {
        let (version, ask) = (self.server.version.number(), self.server.ask.name());
        let has = if self.has_certificate { "has one" } else { "has none" };
        format!("TLS {version}, certificate asked: {ask}, client {has}")
    }

    /// The `security` that a report must say.
    fn truth(&self) -> &'static str {
        match (self.server.ask, self.has_certificate) {
            (Ask::None, _) => "TLS",
            (Ask::Optional, false) => "TLS (empty client certificate)",
            (Ask::Required, false) => "TLS handshake refused",
            (Ask::Optional | Ask::Required, true) => "mutual TLS",
        }
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{:?} to {:?}, {}", self.client, self.server.stack, self.case())
    }
}

/// A namespace with the certificates and programs for all of them.
struct Site {
    namespace: Namespace,
    folder: Folder,
    go: PathBuf,
}

impl Site {
    fn new() -> Site {
        let folder = Folder::new("stacks");
        let go = go(&folder);
        let namespace = Namespace::new("stacks");
        // Segments as long as on a wire.
        namespace.ip(&["link", "set", "lo", "mtu", "1500"]);
        let site = Site { namespace, folder, go };
        certificates(&site.folder, &["server", "client"]);
        site
    }

    fn server(&self, server: Server) -> Command {
        let Server { stack, version, ask } = server;
        let port = server.port().to_string();
        match stack {
            Stack::OpenSsl => {
                let mut command = self.namespace.command("openssl");
                command.args(["s_server", "-www", "-accept", &format!("0.0.0.0:{port}"), version.openssl()]);
                match ask {
                    Ask::None => (),
                    Ask::Optional => drop(command.args(["-verify", "1", "-verify_return_error"])),
                    Ask::Required => drop(command.args(["-Verify", "1", "-verify_return_error"])),
                }
                self.files(&mut command, ["-CAfile", "-cert", "-key"], Some("server"));
                command
            }
            Stack::GnuTls => {
                let mut command = self.namespace.command("gnutls-serv");
                command.args(["--http", "--port", &port, "--priority", &version.gnutls()]);
                command.arg(match ask {
                    Ask::None => "--disable-client-cert",
                    Ask::Optional => "--verify-client-cert",
                    Ask::Required => "--require-client-cert",
                });
                self.files(&mut command, ["--x509cafile", "--x509certfile", "--x509keyfile"], Some("server"));
                command
            }
            Stack::Go | Stack::Rustls => {
                let mut command = self.namespace.command(self.program(stack));
                command.args(["web-server", "--listen", &format!("0.0.0.0:{port}")]);
                command.args(["--tls", version.number(), "--client-certificate", ask.name()]);
                self.files(&mut command, ["--ca", "--certificate", "--key"], Some("server"));
                command
            }
        }
    }

    fn client(&self, connection: &Connection) -> Command {
        let (address, port) = (connection.address(), connection.server.port().to_string());
        let version = connection.server.version;
        let identity = connection.has_certificate.then_some("client");
        match connection.client {
            Stack::OpenSsl => {
                let mut command = self.namespace.command("openssl");
                command.args(["s_client", "-quiet", "-connect", &format!("{address}:{port}")]);
                command.args(["-servername", "server", "-verify_hostname", "server", "-verify_return_error"]);
                command.arg(version.openssl());
                self.files(&mut command, ["-CAfile", "-cert", "-key"], identity);
                command
            }
            Stack::GnuTls => {
                let mut command = self.namespace.command("gnutls-cli");
                command.args(["--port", &port, "--priority", &version.gnutls()]);
                command.args(["--sni-hostname", "server", "--verify-hostname", "server"]);
                self.files(&mut command, ["--x509cafile", "--x509certfile", "--x509keyfile"], identity);
                command.arg(address);
                command
            }
            Stack::Go | Stack::Rustls => {
                let mut command = self.namespace.command(self.program(connection.client));
                command.args(["web-client", "--connect", &format!("{address}:{port}")]);
                command.args(["--server-name", "server", "--tls", version.number()]);
                self.files(&mut command, ["--ca", "--certificate", "--key"], identity);
                command
            }
        }
    }

    /// Go's and rustls's servers and clients are both programs of this repository, run alike.
    fn program(&self, stack: Stack) -> &Path {
        if stack == Stack::Go { &self.go } else { mutual_grpc() }
    }

    /// Adds the authority and the identity, each behind the option that the program has for it.
    fn files(&self, command: &mut Command, options: [&str; 3], identity: Option<&str>) {
        let [ca, certificate, key] = options;
        command.arg(ca).arg(self.folder.join("ca.crt"));
        if let Some(name) = identity {
            command.arg(certificate).arg(self.folder.join(&format!("{name}.crt")));
            command.arg(key).arg(self.folder.join(&format!("{name}.key")));
        }
    }

    /// Reads the kernel's list of sockets: trying to connect would put connections into the capture.
    fn wait_until_all_listen(&self) {
        let until = Instant::now() + PATIENCE;
        loop {
            let mut cat = self.namespace.command("cat");
            cat.arg("/proc/net/tcp");
            let sockets = run(cat).stdout;
            // Address and port are in hexadecimal; state 0A is LISTEN.
            let listens =
                |server: &Server| sockets.contains(&format!(":{:04X} 00000000:0000 0A", server.port()));
            match Server::all().find(|server| !listens(server)) {
                None => return,
                Some(Server { stack, version, ask }) => {
                    assert!(Instant::now() < until, "{stack:?} {version:?} {ask:?} does not listen");
                }
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Makes the connections, and makes sure that each was answered exactly if it should have been.
    fn connect(&self, connections: &[Connection]) {
        let todo = Mutex::new(connections.iter());
        thread::scope(|scope| {
            for _ in 0..AT_A_TIME {
                scope.spawn(|| {
                    loop {
                        let Some(connection) = todo.lock().expect("no panic").next() else { return };
                        let run = run_fed(self.client(connection), REQUEST.to_vec());
                        let answered = run.stdout.to_lowercase().contains(ANSWER);
                        let refused = connection.truth() == "TLS handshake refused";
                        assert_eq!(answered, !refused, "{connection}: {}{}", run.stdout, run.stderr);
                    }
                });
            }
        });
    }
}

/// The program of `tests/programs/go`: the one that `GO_WEB` names, or one built now with nothing but the
/// standard library.
fn go(folder: &Folder) -> PathBuf {
    if let Some(program) = std::env::var_os("GO_WEB") {
        return program.into();
    }
    let program = folder.join("go-web");
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(&program).arg(root().join("tests/programs/go/main.go"));
    build.env("GOCACHE", root().join("target/programs/go-cache"));
    build.envs([("GOPROXY", "off"), ("GOFLAGS", "-mod=mod"), ("GOTOOLCHAIN", "local")]);
    // Newer releases of Go first compile their standard library: no time limit but the harness's.
    assert!(build.status().is_ok_and(|status| status.success()), "tests/programs/go does not build");
    program
}
