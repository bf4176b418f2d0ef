//! Which credentials a request in clear carries. Only the kind is told; no value is kept.

/// The kind of credentials one request carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Credentials {
    /// No `Authorization` field, an empty one, and no cookie that counts.
    #[default]
    None,
    /// A bearer token (RFC 6750 section 2.1), in the field or in the cookie `authorization`.
    Bearer,
    /// Basic (RFC 7617).
    Basic,
    /// Another scheme, a scheme without a value, or several fields that disagree.
    Other,
    /// None of these, and a target whose query is signed, as blobstores hand out.
    SignedUrl,
}

/// Gathers the credentials of one request, header field by header field.
///
/// A bit for each kind that was there, so that what fields say can be kept in a byte and joined in any order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CredentialFields(u8);

impl CredentialFields {
    /// `Authorization` fields, by their scheme.
    const BEARER: u8 = 1;
    const BASIC: u8 = 1 << 1;
    const OTHER: u8 = 1 << 2;
    const BEARER_COOKIE: u8 = 1 << 3;
    const SIGNED: u8 = 1 << 4;
    /// All bits that are used.
    pub const ALL: u8 = (1 << 5) - 1;

    /// What was seen, as bits of [`CredentialFields::ALL`].
    pub fn bits(self) -> u8 {
        self.0
    }

    /// Takes up again what [`CredentialFields::bits`] gave, of one field or of several joined by "or".
    pub fn from_bits(bits: u8) -> CredentialFields {
        CredentialFields(bits & CredentialFields::ALL)
    }

    /// Looks at the request's target.
    pub fn target(&mut self, target: &[u8]) {
        if is_signed(target) {
            self.0 |= CredentialFields::SIGNED;
        }
    }

    /// Looks at one header field; names compare without regard to case (RFC 9110 section 5.1).
    pub fn field(&mut self, name: &[u8], value: &[u8]) {
        if name.eq_ignore_ascii_case(b"authorization") {
            self.authorization(value);
        } else if name.eq_ignore_ascii_case(b"cookie") {
            self.cookie(value);
        }
    }

    /// Looks at the value of an `Authorization` field.
    pub fn authorization(&mut self, value: &[u8]) {
        self.0 |= match scheme(value) {
            Credentials::Bearer => CredentialFields::BEARER,
            Credentials::Basic => CredentialFields::BASIC,
            Credentials::Other => CredentialFields::OTHER,
            Credentials::None | Credentials::SignedUrl => 0,
        };
    }

    /// Looks at the value of a `Cookie` field.
    pub fn cookie(&mut self, value: &[u8]) {
        if carries_bearer(value) {
            self.0 |= CredentialFields::BEARER_COOKIE;
        }
    }

    /// What the fields seen so far come to; the `Authorization` field outranks the cookie.
    pub fn credentials(self) -> Credentials {
        let of = |bits: u8| self.0 & bits;
        match of(CredentialFields::BEARER | CredentialFields::BASIC | CredentialFields::OTHER) {
            CredentialFields::BEARER => Credentials::Bearer,
            CredentialFields::BASIC => Credentials::Basic,
            0 if of(CredentialFields::BEARER_COOKIE) != 0 => Credentials::Bearer,
            0 if of(CredentialFields::SIGNED) != 0 => Credentials::SignedUrl,
            0 => Credentials::None,
            // Also of several that disagree: which of them the server believes cannot be told from here.
            _ => Credentials::Other,
        }
    }
}

/// How the requests that carry credentials in clear were authenticated, counted request by request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Requests {
    /// Request heads read whole.
    pub read: u32,
    /// Of those, with `Authorization: Bearer` (any case), or the cookie `authorization` carrying one.
    pub bearer: u32,
    /// With `Authorization: Basic`.
    pub basic: u32,
    /// With another `Authorization` scheme.
    pub other: u32,
    /// With none of these and a signed target.
    pub signed: u32,
    /// With no credentials at all.
    pub none: u32,
    /// Some requests could not be read: a gap, a cut packet, a head over the cap, a late start.
    pub unread: bool,
    /// Some answers could not be read.
    pub answers_unread: bool,
    /// Answers with status 401.
    pub status_401: u32,
    /// Answers with status 403.
    pub status_403: u32,
    /// Answers with status 404.
    pub status_404: u32,
    /// Answers with any other final status (interim 1xx ones but 101 are not counted).
    pub status_other: u32,
}

impl Requests {
    /// Counts one request head that was read whole.
    pub fn request(&mut self, credentials: Credentials) {
        add_one(&mut self.read);
        add_one(match credentials {
            Credentials::None => &mut self.none,
            Credentials::Bearer => &mut self.bearer,
            Credentials::Basic => &mut self.basic,
            Credentials::Other => &mut self.other,
            Credentials::SignedUrl => &mut self.signed,
        });
    }

    /// Counts one answer by its status code, unless it is an interim one (RFC 9110 section 15.2).
    pub fn answer(&mut self, status: u16) {
        add_one(match status {
            101 => &mut self.status_other,
            100..=199 => return,
            401 => &mut self.status_401,
            403 => &mut self.status_403,
            404 => &mut self.status_404,
            _ => &mut self.status_other,
        });
    }
}

/// Query parameters that sign a URL: each pair must be there with a value. AWS and Google (version 4), the older
/// AWS and Google form, Azure's shared access signatures, and nginx's secure links, which a platform's own
/// blobstore hands out (`ngx_http_secure_link_module`).
const SIGNING: [(&[u8], &[u8]); 5] = [
    (b"x-amz-signature", b"x-amz-date"),
    (b"x-goog-signature", b"x-goog-date"),
    (b"signature", b"expires"),
    (b"sig", b"se"),
    (b"md5", b"expires"),
];

/// Whether the target's query carries a signature and what it is bound to.
fn is_signed(target: &[u8]) -> bool {
    let Some(query) = target.iter().position(|b| *b == b'?').and_then(|at| target.get(at + 1..)) else {
        return false;
    };
    // Of each pair, whether its first and its second are there: read once, since the sender says how many there are.
    let mut there = [[false; 2]; SIGNING.len()];
    for parameter in query.split(|b| *b == b'&').filter(|parameter| parameter.len() > SHORTEST) {
        let Some(at) = parameter.iter().take(LONGEST + 1).position(|b| *b == b'=') else { continue };
        let (key, value) = parameter.split_at(at);
        if value.len() < 2 {
            continue;
        }
        for ((signature, bound), there) in SIGNING.iter().zip(&mut there) {
            there[0] |= key.eq_ignore_ascii_case(signature);
            there[1] |= key.eq_ignore_ascii_case(bound);
        }
    }
    there.contains(&[true; 2])
}

/// Bytes of the shortest and the longest name of [`SIGNING`].
const SHORTEST: usize = 2;
const LONGEST: usize = 16;

fn add_one(counter: &mut u32) {
    *counter = counter.saturating_add(1);
}

/// The scheme of an `Authorization` value (RFC 9110 section 11.4).
fn scheme(value: &[u8]) -> Credentials {
    let value = value.trim_ascii();
    if value.is_empty() {
        return Credentials::None;
    }
    let (scheme, rest) = match value.iter().position(|b| *b == b' ' || *b == b'\t') {
        Some(at) => value.split_at(at),
        None => (value, &[][..]),
    };
    if rest.trim_ascii().is_empty() {
        Credentials::Other
    } else if scheme.eq_ignore_ascii_case(b"bearer") {
        Credentials::Bearer
    } else if scheme.eq_ignore_ascii_case(b"basic") {
        Credentials::Basic
    } else {
        Credentials::Other
    }
}

/// Whether a `Cookie` value (RFC 6265 section 4.2) has a pair `authorization` that carries a bearer.
fn carries_bearer(cookies: &[u8]) -> bool {
    cookies.split(|b| *b == b';').any(|pair| {
        let pair = pair.trim_ascii();
        let Some(value) = pair.strip_prefix(b"authorization=") else {
            return false;
        };
        let value = value.strip_prefix(b"\"").unwrap_or(value);
        let value = value.strip_suffix(b"\"").unwrap_or(value);
        let Some((scheme, rest)) = value.split_at_checked(b"bearer".len()) else {
            return false;
        };
        // The space between scheme and token comes as it is, percent-encoded, or as a form's `+`.
        let token = [&b" "[..], b"%20", b"+"].iter().find_map(|space| rest.strip_prefix(*space));
        scheme.eq_ignore_ascii_case(b"bearer") && token.is_some_and(|t| !t.trim_ascii().is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: &[(&str, &str)]) -> Credentials {
        let mut seen = CredentialFields::default();
        for (name, value) in fields {
            seen.field(name.as_bytes(), value.as_bytes());
        }
        seen.credentials()
    }

    #[test]
    fn a_signed_target_counts_where_there_is_nothing_better() {
        let of = |target: &str, authorization: Option<&str>| {
            let mut fields = CredentialFields::default();
            fields.target(target.as_bytes());
            if let Some(value) = authorization {
                fields.field(b"Authorization", value.as_bytes());
            }
            fields.credentials()
        };
        let signed = "/read/droplets/x?md5=abc&expires=1700000000";
        assert_eq!(of(signed, None), Credentials::SignedUrl);
        assert_eq!(of(signed, Some("Basic eA==")), Credentials::Basic);
        assert_eq!(of("/x?X-Amz-Date=1&X-Amz-Signature=ff", None), Credentials::SignedUrl);
        for plain in ["/x", "/x?md5=abc", "/x?md5=&expires=1", "/md5=a&expires=1", "/x?expires=1"] {
            assert_eq!(of(plain, None), Credentials::None, "{plain}");
        }
    }

    #[test]
    fn schemes_in_any_case() {
        assert_eq!(of(&[]), Credentials::None);
        assert_eq!(of(&[("AUTHORIZATION", "bEaReR x.y")]), Credentials::Bearer);
        assert_eq!(of(&[("Authorization", " Bearer\tx ")]), Credentials::Bearer);
        assert_eq!(of(&[("authorization", "BASIC eA==")]), Credentials::Basic);
        assert_eq!(of(&[("authorization", "Digest a=b")]), Credentials::Other);
        assert_eq!(of(&[("authorization", "  ")]), Credentials::None);
    }

    #[test]
    fn a_scheme_without_a_token_is_no_bearer() {
        assert_eq!(of(&[("authorization", "Bearer")]), Credentials::Other);
        assert_eq!(of(&[("authorization", "Bearer   ")]), Credentials::Other);
        assert_eq!(of(&[("authorization", "Bearerx y")]), Credentials::Other);
    }

    #[test]
    fn fields_that_disagree_count_as_other() {
        let both = [("authorization", "Bearer x"), ("Authorization", "Basic y")];
        assert_eq!(of(&both), Credentials::Other);
        let twice = [("authorization", "Bearer x"), ("authorization", "Bearer x")];
        assert_eq!(of(&twice), Credentials::Bearer);
    }

    #[test]
    fn the_cookie_counts_when_it_carries_a_bearer() {
        for value in [
            "authorization=bearer x",
            "a=b; authorization=Bearer%20x; c=d",
            "authorization=\"bearer x\"",
            "authorization=BEARER+x",
        ] {
            assert_eq!(of(&[("Cookie", value)]), Credentials::Bearer, "{value}");
        }
        for value in [
            "authorization=x",
            "authorization=bearer ",
            "authorization=\"bearer \"",
            "authorization=bearerx",
            "xauthorization=bearer x",
            "authorization",
        ] {
            assert_eq!(of(&[("Cookie", value)]), Credentials::None, "{value}");
        }
    }

    #[test]
    fn the_field_outranks_the_cookie() {
        let fields = [("cookie", "authorization=bearer x"), ("authorization", "Basic x")];
        assert_eq!(of(&fields), Credentials::Basic);
    }

    #[test]
    fn counts_by_kind_and_by_status() {
        let mut requests = Requests::default();
        for kind in [Credentials::None, Credentials::Bearer, Credentials::Basic, Credentials::Other] {
            requests.request(kind);
        }
        for status in [100, 103, 101, 200, 401, 403, 404, 500] {
            requests.answer(status);
        }
        let expected = Requests {
            signed: 0,
            read: 4,
            bearer: 1,
            basic: 1,
            other: 1,
            none: 1,
            unread: false,
            answers_unread: false,
            status_401: 1,
            status_403: 1,
            status_404: 1,
            status_other: 3,
        };
        assert_eq!(requests, expected);
    }
}
