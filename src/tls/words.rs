//! What went wrong with TLS, in words for whoever has to mend it.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

use crate::sys::reason;

/// A sentence's end about the other side: "it does not speak TLS".
pub fn explain(error: &Error) -> String {
    match error {
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => {
            "it does not speak TLS".to_owned()
        }
        Error::NoCertificatesPresented => "it shows no certificate".to_owned(),
        Error::InvalidCertificate(error) => format!("its certificate {}", certificate(error)),
        Error::AlertReceived(alert) => refusal(*alert),
        error => error.to_string(),
    }
}

/// The same for an error of a socket that TLS is spoken on.
pub fn explain_io(error: &io::Error) -> String {
    let of_tls = error
        .get_ref()
        .and_then(|error| error.downcast_ref::<Error>());
    of_tls.map_or_else(|| reason(error), explain)
}

/// What is wrong with a certificate, after the words that say which.
pub(super) fn certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "is not signed by the CA that is trusted here".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet; is the time right on both machines?".to_owned()
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => {
            let expected = expected.to_str();
            let names: Vec<_> = presented.iter().map(|name| plain_name(name)).collect();
            match names.as_slice() {
                [] => format!("has no subjectAltName, and needs one that says {expected}"),
                names => format!("is for {}, not for {expected}", names.join(", ")),
            }
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "is for another purpose (its extendedKeyUsage says for which)".to_owned()
        }
        // rustls has no variants of its own for what openssl makes when it is asked for little
        error => {
            let webpki = format!("{error:?}");
            if webpki.contains("CaUsedAsEndEntity") {
                "is one of a CA, made for signing others; sign another with that CA".to_owned()
            } else if webpki.contains("UnsupportedCertVersion") {
                "has no extensions (X.509 version 1); make one with a subjectAltName".to_owned()
            } else {
                format!("is not accepted: {error}")
            }
        }
    }
}

/// `DnsName("a")` and `IpAddress(127.0.0.1)` are webpki's way to name them.
fn plain_name(name: &str) -> &str {
    let inside = name
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'));
    inside.unwrap_or(name).trim_matches('"')
}

/// Why the other side wants nothing to do with us.
fn refusal(alert: AlertDescription) -> String {
    match alert {
        // the one of ours where the limit of connections is reached
        AlertDescription::InternalError => "it has no room, or trouble of its own".to_owned(),
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
            "it wants a certificate of ours (--tls-cert and --tls-key)".to_owned()
        }
        AlertDescription::UnknownCA => {
            "it does not trust the CA that has signed our certificate".to_owned()
        }
        AlertDescription::CertificateExpired => {
            "it says that our certificate has expired".to_owned()
        }
        AlertDescription::CertificateRevoked => {
            "it says that our certificate has been revoked".to_owned()
        }
        AlertDescription::BadCertificate
        | AlertDescription::DecryptError
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate => {
            "it does not accept our certificate".to_owned()
        }
        AlertDescription::HandshakeFailure | AlertDescription::ProtocolVersion => {
            "it shares no version or cipher of TLS with us, or wants a certificate of ours"
                .to_owned()
        }
        alert => format!("it refuses: {alert:?}"),
    }
}
