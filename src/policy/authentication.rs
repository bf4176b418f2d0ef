//! The authentication that a security cell asks for: what was presented, and what came of it.

use super::cell::Authentication;
use super::finding::{Because, Finding, Missing, Reason};
use super::observed::{Application, Observed};
use super::security::unrecognised;
use crate::protocol::{NatsAuthentication, Requests};

/// Holds the credentials seen against what the cell asks for.
pub(super) fn find(asked: Authentication, observed: &Observed) -> Finding {
    match asked {
        Authentication::Untold => {
            return Finding::unseen(Reason::UnseenAuthentication, Because::DocumentOpen);
        }
        Authentication::Ssh if observed.application == Application::Ssh => {
            return Finding::confirmed(Because::SshItself);
        }
        Authentication::Mysql | Authentication::LdapBind => {
            if let Some(login) = login(asked, observed) {
                return login_finding(login, observed);
            }
        }
        _ => {}
    }
    if let Some(requests) = observed.requests() {
        return requests_finding(asked, requests, observed);
    }
    if let Some(nats) = observed.nats() {
        return nats_finding(asked, nats, observed);
    }
    let finding = unrecognised(observed);
    match finding.reason {
        Some(Reason::WrongApplication) => Finding::unseen(Reason::UnseenAuthentication, Because::NoRequest),
        _ if observed.application != Application::Unknown => {
            Finding::unseen(Reason::UnseenAuthentication, Because::NoRequest)
        }
        _ => finding,
    }
}

fn requests_finding(asked: Authentication, requests: &Requests, observed: &Observed) -> Finding {
    let carrying = match asked {
        Authentication::OAuth | Authentication::UaaToken => requests.bearer,
        Authentication::Basic => requests.basic,
        Authentication::SignedUrl => requests.signed,
        // Asked of protocols that have no requests: none of these carried it.
        _ => 0,
    };
    let answered = requests.status_403 + requests.status_404 + requests.status_other;
    if requests.status_401 > 0 && answered == 0 {
        return Finding::contradicted(Reason::AuthenticationRefused, Because::Only401);
    }
    if asked == Authentication::UaaToken && requests.other > 0 && carrying + requests.other == requests.read {
        return Finding::unseen(Reason::UnseenAuthentication, Because::OtherCredentials);
    }
    if carrying < requests.read {
        let without = requests.read - carrying;
        return Finding::contradicted(Reason::WrongSecurity, Because::RequestsWithout(without));
    }
    if requests.read == 0 {
        let reason = observed.missing.map_or(Reason::UnseenAuthentication, Missing::reason);
        return Finding::unseen(reason, Because::NoRequest);
    }
    if requests.unread {
        return Finding::unseen(Reason::UnseenAuthentication, Because::RequestsUnread);
    }
    // All may have been refused.
    if requests.answers_unread && answered == 0 {
        return Finding::unseen(Reason::UnseenAuthentication, Because::AnswersUnread);
    }
    if observed.missing == Some(Missing::Midstream) {
        return Finding::unseen(Reason::UnseenMidstream, Because::RequestsUnread);
    }
    Finding::confirmed(Because::EveryRequest)
}

fn nats_finding(asked: Authentication, nats: &crate::protocol::Nats, observed: &Observed) -> Finding {
    if nats.refused {
        return Finding::contradicted(Reason::AuthenticationRefused, Because::NatsRefused);
    }
    let presented = Because::NatsPresented(nats.authentication);
    let unseen = observed.missing.map_or(Reason::UnseenAuthentication, Missing::reason);
    match (asked, nats.authentication) {
        (_, NatsAuthentication::Unseen) => Finding::unseen(unseen, presented),
        (Authentication::Basic, NatsAuthentication::UserPassword) if nats.accepted => {
            Finding::confirmed(presented)
        }
        (Authentication::Basic, NatsAuthentication::UserPassword) => {
            Finding::unseen(unseen, Because::AnswerUnseen)
        }
        _ => Finding::contradicted(Reason::WrongSecurity, presented),
    }
}

/// What a login came to.
enum Login {
    Accepted,
    Refused,
    /// Credentials were sent, and the answer was not seen.
    Unanswered,
    /// None were sent.
    Anonymous,
}

/// The login that the asked protocol showed in clear or decrypted, if it got that far.
fn login(asked: Authentication, observed: &Observed) -> Option<Login> {
    match asked {
        Authentication::Mysql => {
            let mysql = observed.mysql()?;
            Some(match (mysql.refused, mysql.accepted, mysql.login) {
                (true, ..) => Login::Refused,
                (_, _, false) => return None,
                (_, true, true) if mysql.user => Login::Accepted,
                (_, _, true) if mysql.user => Login::Unanswered,
                _ => Login::Anonymous,
            })
        }
        Authentication::LdapBind => {
            let ldap = observed.ldap()?;
            let (password, sasl) = (ldap.password, ldap.sasl);
            let asked = password.asked + sasl.asked;
            Some(match password.accepted + sasl.accepted {
                0 if password.refused + sasl.refused > 0 => Login::Refused,
                0 if asked > 0 => Login::Unanswered,
                0 if ldap.anonymous.asked > 0 => Login::Anonymous,
                0 => return None,
                _ => Login::Accepted,
            })
        }
        _ => None,
    }
}

fn login_finding(login: Login, observed: &Observed) -> Finding {
    match login {
        Login::Accepted => Finding::confirmed(Because::LoginAccepted),
        Login::Refused => Finding::contradicted(Reason::AuthenticationRefused, Because::LoginRefused),
        Login::Anonymous => Finding::contradicted(Reason::WrongSecurity, Because::LoginAnonymous),
        Login::Unanswered => {
            let reason = observed.missing.map_or(Reason::UnseenAuthentication, Missing::reason);
            Finding::unseen(reason, Because::AnswerUnseen)
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::policy::testing::{
        Case, DOPPLER, LOG_API, NETWORKS, UAA, VMS, bind_tables, http, one_row, spoken_bytes,
    };
    use crate::policy::{Options, Reason, Verdict};

    /// A MySQL greeting, a login with the native password, and the answer.
    fn mysql(answer: &[u8]) -> Vec<(crate::protocol::Side, Vec<u8>)> {
        use crate::protocol::Side::{A, B};
        let packet = |sequence: u8, body: &[u8]| {
            let length = (body.len() as u32).to_le_bytes();
            [&length[..3], &[sequence], body].concat()
        };
        let mut greeting = b"\x0a8.0.30\0\x01\0\0\0abcdefgh\0\xff\xf7\xff\x02\0\xff\xdf\x15".to_vec();
        greeting.extend([0; 10]);
        greeting.extend(b"ijklmnopqrst\0mysql_native_password\0");
        let mut login = vec![0x85, 0xa6, 0xff, 0x19, 0, 0, 0, 1, 45];
        login.extend([0; 23]);
        login.extend(b"root\0\x14abcdefghijklmnopqrstmysql_native_password\0");
        vec![(B, packet(0, &greeting)), (A, packet(1, &login)), (B, packet(2, answer))]
    }

    #[test]
    fn answers_that_could_not_be_read_may_all_have_been_refusals() {
        let row = "doppler,log_api,8082,TCP,HTTP,OAuth";
        let policy = bind_tables(vec![one_row("t", row)], &[VMS, NETWORKS], Options::default());
        let verdict = |answers_unread: bool, status: &str| {
            let mut observed = http(Some("Bearer x"), status);
            let http1 = observed.evidence.http1.as_mut().expect("it is HTTP/1");
            http1.requests.answers_unread = answers_unread;
            let judgement = Case::new(DOPPLER, LOG_API, 8082, observed).judge(&policy);
            (judgement.verdict, judgement.reason)
        };
        let unproven = (Verdict::Unproven, Some(Reason::UnseenAuthentication));
        let refused = (Verdict::Violation, Some(Reason::AuthenticationRefused));
        let interim = "100 Continue";
        assert_eq!(verdict(false, interim), (Verdict::Allowed, None));
        assert_eq!([verdict(true, interim), verdict(true, "401 Unauthorized")], [unproven, refused]);
        assert_eq!(verdict(true, "200 OK"), (Verdict::Allowed, None));
    }

    #[test]
    fn a_mysql_login_is_confirmed_by_its_answer() {
        let row = "loggregator_trafficcontroller,uaa,3306,TCP,MySQL,MySQL authentication";
        let policy = bind_tables(vec![one_row("t", row)], &[VMS, NETWORKS], Options::default());
        let verdict = |answer: &[u8]| {
            let judgement = Case::new(LOG_API, UAA, 3306, spoken_bytes(&mysql(answer))).judge(&policy);
            (judgement.verdict, judgement.reason)
        };
        assert_eq!(verdict(&[0, 0, 0, 2, 0, 0, 0]), (Verdict::Allowed, None));
        let denied = [&[0xff, 0x15, 0x04][..], b"#28000Access denied"].concat();
        assert_eq!(verdict(&denied), (Verdict::Violation, Some(Reason::AuthenticationRefused)));
    }
}
