//! The JSON of INFO and CONNECT: only whether a field is filled, never what it holds.

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::NatsAuthentication;

/// What INFO says of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub struct Info {
    /// Clients must authenticate.
    #[serde(default)]
    pub auth_required: bool,
    /// Clients must go on in TLS.
    #[serde(default)]
    pub tls_required: bool,
}

/// Reads INFO's object; `None` if it is no object of this form.
pub fn info(text: &[u8]) -> Option<Info> {
    serde_json::from_slice(text).ok()
}

/// Reads what a client presented in CONNECT; `None` if it is no object, or says a thing twice.
pub fn connect(text: &[u8]) -> Option<NatsAuthentication> {
    let connect: Connect = serde_json::from_slice(text).ok()?;
    Some(match connect {
        Connect { jwt: Filled(true), .. } => NatsAuthentication::Jwt,
        Connect { nkey: Filled(true), sig: Filled(true), .. } => NatsAuthentication::Nkey,
        Connect { user: Filled(true), pass: Filled(true), .. } => NatsAuthentication::UserPassword,
        Connect { auth_token: Filled(true), .. } => NatsAuthentication::Token,
        _ => NatsAuthentication::None,
    })
}

#[derive(serde::Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Connect {
    user: Filled,
    pass: Filled,
    auth_token: Filled,
    nkey: Filled,
    sig: Filled,
    jwt: Filled,
}

/// Whether a field holds a string that is not empty. The string itself is dropped unread.
#[derive(Default)]
struct Filled(bool);

impl<'de> Deserialize<'de> for Filled {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Filled, D::Error> {
        deserializer.deserialize_any(FilledVisitor)
    }
}

struct FilledVisitor;

impl<'de> Visitor<'de> for FilledVisitor {
    type Value = Filled;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any value")
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Filled, E> {
        Ok(Filled(!text.is_empty()))
    }
    fn visit_unit<E: de::Error>(self) -> Result<Filled, E> {
        Ok(Filled(false))
    }
    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Filled, E> {
        Ok(Filled(false))
    }
    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Filled, E> {
        Ok(Filled(false))
    }
    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Filled, E> {
        Ok(Filled(false))
    }
    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Filled, E> {
        Ok(Filled(false))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Filled, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Filled(false))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Filled, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Filled(false))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_info_requires() {
        let text = br#"{"server_id":"x","auth_required":true,"tls_required":false,"cluster":{"a":[1]}}"#;
        let expected = Info { auth_required: true, tls_required: false };
        assert_eq!(info(text), Some(expected));
        assert_eq!(info(b"{}"), Some(Info::default()));
        assert_eq!(info(b"{"), None);
    }

    #[test]
    fn tells_what_connect_carries() {
        for (text, expected) in [
            (r#"{"verbose":false}"#, NatsAuthentication::None),
            (r#"{"user":"u","pass":"p"}"#, NatsAuthentication::UserPassword),
            (r#"{"user":"u\n","pass":"\u0070"}"#, NatsAuthentication::UserPassword),
            (r#"{"user":"u","pass":""}"#, NatsAuthentication::None),
            (r#"{"user":"u"}"#, NatsAuthentication::None),
            (r#"{"user":1,"pass":[{}]}"#, NatsAuthentication::None),
            (r#"{"auth_token":"t"}"#, NatsAuthentication::Token),
            (r#"{"nkey":"n","sig":"s"}"#, NatsAuthentication::Nkey),
            (r#"{"nkey":"n"}"#, NatsAuthentication::None),
            (r#"{"jwt":"j","nkey":"n","sig":"s"}"#, NatsAuthentication::Jwt),
            (r#"{"jwt":null,"user":"u","pass":"p"}"#, NatsAuthentication::UserPassword),
        ] {
            assert_eq!(connect(text.as_bytes()), Some(expected), "{text}");
        }
    }

    #[test]
    fn refuses_what_two_readers_could_read_differently() {
        assert_eq!(connect(br#"{"user":"u","user":"","pass":"p"}"#), None);
        assert_eq!(connect(b"{} {}"), None);
        assert_eq!(connect(b"[]x"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>, text in "[{}\\[\\]\":,a-z0-9]{0,40}") {
            info(&bytes);
            connect(&bytes);
            connect(text.as_bytes());
        }
    }
}
