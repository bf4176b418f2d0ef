//! Which instance groups a DNS name of the platform stands for.
//!
//! Two shapes: BOSH DNS's own `<query>.<group>.<network>.<deployment>.bosh`, and aliases such as
//! `doppler.service.cf.internal`, whose leading label `_` stands for any one label. Sources: docs-bosh
//! `dns.md`; cloudfoundry/cf-deployment `addons/bosh-dns-aliases`.

use std::borrow::Cow;
use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::canonical::canonical;

/// DNS names, with the canonical instance groups behind them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct DnsNames {
    aliases: HashMap<String, Vec<String>, RandomState>,
    /// Aliases that begin with the label `_`, by what stands behind it.
    by_rest: HashMap<String, Vec<String>, RandomState>,
    /// The last labels of all aliases: most names are of other domains.
    last_labels: Vec<String>,
}

impl DnsNames {
    /// Adds groups to an alias.
    pub(super) fn add(&mut self, alias: &str, groups: impl IntoIterator<Item = String>) {
        let alias = plain(alias);
        self.add_last_label(&alias);
        let known = match alias.strip_prefix("_.") {
            Some(rest) => self.by_rest.entry(rest.to_owned()).or_default(),
            None => self.aliases.entry(alias.into_owned()).or_default(),
        };
        for group in groups {
            if !known.contains(&group) {
                known.push(group);
            }
        }
    }

    /// Puts groups in place of those an alias had: the Director's own records outrank what is shipped.
    pub(super) fn replace(&mut self, alias: &str, groups: Vec<String>) {
        let alias = plain(alias);
        self.add_last_label(&alias);
        match alias.strip_prefix("_.") {
            Some(rest) => self.by_rest.insert(rest.to_owned(), groups),
            None => self.aliases.insert(alias.into_owned(), groups),
        };
    }

    /// The groups a name stands for; none for a name that is not the platform's.
    pub(super) fn groups(&self, name: &str) -> Vec<String> {
        let name = plain(name);
        let last = last_label(&name);
        if last != "bosh" && !self.last_labels.iter().any(|label| label == last) {
            return Vec::new();
        }
        if let Some(groups) = self.aliases.get(&*name) {
            return groups.clone();
        }
        if let Some((_, rest)) = name.split_once('.')
            && let Some(groups) = self.by_rest.get(rest)
        {
            return groups.clone();
        }
        let mut labels = name.split('.');
        let five = [(); 5].map(|()| labels.next().unwrap_or_default());
        match (five, labels.next()) {
            ([query, group, network, deployment, "bosh"], None)
                if !query.is_empty()
                    && !group.is_empty()
                    && !network.is_empty()
                    && is_platform(deployment) =>
            {
                vec![canonical(group).into_owned()]
            }
            _ => Vec::new(),
        }
    }

    fn add_last_label(&mut self, alias: &str) {
        let label = last_label(alias);
        if !self.last_labels.iter().any(|known| known == label) {
            self.last_labels.push(label.to_owned());
        }
    }
}

fn last_label(name: &str) -> &str {
    let start = memchr::memrchr(b'.', name.as_bytes()).map_or(0, |dot| dot + 1);
    name.get(start..).unwrap_or_default()
}

/// The platform's own deployment: `cf`, or `cf-` and the tile's suffix. A service instance may well have
/// groups called `mysql` or `nats` that the tables do not mean.
fn is_platform(deployment: &str) -> bool {
    deployment == "cf" || deployment.starts_with("cf-")
}

/// Lower case, without the root's dot.
fn plain(name: &str) -> Cow<'_, str> {
    let name = name.trim().trim_end_matches('.');
    match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(name.to_ascii_lowercase()),
        false => Cow::Borrowed(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names() -> DnsNames {
        let mut names = DnsNames::default();
        names.add("doppler.service.cf.internal", ["doppler".to_owned()]);
        names.add("_.cell.service.cf.internal", ["diego-cell".to_owned()]);
        names
    }

    #[test]
    fn aliases_and_bosh_names_stand_for_groups() {
        for (name, group) in [
            ("Doppler.service.cf.internal.", "doppler"),
            ("91faf7a2.cell.service.cf.internal", "diego-cell"),
            ("*.cell.service.cf.internal", "diego-cell"),
            ("q-s0.log-api.default.cf.bosh", "log-api"),
            ("91faf7a2-2f56-457a-871e-4235aef2ae5c.doppler.pas.cf-0123456789abcdef0123.bosh", "doppler"),
        ] {
            assert_eq!(names().groups(name), [group], "{name}");
        }
    }

    #[test]
    fn other_names_stand_for_nothing() {
        for name in [
            "",
            ".",
            "doppler",
            "cell.service.cf.internal",
            "a.b.cell.service.cf.internal",
            "q-s0.mysql.default.service-instance_1.bosh",
            "q-s0.doppler.default.cf.example",
            "x.q-s0.doppler.default.cf.bosh",
            "q-s0..default.cf.bosh",
            "doppler.service.cf.internal.evil.example",
        ] {
            assert!(names().groups(name).is_empty(), "{name}");
        }
    }

    #[test]
    fn records_outrank_what_was_known() {
        let mut names = names();
        names.replace("doppler.service.cf.internal", vec!["control".to_owned()]);
        assert_eq!(names.groups("doppler.service.cf.internal"), ["control"]);
    }

    proptest! {
        #[test]
        fn any_name_is_looked_up(name in "\\PC{0,60}|[a-z._*]{0,40}|([a-z]{0,2}\\.){4}bosh") {
            prop_assert!(names().groups(&name).iter().all(|group| !group.is_empty()));
        }
    }
}
