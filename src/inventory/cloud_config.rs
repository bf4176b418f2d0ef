//! The networks of a BOSH cloud config, as YAML or as JSON of the same structure.
//!
//! Source: bosh.io/docs/cloud-config and bosh.io/docs/networks.

use ipnet::IpNet;
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::error::{InventoryError, Place, quoted};
use super::subnets::Subnets;

const ADVICE: &str = "give what `bosh cloud-config` prints";

/// One network; `T` is text that may know where it stands.
#[derive(Deserialize)]
pub(super) struct Network<T> {
    name: T,
    #[serde(rename = "type")]
    kind: Option<String>,
    subnets: Option<Vec<Range<T>>>,
}

#[derive(Deserialize)]
struct Range<T> {
    range: Option<T>,
    az: Option<String>,
    azs: Option<Vec<String>>,
}

/// Text of a file, with its place where the parser tells it.
pub(super) trait Located {
    fn text(&self) -> &str;
    fn place(&self) -> Place;
}

impl Located for String {
    fn text(&self) -> &str {
        self
    }
    fn place(&self) -> Place {
        Place::default()
    }
}

impl Located for Spanned<String> {
    fn text(&self) -> &str {
        &self.value
    }
    fn place(&self) -> Place {
        Place::line_and_column(self.referenced.line(), self.referenced.column())
    }
}

#[derive(Deserialize)]
struct CloudConfig {
    networks: Option<Vec<Network<Spanned<String>>>>,
}

/// Reads a cloud config as YAML and adds its networks; `false` if it has none.
///
/// Aliases, nesting and the number of nodes are bounded by the YAML parser's default budget.
pub(super) fn read_yaml(file: &str, text: &str, subnets: &mut Subnets) -> Result<bool, InventoryError> {
    let config: CloudConfig = serde_saphyr::from_str(text).map_err(|error| {
        let location = error.location();
        InventoryError {
            file: file.to_owned(),
            place: location.map_or_else(Place::default, |l| Place::line_and_column(l.line(), l.column())),
            what: format!("not a cloud config in YAML: {}", first_line(&error.without_snippet().to_string())),
            advice: ADVICE.to_owned(),
        }
    })?;
    match config.networks {
        None => Ok(false),
        Some(networks) => add(file, &networks, subnets).map(|()| true),
    }
}

/// Adds the networks that hold addresses of their own.
pub(super) fn add<T: Located>(
    file: &str,
    networks: &[Network<T>],
    subnets: &mut Subnets,
) -> Result<(), InventoryError> {
    for (n, network) in networks.iter().enumerate() {
        match network.kind.as_deref().unwrap_or("manual") {
            "manual" => {}
            "dynamic" => {
                subnets.add_dynamic();
                continue;
            }
            // Floating addresses that belong to no subnet of the VM.
            "vip" => continue,
            other => {
                let what = format!("network type {}, expected manual, dynamic or vip", quoted(other));
                return Err(fail(file, network.name.place(), format!("networks[{n}].type"), what));
            }
        }
        for (m, subnet) in network.subnets.iter().flatten().enumerate() {
            let path = format!("networks[{n}].subnets[{m}].range");
            let Some(range) = &subnet.range else {
                let what = format!("the manual network {} has no range here", quoted(network.name.text()));
                return Err(fail(file, network.name.place(), path, what));
            };
            let Ok(parsed) = range.text().trim().parse::<IpNet>() else {
                let what = format!("{} is no address range such as 10.0.4.0/24", quoted(range.text()));
                return Err(fail(file, range.place(), path, what));
            };
            let azs = subnet.az.iter().chain(subnet.azs.iter().flatten()).cloned();
            subnets.add(network.name.text(), parsed, azs);
        }
    }
    Ok(())
}

fn fail(file: &str, place: Place, path: String, what: String) -> InventoryError {
    let place = Place { path: Some(path), ..place };
    InventoryError { file: file.to_owned(), place, what, advice: ADVICE.to_owned() }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::super::subnets::SubnetLookup;
    use super::*;
    use proptest::prelude::*;

    const CONFIG: &str = "\
azs: [{name: z1}]
networks:
- name: default
  type: manual
  subnets:
  - azs: [z1, z2]
    range: 10.0.4.0/24
    static: [10.0.4.10-10.0.4.99]
  - az: z3
    range: 'fd00:4::/64'
- name: public
  type: vip
";

    fn read(text: &str) -> Result<Subnets, InventoryError> {
        let mut subnets = Subnets::default();
        read_yaml("cc.yml", text, &mut subnets).map(|_| subnets)
    }

    #[test]
    fn reads_ranges_and_zones() {
        let subnets = read(CONFIG).unwrap();
        let found = subnets.find("10.0.4.7".parse().unwrap());
        assert!(matches!(found, SubnetLookup::One(s) if s.network == "default" && s.azs == ["z1", "z2"]));
        let found = subnets.find("fd00:4::7".parse().unwrap());
        assert!(matches!(found, SubnetLookup::One(s) if s.azs == ["z3"]));
        assert_eq!(subnets.find("10.0.5.7".parse().unwrap()), SubnetLookup::Unknown);
    }

    #[test]
    fn zones_that_look_like_numbers_and_null_subnets_are_read() {
        let text = "networks:\n- {name: a, subnets: [{range: 10.0.0.0/8, az: 1}]}\n- {name: b, subnets: }\n";
        let subnets = read(text).unwrap();
        assert!(matches!(subnets.find("10.1.2.3".parse().unwrap()), SubnetLookup::One(s) if s.azs == ["1"]));
    }

    #[test]
    fn a_dynamic_network_is_remembered() {
        let subnets = read("networks:\n- name: d\n  type: dynamic\n  subnets: [{az: z1}]\n").unwrap();
        assert_eq!(subnets.find("10.0.4.7".parse().unwrap()), SubnetLookup::Dynamic);
    }

    #[test]
    fn errors_say_where() {
        let text = |text: &str| read(text).map(|_| ()).unwrap_err().to_string();
        assert_eq!(
            text(&CONFIG.replace("10.0.4.0/24", "((internal_cidr))")),
            "cc.yml: line 7, column 12: networks[0].subnets[0].range: \"((internal_cidr))\" is no address range \
             such as 10.0.4.0/24; give what `bosh cloud-config` prints"
        );
        assert!(text("networks:\n- {name: a, subnets: [{az: z1}]}\n").contains("has no range here"));
        assert!(text("networks:\n- {name: a, type: magic}\n").contains("\"magic\", expected manual"));
        let broken = text("networks: [\n");
        assert!(broken.starts_with("cc.yml: line ") && !broken.contains('\n'), "{broken}");
    }

    #[test]
    fn an_alias_bomb_is_refused() {
        let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
        for n in 1..12 {
            let alias = format!("*a{},", n - 1).repeat(9);
            text.push_str(&format!("a{n}: &a{n} [{alias}]\n"));
        }
        text.push_str("networks:\n- name: n\n  subnets: *a11\n");
        assert!(read(&text).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*", range in "\\PC{0,20}") {
            let _ = read(&text);
            let _ = read(&CONFIG.replace("10.0.4.0/24", &range));
        }

        #[test]
        fn a_config_cut_anywhere_is_read_or_refused(end in 0..CONFIG.len()) {
            let _ = read(&CONFIG[..end]);
        }
    }
}
