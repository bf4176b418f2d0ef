//! The tables that come with the program.

/// One of them.
pub(super) struct Shipped {
    /// Its name in reports and for `--policy`: `TABLE`, or `SET/TABLE`.
    pub(super) name: &'static str,
    /// The file.
    pub(super) text: &'static str,
}

macro_rules! shipped {
    ($($name:literal,)*) => {
        &[$(Shipped { name: $name, text: include_str!(concat!("../../policies/", $name, ".csv")) },)*]
    };
}

/// In force without `--policy`.
pub(super) const DEFAULT: &[Shipped] = shipped!["loggregator", "log-cache",];

/// Every page of a version of the platform: Pivotal Application Service 2.7, and Tanzu Platform for Cloud Foundry 10.0.
pub(super) const SETS: &[Shipped] = shipped![
    "pas-2.7/bosh-dns",
    "pas-2.7/c2c",
    "pas-2.7/cc",
    "pas-2.7/credhub",
    "pas-2.7/diego",
    "pas-2.7/log-cache",
    "pas-2.7/loggregator",
    "pas-2.7/mysql",
    "pas-2.7/nats",
    "pas-2.7/routing",
    "pas-2.7/uaa",
    "tpcf-10.0/bosh-dns",
    "tpcf-10.0/c2c",
    "tpcf-10.0/cc",
    "tpcf-10.0/credhub",
    "tpcf-10.0/diego",
    "tpcf-10.0/log-cache",
    "tpcf-10.0/loggregator",
    "tpcf-10.0/mysql",
    "tpcf-10.0/nats",
    "tpcf-10.0/routing",
    "tpcf-10.0/uaa",
];

/// What real deployments do otherwise than the pages say, for `--overlay`: not in force unless asked for.
pub(super) const OVERLAYS: &[Shipped] =
    &[Shipped { name: "cf-deployment", text: include_str!("../../policies/overlays/cf-deployment.csv") }];
